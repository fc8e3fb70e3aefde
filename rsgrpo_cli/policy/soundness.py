"""Checks of an architecture before it is trained: the update's shortcuts compute what the model itself does.

The update runs the output layer by itself, pads on the right without a mask, and puts layers into training mode to
recompute them. Nearly every architecture bears that; the checks find those that do not, by asking the model at hand.
"""

from __future__ import annotations

import copy
import tempfile

import torch

from rsgrpo_cli.errors import EngineError, UsageError, first_line
from rsgrpo_cli.modeling.full_gpu import is_full
from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.policy.logprobs import check_head
from rsgrpo_cli.policy.states import distance, read_joined, shares_prompts, tolerance, try_out
from rsgrpo_cli.policy.training_mode import update_mode

_REFUSED = 4.0
"""Times the tolerance: many layers in bfloat16 round more than the small models it was measured on."""
_OTHER_MODEL = "choose a model of another architecture"


def check_trainable(lm: LanguageModel) -> None:
    """Make sure that the update computes this architecture's log-probabilities, and that it can be saved.

    Raises:
        EngineError: If the update would train something else than the model, or the model cannot be run.
        UsageError: If transformers will not write the model's configuration.
    """
    _check_savable(lm)
    try:
        with torch.no_grad():
            check_head(lm)
            _check_reading(lm)
            shares_prompts(lm)
    except EngineError:
        raise
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
        if is_full(error):
            raise
        reason = first_line(error)
        raise EngineError(f"{type(lm.causal).__name__} cannot be trained here: {reason}", _OTHER_MODEL) from error


def _check_savable(lm: LanguageModel) -> None:
    """Find out before the first step is paid for whether its checkpoint can be written."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy.deepcopy(lm.causal.config).save_pretrained(folder)
        except (ValueError, TypeError, AttributeError) as error:
            reason = " ".join(line.strip() for line in str(error).splitlines())
            raise UsageError(
                f"transformers will not write this model's config.json again: {reason[:200]}",
                "correct it in a copy of the model, and give that with --model",
            ) from error


def _check_reading(lm: LanguageModel) -> None:
    """Completions beside longer ones against each alone, as the model samples and as it is updated."""
    name, trial = type(lm.causal).__name__, try_out(lm)
    apart = distance(read_joined(lm, trial.batch), trial.alone_ND)
    if not apart <= _REFUSED * tolerance(trial.alone_ND):
        raise EngineError(
            f"{name} computes something else for a completion beside longer ones (by {apart:.2g}): padding disturbs it",
            _OTHER_MODEL,
        )
    update_mode(lm.causal)
    moved = distance(read_joined(lm, trial.batch), trial.alone_ND)
    lm.causal.eval()
    if not moved <= _REFUSED * tolerance(trial.alone_ND):
        raise EngineError(f"{name} computes differently in training than in sampling (by {moved:.2g})", _OTHER_MODEL)

"""How many tokens a model can read at once, and whether it can be sampled from in batches: from its config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.models import explained, quiet

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")


@dataclass(frozen=True, slots=True)
class Window:
    """The positions of a model.

    Args:
        tokens: How many there are for a prompt and its completion together; None for no limit.
        hard: Whether there is nothing beyond them (learned positions), or only what was not trained (rotary ones).
    """

    tokens: int | None
    hard: bool


def read_config(directory: Path) -> Any:
    """A model's configuration as transformers knows it.

    Raises:
        MissingError: If there is none, or of an unknown kind.
    """
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of a broken file it says anything: KeyError, AttributeError, ...
        reason, hint = explained(error)
        raise MissingError(f"cannot read the configuration of {directory}: {reason}", hint) from error


def window_of(config: Any) -> Window:
    """The positions of a model.

    Args:
        config: A transformers configuration.
    """
    text = config.get_text_config()
    given = next((value for name in _NAMES if isinstance(value := getattr(text, name, None), int) and value > 0), None)
    rotary = list(_rotary(text))
    if given is None:
        return Window(None, hard=False)
    relative = any(getattr(text, name, False) for name in ("rope_theta", "alibi"))
    return Window(max([given, *(_scaled_window(given, scaling) for scaling in rotary)]), hard=not (rotary or relative))


def require_room(window: Window, prompt: int, max_tokens: int) -> None:
    """Refuse what a model has no positions for.

    Args:
        window: The model's positions.
        prompt: Tokens of the longest prompt.
        max_tokens: Tokens of a completion, at most.

    Raises:
        UsageError: If there is nothing beyond its last position, and that is not enough.
    """
    if window.hard and window.tokens is not None and prompt + max_tokens > window.tokens:
        raise UsageError(
            f"a prompt of {prompt} tokens and {max_tokens} more do not fit the model's {window.tokens} positions",
            f"a completion may have {max(0, window.tokens - prompt)} tokens there: a smaller --max-tokens, or leave "
            "long prompts out with --max-prompt-tokens",
        )


def is_recurrent(config: Any) -> bool:
    """Whether a model has a recurrent state instead of a cache of keys and values, as Mamba has."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return bool(getattr(kind, "_is_stateful", False))


def _rotary(config: Any) -> Iterator[Mapping[str, Any]]:
    """The settings of rotary positions; some models have several, one per kind of layer."""
    for name in ("rope_parameters", "rope_scaling"):
        found = getattr(config, name, None)
        if isinstance(found, Mapping) and found:
            inner = [value for value in found.values() if isinstance(value, Mapping)]
            yield from inner or [found]


def _scaled_window(given: int, scaling: Mapping[str, Any]) -> int:
    """Positions after scaling, where the configuration states those before it."""
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor") or 1.0
    if kind == "yarn":
        return int((scaling.get("original_max_position_embeddings") or given) * factor)
    return int(given * factor) if kind in ("linear", "dynamic") else given

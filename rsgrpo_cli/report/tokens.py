"""The tokens of one completion, with what the sampler and the trainer say of each."""

from __future__ import annotations

from math import exp, isfinite
from typing import Any

import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.report.html.vocabulary import Vocabulary
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import Freshness
from rsgrpo_cli.run.step_dir import Step, with_policy
from rsgrpo_cli.schemas import POLICY_LOGPROBS


def listed(run: RunDir, step: int | None, row: dict[str, Any], tag: str | None) -> list[dict[str, Any]]:
    """A row per token.

    Args:
        run: Whose completion it is.
        step: The training step; None for a completion of an evaluation, of which the trainer says nothing.
        row: The completion as `inspect.follow` has it.
        tag: What was made with this tag, in place of the run's own.

    Returns:
        token; nats, which is -log p of the sampler; and null where the trainer's numbers were not kept: entropy in
        nats, difference of the log-probabilities (trainer minus sampler) in nats, ratio (its exponential).
    """
    words = Vocabulary(run, [step] if step is not None else [])
    pieces = [words.pieces[number] for number in words.numbers(row["completion_ids"])]
    logprobs = row["sampling_logprobs"]
    kept = {} if step is None else _of_the_trainer(run, step, row["group_id"], row["sample_index"], tag)
    nothing = [None] * len(pieces)
    said, entropies = (kept.get(name) or nothing for name in ("policy_logprobs", "entropies"))
    return [
        {"token": piece, "nats": None if own is None else -own, "entropy": entropy, **_compared(other, own)}
        for piece, own, other, entropy in zip(pieces, logprobs, said, entropies, strict=True)
    ]


def _compared(trainer: float | None, sampler: float | None) -> dict[str, float | None]:
    if trainer is None or sampler is None or not isfinite(sampler):
        return {"difference": None, "ratio": None}
    return {"difference": trainer - sampler, "ratio": exp(min(700.0, trainer - sampler))}


def trainers_numbers(step: Step) -> Freshness:
    """Whether what an update noted of a step's completions is there, and is of the completions that are there now.

    It is stale where the rollouts or the advantages were made again: the update has not seen what these are now.
    """
    path = step.run.policy_logprobs(step.number)
    if not path.is_file():
        return Freshness.MISSING
    made_from = read_lineage(path, POLICY_LOGPROBS).inputs
    rollouts = step.manifest["id"] if step.manifest else None
    advantages = step.advantages.id if step.advantages else None
    now = (made_from.get("rollouts"), made_from.get("advantages")) == (rollouts, advantages)
    return Freshness.CURRENT if now else Freshness.STALE


def _of_the_trainer(run: RunDir, step: int, group_id: str, sample: int, tag: str | None) -> dict[str, Any]:
    """What an update noted of a completion before its first optimizer step; nothing where it noted nothing."""
    if tag:
        try:
            run, _ = with_policy(run, f"{step + 1}.{tag}")
        except MissingError:
            return {}  # the tag is of something before the update
    if trainers_numbers(Step(run, step)) != Freshness.CURRENT:
        return {}
    table = read_table(run.policy_logprobs(step), POLICY_LOGPROBS)
    rows = table.filter(pc.and_(pc.equal(table["group_id"], group_id), pc.equal(table["sample_index"], sample)))
    found: list[dict[str, Any]] = rows.to_pylist()
    return found[0] if found else {}

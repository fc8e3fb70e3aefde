"""What in the numbers of a step deserves a warning, in plain words, each with what to do about it.

A row is one of `schemas.METRICS`. A number that a row does not have says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsgrpo_cli.wording import counted

TRUNCATED, CAPPED = 0.2, 0.01
"""Shares that deserve a warning: of completions that are cut off, of tokens with a capped ratio."""
MOST_UNJUDGED = 0.01
"""The largest share of completions that may stay without a verdict. Beyond it training warns and goes on, since little
is lost; an evaluation fails, because its result would be too low."""
LEAST_ENTROPY = 0.1
"""The same for the entropy, as a share of that of the first step."""
MOST_DIFFERENCE = 0.1
"""Nats per token that sampler and trainer may differ by; computing in bfloat16 makes about 0.01."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning.

    Args:
        about: What it is about, in a word: each is given once.
        text: What is the matter, and what to do.
    """

    about: str
    text: str


def warnings(row: Row, first: Row) -> list[Warned]:
    """The warnings that a step deserves.

    Args:
        row: Of the step.
        first: Of the first step that the run has.
    """
    found = ((about, check(row, first)) for about, check in _CHECKS.items())
    return [Warned(about, f"step {row['step']}: {text}") for about, text in found if text]


def all_warnings(rows: Sequence[Row], first: Row) -> list[Warned]:
    """The first warning of each kind that some steps deserve; arguments as of `warnings`."""
    given: dict[str, Warned] = {}
    for row in rows:
        for warned in warnings(row, first):
            given.setdefault(warned.about, warned)
    return list(given.values())


def _gradient(row: Row, first: Row) -> str | None:
    if row["advantage_rms"] != 0:
        return None
    if row["reward_mean"] is None:
        return "no completion has a reward, so that nothing is learned from it. Look at them: rsgrpo show"
    if mixed := row.get("groups_mixed"):
        return (
            f"the estimator gives its {counted(int(mixed), 'mixed group')} no weight, so that nothing is "
            "learned from it. Try more --prompts-per-step, or another --estimator"
        )
    if row["groups_all_wrong"] and not row["groups_all_right"]:
        way = "All are wrong: try easier problems, a larger --group-size or a better base model"
    elif row["groups_all_right"] and not row["groups_all_wrong"]:
        way = "All are right: try harder problems"
    else:
        way = "Try a larger --group-size, more --prompts-per-step or --zero-variance resample"
    return f"the rewards of every group are equal: no group has a gradient, so that nothing is learned from it. {way}"


def _truncated(row: Row, first: Row) -> str | None:
    share = row["truncated_fraction"]
    if share is None or share <= TRUNCATED:
        return None
    return f"{share:.0%} of the completions are cut off before they end. Fork with a larger --max-tokens"


def _verifier(row: Row, first: Row) -> str | None:
    counts = row.get("status_counts") or []
    total = sum(count for _, count in (counts.items() if isinstance(counts, Mapping) else counts))
    failed = (row["scorer_errors"] or 0) + (row["scorer_timeouts"] or 0)
    if not total or failed / total <= MOST_UNJUDGED:
        return None
    late = f", {row['scorer_timeouts']:.0f} of them out of time" if row["scorer_timeouts"] else ""
    way = "Look at them: rsgrpo show --wrong; where they are out of time, fork with a longer --timeout"
    return f"the verifier failed on {failed / total:.1%} of the completions{late}. {way}"


def _sampler(row: Row, first: Row) -> str | None:
    behind = row["step"] - row["policy_version"]
    if behind > 0:
        return (
            f"the completions are from policy {row['policy_version']}: the sampler is "
            f"{counted(behind, 'update')} behind"
        )
    difference = row["logprob_diff_mean"]
    if difference is None or difference <= MOST_DIFFERENCE:
        return None
    way = "The sampler may have older weights or another precision: compare with --engine hf or --dtype float32"
    return f"sampler and trainer differ by {difference:.2g} nats per token. {way}"


def _capped(row: Row, first: Row) -> str | None:
    share = row["ratio_capped_fraction"]
    if share is None or share <= CAPPED:
        return None
    way = "Sampler and trainer disagree on them: see logprob_diff_mean in metrics.parquet; the cap is update.tis_cap"
    return f"the importance ratio of {share:.1%} of the tokens is capped. {way}"


def _entropy(row: Row, first: Row) -> str | None:
    now, start = row["entropy"], first["entropy"]
    if now is None or not start or now >= LEAST_ENTROPY * start:
        return None
    way = "The policy hardly explores any more: fork from an earlier step with a lower --lr or a larger --beta"
    return f"the entropy is {now:.2g}, less than {LEAST_ENTROPY:.0%} of the {start:.2g} at the start. {way}"


_CHECKS: Mapping[str, Callable[[Row, Row], str | None]] = {
    "gradient": _gradient,
    "truncated": _truncated,
    "verifier": _verifier,
    "sampler": _sampler,
    "capped": _capped,
    "entropy": _entropy,
}

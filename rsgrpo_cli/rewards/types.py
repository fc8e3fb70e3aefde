"""The record a reward reads, the record it returns, and the statuses that say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol


class Status(StrEnum):
    """Why a completion got its reward. Every status is counted in the metrics; only OK is right."""

    OK = "ok"  # right
    WRONG = "wrong"  # an answer, and not the right one
    NO_BOX = "no_box"  # finished without a \boxed{} answer
    THINK_UNCLOSED = "think_unclosed"  # a thought that never ended, opened by the completion or by its prompt
    TRUNCATED = "truncated"  # cut by the length limit before an answer
    UNPARSABLE = "unparsable"  # an answer of a form that is not accepted, see `math.answer`
    TOO_LONG = "too_long"  # an answer longer than any right one can be
    TIMEOUT = "timeout"  # the verifier did not return in time and was killed
    ERROR = "error"  # the verifier raised or died
    SCORED = "scored"  # a user's reward function returned a number, which is not a verdict
    SKIPPED = "skipped"  # a user's reward function returned None: no reward

    @classmethod
    def _missing_(cls, value: object) -> Status | None:
        return cls.UNPARSABLE if value == "guard" else None  # its name in runs that version 0.1 made


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion to score.

    Args:
        completion: The generated text, without the tokens that end or pad it.
        ground_truth: The reference answer, as `prepare` stored it (bare LaTeX for mathematics).
        finish_reason: "stop" or "length".
        columns: Further columns of the prompt (task, prompt_id, extra_info ...), for user functions.
        in_thought: Whether the prompt ends inside a thought, so that the completion begins in it.
    """

    completion: str
    ground_truth: str
    finish_reason: str = "stop"
    columns: Mapping[str, Any] = field(default_factory=dict)
    in_thought: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one completion earned.

    Args:
        reward: 1.0 or 0.0 from a verifier, any finite number from a user's function, None where skipped.
        status: Why.
        answer: The extracted answer as text, None where there is none.
        breakdown: Named parts, such as {"lenient": 1.0}.
    """

    reward: float | None
    status: Status
    answer: str | None = None
    breakdown: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wants:
    """The columns that a user's function takes.

    Args:
        required: Parameters without a default.
        optional: Parameters with one.
        everything: Whether it has `**columns` and takes whatever there is.
    """

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    everything: bool = False

    @property
    def named(self) -> tuple[str, ...]:
        """All that it names."""
        return self.required + self.optional


class RewardFn(Protocol):
    """Scores completions; expensive parts (worker processes) start on first use and end with `close`."""

    @property
    def identity(self) -> str:
        """Name and version of everything that decides a verdict, for the lineage of the rewards.

        A user's function is asked for it in a worker, so that reading this may raise UsageError.
        """
        ...

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Score `samples`, in order, one verdict each."""
        ...

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        """For each reference answer None, or why it could never be matched (it must match itself)."""
        ...

    def close(self) -> None:
        """End worker processes."""
        ...

"""What a run's earlier steps say to an estimator: how often each prompt was solved, and two running means.

A `History` is a value: that of step 0 is `History()`, and that of a later step is `before.after(outcome)` of the step
before it. So it depends on the steps alone, not on the process that trains, and it grows with the number of prompts,
not with the number of steps.

Shape suffixes: K groups of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

WINDOW = 10
"""Steps whose pass rates are kept one by one."""
RUNNING_SOLVE_RATE, RUNNING_ENTROPY = 0.02, 0.1
"""Share of a step in the running means: of the solve rate as in FADE; of the entropy so that ten steps show."""
DISCOUNT = 0.5
"""What a prompt's counts lose with each visit."""
START_SOLVE_RATE = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step came to.

    Args:
        prompts_K: The prompt of each group.
        right_K: Right answers of each group; where rewards are grades in [0, 1], their sum.
        completions_K: Its completions with a reward.
        entropy: Of the policy, in nats per token, as its update measured it; None if no token was looked at.
    """

    prompts_K: Sequence[str]
    right_K: FloatArray
    completions_K: FloatArray
    entropy: float | None = None


@dataclass(frozen=True, slots=True)
class Visits:
    """What is known of one prompt.

    Args:
        right: Right answers of its visits so far, each visit counting DISCOUNT of the one after it, the last DISCOUNT.
        completions: Completions, counted in the same way.
        recent: Step and pass rate of its visits within the last WINDOW steps, oldest first.
    """

    right: float = 0.0
    completions: float = 0.0
    recent: tuple[tuple[int, float], ...] = ()

    def after(self, step: int, right: float, completions: float) -> Visits:
        """The same with one visit more."""
        return Visits(
            DISCOUNT * (self.right + right),
            DISCOUNT * (self.completions + completions),
            (*self.recent, (step, right / completions)),
        )

    def within(self, first: int) -> Visits:
        """The same without the pass rates of steps before `first`."""
        if not self.recent or self.recent[0][0] >= first:
            return self
        return Visits(self.right, self.completions, tuple(visit for visit in self.recent if visit[0] >= first))


@dataclass(frozen=True, slots=True)
class History:
    """What the steps before `step` came to.

    Args:
        step: The first step that is not in it.
        solve_rate: Running mean of the share of right answers.
        entropy: Running mean of the policy's entropy, in nats per token; None as long as none was measured.
        first_entropy: The first one measured.
        prompts: Prompt -> what is known of it, for those that were sampled.
    """

    step: int = 0
    solve_rate: float = START_SOLVE_RATE
    entropy: float | None = None
    first_entropy: float | None = None
    prompts: Mapping[str, Visits] = field(default_factory=dict)

    def after(self, outcome: Outcome) -> History:
        """The history of the next step, given what this one came to."""
        prompts, right, completions = dict(self.prompts), 0.0, 0.0
        for prompt, ok, size in zip(outcome.prompts_K, outcome.right_K, outcome.completions_K, strict=True):
            if size > 0:
                prompts[prompt] = prompts.get(prompt, Visits()).after(self.step, float(ok), float(size))
                right, completions = right + float(ok), completions + float(size)
        first = self.step + 1 - WINDOW
        return History(
            step=self.step + 1,
            solve_rate=_moved(self.solve_rate, right / completions if completions else None, RUNNING_SOLVE_RATE),
            entropy=outcome.entropy if self.entropy is None else _moved(self.entropy, outcome.entropy, RUNNING_ENTROPY),
            first_entropy=outcome.entropy if self.first_entropy is None else self.first_entropy,
            prompts={prompt: visits.within(first) for prompt, visits in prompts.items()},
        )

    def rates(self) -> FloatArray:
        """The pass rates of the last WINDOW steps that are neither 0 nor 1, in rising order."""
        found = (rate for visits in self.prompts.values() for _, rate in visits.recent if 0 < rate < 1)
        return np.array(sorted(found), dtype=np.float64)

    def counts(self, prompts_K: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Discounted right answers and completions of these prompts' earlier visits, shape (K,) each."""
        visits = [self.prompts.get(prompt, Visits()) for prompt in prompts_K]
        return np.array([v.right for v in visits]), np.array([v.completions for v in visits])


def _moved(mean: float, value: float | None, share: float) -> float:
    return mean if value is None else mean + share * (value - mean)

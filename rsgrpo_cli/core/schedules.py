"""How beta, and the weight of an entropy bonus, change while a policy is trained.

Beta goes by the step, or by how much of the step's batch was solved; the weight by the entropy that is measured.

The paper (https://arxiv.org/abs/2509.24261, appendix A) tried annealing, adapting and raising beta, and none beat a
fixed beta of 2. Its exact schedules could not be verified: these are the plain forms of the three ideas.
"""

from __future__ import annotations

from math import cos, isfinite, pi
from typing import Literal

TimedSchedule = Literal["linear", "cosine"]


def beta_by_step(schedule: TimedSchedule, start: float, end: float, *, step: int, steps: int) -> float:
    """Beta of a training step.

        linear:  start + (end - start) t
        cosine:  end + (start - end) (1 + cos(pi t)) / 2        t = min(step / (steps - 1), 1)

    The first step gets `start`, the last of `steps` and all after it `end`; a schedule of one step is all `start`.

    Args:
        schedule: "linear" or "cosine", which leaves and arrives slowly.
        start: Beta of step 0, in units of 1/reward.
        end: Beta of step `steps` - 1.
        step: From 0.
        steps: How many steps the way takes, >= 1.

    Returns:
        Beta, between start and end.

    Raises:
        ValueError: If the schedule is unknown, step < 0, steps < 1 or a beta is not finite.
    """
    if not (isfinite(start) and isfinite(end)) or step < 0 or steps < 1:
        raise ValueError(f"no beta between {start} and {end} at step {step} of {steps}")
    if schedule not in ("linear", "cosine"):
        raise ValueError(f"schedule must be 'linear' or 'cosine', not {schedule!r}")
    t = min(step / max(steps - 1, 1), 1.0)
    return _between(start, end, t if schedule == "linear" else (1 - cos(pi * t)) / 2)


def beta_by_solve_rate(start: float, end: float, solve_rate: float) -> float:
    """Beta of a batch by the share of it that is right.

        beta = start + (end - start) solve_rate

    With start > end the harder a batch, the more risk is sought; with start < end the reverse.

    Args:
        start: Beta of a batch in which nothing is right, in units of 1/reward.
        end: Beta of one in which everything is.
        solve_rate: In [0, 1].

    Returns:
        Beta, between start and end.

    Raises:
        ValueError: If the rate lies outside [0, 1] or a beta is not finite.
    """
    if not (isfinite(start) and isfinite(end)) or not 0 <= solve_rate <= 1:
        raise ValueError(f"no beta between {start} and {end} at a solve rate of {solve_rate}: it must lie in [0, 1]")
    return _between(start, end, solve_rate)


ENTROPY_COEF_STEP, LARGEST_ENTROPY_COEF = 0.005, 1.0
"""How fast and how far the weight of an adaptive entropy bonus moves, as in TRL."""


def adaptive_entropy_coef(coef: float, entropy: float, target: float) -> tuple[float, float]:
    """The weight of an entropy bonus after an update, and what of it the next update applies.

        next = clip(coef + 0.005, 0, 1)   and applied, if entropy <= target
        next = clip(coef - 0.005, 0, 1)   and not applied, otherwise

    Skywork-OR1's control by He et al. (https://arxiv.org/abs/2505.22312), with the numbers of TRL
    (https://github.com/huggingface/trl/pull/6140), once an update instead of once an optimizer step.

    Args:
        coef: The weight so far.
        entropy: That the update measured, in nats per token.
        target: The entropy to keep.

    Returns:
        The next weight, and the weight in the loss: that or 0.
    """
    low = entropy <= target
    moved = coef + (ENTROPY_COEF_STEP if low else -ENTROPY_COEF_STEP)
    moved = min(max(moved, 0.0), LARGEST_ENTROPY_COEF)
    return moved, moved if low else 0.0


def _between(start: float, end: float, share: float) -> float:
    # Weighed this way both ends are exact; what rounding adds in between must not lead beyond them.
    value = start * (1 - share) + end * share
    return min(max(value, min(start, end)), max(start, end))

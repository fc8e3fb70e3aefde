"""Rewards by name: `open_reward`. What a name stands for is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.rewards.types import RewardFn, Sample, Verdict

Opener = Callable[[int, float, bool], RewardFn]


def _math(workers: int, deadline: float, lenient: bool) -> RewardFn:
    from rsgrpo_cli.rewards.math.reward import MathReward

    return MathReward(workers=workers, deadline=deadline, lenient=lenient)


def _countdown(workers: int, deadline: float, lenient: bool) -> RewardFn:
    from rsgrpo_cli.rewards.countdown import CountdownReward

    return CountdownReward()


def _bare(workers: int, deadline: float, lenient: bool) -> RewardFn:
    from rsgrpo_cli.rewards.math.bare import BareReward

    return BareReward(workers=workers, deadline=deadline)


def _auto(workers: int, deadline: float, lenient: bool) -> RewardFn:
    return AutoReward({task: opener(workers, deadline, lenient) for task, opener in TASKS.items()})


TASKS: Mapping[str, Opener] = {"math": _math, "countdown": _countdown}
"""The rewards of the tasks that a prompt may have."""

REWARDS: Mapping[str, Opener] = {"auto": _auto, **TASKS}
"""The rewards with a name."""

SECOND: Mapping[str, Opener] = {"bare": _bare}
"""What rewards are compared with; nothing is trained on them."""

ONLY_TASK: Mapping[str, str] = {"bare": "math", **{task: task for task in TASKS}}
"""The task of rewards that judge no other: what is right in another is wrong to them."""


def open_reward(
    name: str, *, workers: int, deadline: float, lenient: bool = False, keep_out: Path | None = None
) -> RewardFn:
    """The reward with this name. Worker processes start when it is first used; `close` ends them.

    Args:
        name: "auto" (by each prompt's task), "math", "countdown", "bare" (math-verify as it comes, to compare with),
            or a user's "package.module:function".
        workers: Number of worker processes, where the reward needs them.
        deadline: Seconds for one verification, or for one call of a user's function.
        lenient: Whether "math" also reports what answers without a box would earn.
        keep_out: A directory from which no function is imported.

    Raises:
        UsageError: If there is no such name.
    """
    if ":" in name:
        from rsgrpo_cli.rewards.user import UserReward

        return UserReward(name, workers=workers, deadline=deadline, keep_out=keep_out)
    if name not in (known := {**REWARDS, **SECOND}):
        names = ", ".join(known)
        raise UsageError(f"unknown reward {name!r}", f"give one of {names}, or your own as package.module:function")
    return known[name](workers, deadline, lenient)


class AutoReward:
    """Judges each sample by the reward of its task, which is its column "task".

    Args:
        rewards: The reward of each task.
    """

    def __init__(self, rewards: Mapping[str, RewardFn]) -> None:
        self._rewards = dict(rewards)
        self.identity = "auto " + "; ".join(f"{task}: {reward.identity}" for task, reward in rewards.items())

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Judge `samples`.

        Raises:
            DataError: If a sample's task is unknown.
        """
        places: dict[str, list[int]] = {}
        for index, sample in enumerate(samples):
            places.setdefault(self._task(sample), []).append(index)
        verdicts: dict[int, Verdict] = {}
        for task, indices in places.items():
            judged = self._rewards[task]([samples[index] for index in indices])
            verdicts.update(zip(indices, judged, strict=True))
        return [verdicts[index] for index in range(len(samples))]

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        r"""For each reference answer None, or why it cannot be verified.

        Reference answers come without their task, but an arrow makes a countdown puzzle: mathematics writes `\to`.
        """
        complaints: list[str | None] = [None] * len(ground_truths)
        for task, reward in self._rewards.items():
            indices = [index for index, gold in enumerate(ground_truths) if task_of(gold) == task]
            found = reward.check_ground_truth([ground_truths[index] for index in indices])
            for index, complaint in zip(indices, found, strict=True):
                complaints[index] = complaint
        return complaints

    def close(self) -> None:
        """End the worker processes of every task."""
        for reward in self._rewards.values():
            reward.close()

    def _task(self, sample: Sample) -> str:
        task = sample.columns.get("task")
        if task not in self._rewards:
            known = ", ".join(self._rewards)
            raise DataError(
                f"prompt {sample.columns.get('prompt_id', '?')} has the task {task!r}, for which there is no reward",
                f'tasks with a reward: {known}; for any other: --reward "package.module:function"',
            )
        return str(task)


def task_of(ground_truth: str) -> str:
    """The task of a reference answer that comes without it."""
    return "countdown" if "->" in ground_truth else "math"

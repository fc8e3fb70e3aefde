"""`UserReward`: a reward function of the user's own, called in worker processes.

    def shorter_is_better(completions, ground_truth, **columns):
        return [1.0 / (1 + len(completion)) for completion in completions]

The signature is TRL's: keyword arguments, each a list with one entry per completion; `completions`, `ground_truth` and
the prompt's columns, those that the function names, or all where it has `**columns`. It returns one number, or None
for no reward, per completion.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.rewards.pool import Died, Done, Outcome, Raised, TimedOut, WorkerPool
from rsgrpo_cli.rewards.types import Sample, Status, Verdict

# A reward model needs more room than a verifier; what a completion makes a function allocate must still end somewhere.
MEMORY_LIMIT_BYTES = 16 * 1024**3

_LOGGER = logging.getLogger(__name__)
_CALLER = "rsgrpo_cli.rewards.user_worker:caller"


class UserReward:
    """Calls a user's function with all completions of a prompt at once, and outlives whatever it does.

    Where a call raises, dies or overruns, its completions are tried again one at a time, so that only the ones at
    fault go without: they get 0.0 and the status ERROR or TIMEOUT.

    Args:
        name: The function, as "package.module:function"; the module may be in the current directory.
        workers: Processes; they start with the first use.
        deadline: Seconds for one call, after which its worker is killed.

    Raises:
        UsageError: On first use, before anything is scored, if the function cannot be loaded or asks for a column
            that the prompts do not have.
    """

    def __init__(self, name: str, *, workers: int, deadline: float) -> None:
        module, colon, function = name.partition(":")
        if not (module and colon and function):
            raise UsageError(
                f'a reward function is given as "package.module:function", not "{name}"',
                "for a function f in my_rewards.py in this directory: my_rewards:f",
            )
        self._name = name
        self._told: set[str] = set()
        self._failure = ""
        self._pool = WorkerPool(
            _CALLER,
            workers=workers,
            deadline=deadline,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
            setup=(name,),
            label=name,
        )

    @cached_property
    def identity(self) -> str:
        """The function's name and a hash of the file it stands in. Starts a worker to find out.

        Raises:
            UsageError: If the function cannot be loaded.
        """
        (outcome,) = self._pool.map([(None,)])
        if not isinstance(outcome, Done):
            raise UsageError(f"the source of {self._name} cannot be read: {_reason(outcome)}")
        return f"user {self._name} {outcome.value}".rstrip()

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Score `samples`; consecutive ones of one prompt share a call.

        Raises:
            UsageError: See the class.
            DataError: If the function returns another number of rewards than completions, or one that is no finite
                number and not None; or if it fails on every completion, which is a bug of its own.
        """
        groups = [list(group) for _, group in groupby(samples, key=lambda sample: sample.columns.get("prompt_id"))]
        outcomes = self._pool.map([_job(group) for group in groups])
        again = [
            sample
            for group, outcome in zip(groups, outcomes, strict=True)
            if not isinstance(outcome, Done) and len(group) > 1
            for sample in group
        ]
        self._refuse_missing_columns(outcomes)
        retried = iter(self._pool.map([_job([sample]) for sample in again]))
        verdicts: list[Verdict] = []
        for group, outcome in zip(groups, outcomes, strict=True):
            if isinstance(outcome, Done) or len(group) == 1:
                verdicts += self._verdicts(group, outcome)
            else:
                verdicts += [self._verdicts([sample], next(retried))[0] for sample in group]
        if verdicts and all(verdict.status is Status.ERROR for verdict in verdicts):
            raise DataError(
                f"the reward function {self._name} failed on every completion: {self._failure}",
                "try it by hand on a few completions, then run `rsgrpo score` again",
            )
        return verdicts

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        """No complaints: only the function knows what it does with a reference answer."""
        return [None] * len(ground_truths)

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def _refuse_missing_columns(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Raised) and outcome.kind == "MissingColumnError":
                raise UsageError(
                    f"the reward function {self._name} cannot be called: {outcome.message}",
                    "give the parameter a default, or take **columns and look for it there",
                )

    def _verdicts(self, group: Sequence[Sample], outcome: Outcome) -> list[Verdict]:
        match outcome:
            case Done(str() as returned):
                raise DataError(f"{self._where(group[0])} returned {returned}", "it must return a list of rewards")
            case Done(rewards) if len(rewards) != len(group):
                raise DataError(
                    f"{self._where(group[0])} returned {len(rewards)} rewards for {len(group)} completions",
                    "it must return one number, or None, for each completion",
                )
            case Done(rewards):
                return [self._verdict(sample, reward) for sample, reward in zip(group, rewards, strict=True)]
            case TimedOut():
                self._tell(group[0], "TimedOut", "it took too long and was stopped")
                return [Verdict(0.0, Status.TIMEOUT)]
            case Raised(kind, message):
                self._tell(group[0], kind, f"it raised {kind}: {message}")
                return [Verdict(0.0, Status.ERROR)]
            case Died(exit_code):
                self._tell(group[0], "Died", f"it ended its process with code {exit_code}")
                return [Verdict(0.0, Status.ERROR)]

    def _verdict(self, sample: Sample, reward: float | str | None) -> Verdict:
        if reward is None:
            return Verdict(None, Status.SKIPPED)
        if isinstance(reward, str) or not math.isfinite(reward):
            raise DataError(
                f"{self._where(sample)} returned {reward} for sample {sample.columns.get('sample_index', '?')}",
                "a reward is a finite number, or None to leave the completion out",
            )
        return Verdict(reward, Status.SCORED)

    def _tell(self, sample: Sample, kind: str, what: str) -> None:
        """Log the first failure of a kind: a status alone does not tell a hostile completion from a bug."""
        self._failure = what
        if kind not in self._told:
            self._told.add(kind)
            _LOGGER.warning("%s gives reward 0: %s (more of this kind are only counted)", self._where(sample), what)

    def _where(self, sample: Sample) -> str:
        return f"the reward function {self._name}, called for prompt {sample.columns.get('prompt_id', '?')},"


def _job(group: Sequence[Sample]) -> tuple[dict[str, list[Any]]]:
    names = dict.fromkeys(name for sample in group for name in sample.columns)
    columns: dict[str, list[Any]] = {name: [sample.columns.get(name) for sample in group] for name in names}
    columns["completions"] = [sample.completion for sample in group]
    columns["ground_truth"] = [sample.ground_truth for sample in group]
    return (columns,)


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Raised(kind, message):
            return f"{kind}: {message}"
        case Died(exit_code):
            return f"the process ended with code {exit_code}"
        case _:
            return "it took too long"

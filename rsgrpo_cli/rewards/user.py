"""`UserReward`: a reward function of the user's own, called in worker processes.

    def shorter_is_better(completions, ground_truth, **columns):
        return [1.0 / (1 + len(completion)) for completion in completions]

The signature is TRL's: keyword arguments, each a list with one entry per completion: `completions`, `prompts`,
`completion_ids`, `ground_truth` and the columns of the data set, those that the function names, or all where it has
`**columns`. It returns one number, or None for no reward, per completion. docs/rewards.md has the whole of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.rewards.types import Sample, Status, Verdict, Wants
from rsgrpo_cli.user_function import UserFunction
from rsgrpo_cli.wording import counted, raised
from rsgrpo_cli.workers.pool import Died, Done, Outcome, Raised, TimedOut

MOST_FAILURES = 0.5
"""Of the completions of a call; if more of them fail, the function is at fault and not the completions."""
STANDARD_COLUMNS = ("completions", "prompts", "completion_ids", "ground_truth", "prompt_id", "sample_index", "messages")
"""What every function can have. A column of the data set with one of these names is not passed."""
DEFAULT_COLUMNS = ("task", "split", "data_source", "extra_info")
"""The same, where the data set has no column of that name."""

_LOGGER = logging.getLogger(__name__)
_CALLER = "rsgrpo_cli.rewards.user_worker:caller"


class UserReward:
    """Calls a user's function with all completions of a prompt at once, and outlives whatever it does.

    Where a call raises, dies or overruns, its completions are tried again one at a time, so that only the ones at
    fault get 0.0 and the status ERROR or TIMEOUT.

    Args:
        name: The function, as "package.module:function"; the module may be in the current directory.
        workers: Processes; they start with the first use.
        deadline: Seconds for one call, after which its worker is killed.
        keep_out: A directory from which the function is not imported: a run's, which is data and no program.

    Raises:
        UsageError: On first use, before anything is scored, if the function cannot be loaded or asks for a column
            that the prompts do not have.
    """

    def __init__(self, name: str, *, workers: int, deadline: float, keep_out: Path | None = None) -> None:
        self._name, self._deadline = name, deadline
        self._told: set[str] = set()
        self._failure = ""
        self._function = UserFunction(name, "reward", _CALLER, workers=workers, deadline=deadline, keep_out=keep_out)

    @cached_property
    def identity(self) -> str:
        """The function's name and a hash of its source: its file, and what it imports from beside it.

        Starts a worker to find out.

        Raises:
            UsageError: If the function cannot be loaded.
        """
        return self._function.identity

    @cached_property
    def wants(self) -> Wants:
        """The columns that the function takes.

        Raises:
            UsageError: If the function cannot be loaded.
        """
        found = self._function.described
        return Wants(tuple(found["required"]), tuple(found["optional"]), found["everything"])

    def takes(self, column: str) -> bool:
        """Whether the function takes a column if there is one."""
        return self.wants.everything or column in self.wants.named

    def __call__(self, samples: Sequence[Sample], among: int | None = None) -> list[Verdict]:
        """Score `samples`; consecutive ones of one prompt share a call.

        Args:
            samples: What to score.
            among: Of how many completions these are a choice, where the others were scored before.

        Raises:
            UsageError: See the class.
            StaleError: If the function's source was changed since its identity was asked for.
            DataError: If the function returns another number of rewards than completions, or one that is no finite
                number and not None; or if it fails on more than half of the completions, which is a bug of its own.
        """
        groups = [list(group) for _, group in groupby(samples, key=lambda sample: sample.columns.get("prompt_id"))]
        self._refuse_missing_columns(groups)
        outcomes = self._function.map([self._job(group) for group in groups])
        again = [
            sample
            for group, outcome in zip(groups, outcomes, strict=True)
            if not isinstance(outcome, Done) and len(group) > 1
            for sample in group
        ]
        retried = iter(self._function.map([self._job([sample]) for sample in again]))
        verdicts: list[Verdict] = []
        for group, outcome in zip(groups, outcomes, strict=True):
            if isinstance(outcome, Done) or len(group) == 1:
                verdicts += self._verdicts(group, outcome)
            else:
                verdicts += [self._verdicts([sample], next(retried))[0] for sample in group]
        self._refuse_failures(verdicts, among or len(verdicts))
        return verdicts

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        """No complaints: only the function knows what it does with a reference answer."""
        return [None] * len(ground_truths)

    def close(self) -> None:
        """End the worker processes."""
        self._function.close()

    def _job(self, group: Sequence[Sample]) -> tuple[dict[str, list[Any]], str]:
        names = dict.fromkeys(name for sample in group for name in sample.columns)
        columns: dict[str, list[Any]] = {
            name: [sample.columns.get(name) for sample in group] for name in names if self.takes(name)
        }
        columns["completions"] = [sample.completion for sample in group]
        columns["ground_truth"] = [sample.ground_truth for sample in group]
        return {name: values for name, values in columns.items() if self.takes(name)}, self._function.source

    def _refuse_missing_columns(self, groups: Sequence[Sequence[Sample]]) -> None:
        there = {"completions", "ground_truth", *(name for group in groups for name in group[0].columns)}
        missing = [name for name in self.wants.required if name not in there]
        if groups and missing:
            raise UsageError(
                f"the reward function {self._name} cannot be called: it needs {', '.join(missing)}; there are "
                f"{', '.join(sorted(there))}",
                "give the parameter a default, or take **columns and look for it there",
            )

    def _refuse_failures(self, verdicts: Sequence[Verdict], among: int) -> None:
        """Stop if most completions fail: what is learned from would be made up."""
        failed = [verdict.status for verdict in verdicts if verdict.status in (Status.ERROR, Status.TIMEOUT)]
        if len(failed) <= MOST_FAILURES * among:
            return
        which = "every completion" if len(failed) == among else f"{len(failed)} of {counted(among, 'completion')}"
        slow = failed.count(Status.TIMEOUT) > len(failed) / 2
        raise DataError(
            f"the reward function {self._name} failed on {which}: {self._failure}",
            f"give it longer than {self._deadline:g} s: --timeout, or make it faster; then run the same command again"
            if slow
            else "fix it, try it by hand on a few completions, then run the same command again",
        )

    def _verdicts(self, group: Sequence[Sample], outcome: Outcome) -> list[Verdict]:
        match outcome:
            case Done(str() as returned):
                raise DataError(f"{self._where(group[0])} returned {returned}", "it must return a list of rewards")
            case Done(rewards) if len(rewards) != len(group):
                raise DataError(
                    f"{self._where(group[0])} returned {counted(len(rewards), 'reward')} for "
                    f"{counted(len(group), 'completion')}",
                    "it must return one number, or None, for each completion",
                )
            case Done(rewards):
                return [self._verdict(sample, reward) for sample, reward in zip(group, rewards, strict=True)]
            case TimedOut():
                self._log_failure(group[0], "TimedOut", f"it took longer than {self._deadline:g} s and was stopped")
                return [Verdict(0.0, Status.TIMEOUT)]
            case Raised(kind, message):
                self._log_failure(group[0], kind, f"it raised {raised(kind, message)}")
                return [Verdict(0.0, Status.ERROR)]
            case Died(exit_code):
                self._log_failure(group[0], "Died", f"it ended its process with code {exit_code}")
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

    def _log_failure(self, sample: Sample, kind: str, what: str) -> None:
        """Log the first failure of a kind: a status alone does not tell a hostile completion from a bug."""
        self._failure = what
        if kind not in self._told:
            self._told.add(kind)
            _LOGGER.warning("%s gives reward 0: %s (more of this kind are only counted)", self._where(sample), what)

    def _where(self, sample: Sample) -> str:
        return f"the reward function {self._name}, called for prompt {sample.columns.get('prompt_id', '?')},"

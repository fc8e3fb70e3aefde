"""How long a run still takes: its steps and its evaluations, from what they took so far."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rsgrpo_cli.artifacts import count_rows
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.run import events
from rsgrpo_cli.run.run_dir import RunDir

RECENT = 20
"""The steps whose time is taken for that of the steps to come."""
RECENT_EVALUATIONS = 3


class Clock:
    """What the steps and evaluations of a run took, as its log grows.

    Args:
        run: The run.
        config: Its settings.
    """

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        self.run, self.config = run, config
        self._rows: deque[Mapping[str, Any]] = deque(maxlen=RECENT)
        self._log = events.Tail(run.events)
        self._evaluated: dict[str, list[float]] = {}

    @property
    def evaluated(self) -> dict[str, list[float]]:
        """Benchmark -> the seconds that its evaluations took."""
        for event in self._log.new():
            if event["stage"] == "eval" and "tag" not in event:
                self._evaluated.setdefault(str(event.get("benchmark")), []).append(event["seconds"])
        return self._evaluated

    def left_after(self, row: Mapping[str, Any]) -> float | None:
        """Seconds left after a step, as `left`; to be asked after every step."""
        self._rows.append(row)
        return self.left([*self._rows], row["step"] + 1)

    def left(
        self, rows: Sequence[Mapping[str, Any]], done: int, age: float = 0.0, evaluating: float | None = None
    ) -> float | None:
        """Seconds until the last step and its evaluation are done.

        Args:
            rows: Of the run's metrics, at least the newest.
            done: Steps that are done.
            age: Seconds since the last step ended.
            evaluating: Seconds since the evaluation at work began; None where none is.

        Returns:
            None before the first step is done, and when nothing is left.
        """
        train = self.config.train
        known = [row["seconds_step"] for row in rows[-RECENT:] if row["seconds_step"] is not None]
        count = evaluations_left(done, train.steps, train.eval_every)
        if not known or (done >= train.steps and evaluating is None):
            return None
        step = median(known)
        begun = min(age, step) if evaluating is None else 0.0
        steps = max(0.0, (train.steps - done) * step - begun)
        if not count and evaluating is None:
            return float(steps)
        each = sum(self._evaluation_seconds(name, rows[-1]) for name in self.config.benchmarks)
        return float(steps + count * each + (0.0 if evaluating is None else max(0.0, each - evaluating)))

    def _evaluation_seconds(self, dataset: str, row: Mapping[str, Any]) -> float:
        """What an evaluation took; before the first one, what as many completions take in training."""
        # Here: status is asked often, and needs it seldom.
        from rsgrpo_cli.tasks.sample_counts import for_benchmark
        from rsgrpo_cli.tasks.sources import source_name

        name = source_name(dataset)
        taken = self.evaluated.get(name)
        if taken:
            return max(taken[-RECENT_EVALUATIONS:])  # one that found its samples there took no time
        problems, sampling = self.run.benchmark(name), row["seconds_rollout"]
        if not problems.is_file() or not sampling:
            return 0.0
        completions = count_rows(problems) * for_benchmark(self.config.eval, name).samples
        rollout = self.config.rollout
        return float(sampling * completions / (rollout.group_size * rollout.prompts_per_step))


def evaluations_left(done: int, steps: int, every: int) -> int:
    """How many policies are still to be evaluated: every so many, and the last one."""
    if not every or done >= steps:
        return 0
    return steps // every - done // every + bool(steps % every)

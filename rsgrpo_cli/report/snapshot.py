"""A run as it is this moment: what `train` draws, `watch` and `status` show. All of it is from the run's files."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli import activity, health
from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.console import duration
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.report.remaining import RECENT, Clock
from rsgrpo_cli.report.samples import Sampled, pair
from rsgrpo_cli.report.usage import bytes_used
from rsgrpo_cli.run.locks import Holder
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import evaluations
from rsgrpo_cli.schemas import METRICS, SUMMARY

CURVES = ("reward_mean", "pass@G", "cumulative_solve_rate", "entropy", "truncated_fraction", "grad_norm")
"""The columns of the metrics that are drawn over all steps."""
COLUMNS = (
    *("step", "policy_version", "reward_mean", "pass@1", "pass@G", "cumulative_solve_rate", "entropy", "grad_norm"),
    *("truncated_fraction", "groups_all_right", "groups_mixed", "groups_all_wrong", "groups_shaped", "groups_sampled"),
    *("tokens_per_second", "seconds_step", "seconds_rollout", "advantage_rms", "scorer_errors", "scorer_timeouts"),
    *("status_counts", "logprob_diff_mean", "ratio_capped_fraction"),
)
"""All that are read: of a long run that saves half of the time."""
SILENT_SECONDS = 30.0
"""A process at work says every second what it does; one that is stopped or on another machine does not."""
SAMPLES_SECONDS, DISK_SECONDS = 5.0, 60.0
"""How often other completions are read, and the disk is asked."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest evaluation.

    Args:
        policy: Which policy.
        benchmark: On what.
        values: Metric ("pass@16", "reward"), value and 95% interval; None where there is no interval.
        against: The policy that it is compared with; None where there is no other.
        differences: The same metrics minus those of `against`, with paired intervals.
    """

    policy: int
    benchmark: str
    values: Sequence[tuple[str, float, float | None, float | None]]
    against: int | None = None
    differences: Sequence[tuple[str, float, float | None, float | None]] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at a moment.

    Args:
        run: Its path.
        config: Its settings.
        done: Steps that are done.
        holder: The process at work on it, None if there is none.
        evaluator: The same, of an evaluation beside it.
        first: The row of its metrics of the first step; empty before that is done.
        recent: Those of the newest steps, the newest last.
        curves: Name -> the values by step, of CURVES.
        seconds_left: Until the last step and its evaluation are done; None where that is not known or nothing is left.
        measured: The newest evaluation.
        right: A completion of the newest step with the highest reward of its group.
        wrong: One with the lowest.
        bytes: What the run takes on the disk.
        problem: What of it could not be read.
        worked: When a process was last at work on it, in seconds since 1970; None where nothing tells.
        begun: Steps that have completions; the last may have been left in the middle.
    """

    run: str
    config: RunConfig
    done: int
    holder: Holder | None = None
    evaluator: Holder | None = None
    first: Mapping[str, Any] = field(default_factory=dict)
    recent: Sequence[Mapping[str, Any]] = ()
    curves: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    seconds_left: float | None = None
    measured: Measured | None = None
    right: Sampled | None = None
    wrong: Sampled | None = None
    bytes: int = 0
    problem: str = ""
    worked: float | None = None
    begun: int = 0

    @property
    def wanted(self) -> int:
        """How many steps it is to have; a run may be resumed for more than it was created for."""
        return max(self.done, self.begun, self.config.train.steps)

    @property
    def at_work(self) -> bool:
        """Whether a process works on the run."""
        return self.holder is not None or self.evaluator is not None

    @property
    def last(self) -> Mapping[str, Any]:
        """The newest row of the metrics."""
        return self.recent[-1] if self.recent else {}

    @property
    def state(self) -> str:
        """Whether it is at work, since when, and whether it still says so."""
        at_work = self.holder or self.evaluator
        if at_work is None or at_work.doing.get("ending"):
            if self.done >= self.wanted:
                return "done"
            return "stopped" if self.worked is None else f"stopped since {_moment(datetime.fromtimestamp(self.worked))}"
        since = f" since {_since(at_work.since)}" if at_work.since else ""
        silent = f", silent for {duration(at_work.age)}" if at_work.age > SILENT_SECONDS else ""
        return f"{'running' if self.holder else 'evaluating'}{since}{silent}"

    @property
    def warnings(self) -> list[health.Warned]:
        """What of the newest steps deserves a warning, once each."""
        return health.all_warnings(self.recent, self.first)

    @property
    def progress(self) -> activity.Progress | None:
        """What is being done now."""
        return _progress(self.holder) or _progress(self.evaluator)


@dataclass(slots=True)
class Reader:
    """Reads snapshots of one run, and what has changed only.

    Args:
        run: The run.
    """

    run: RunDir
    _known: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    _clock: Clock | None = None

    def read(self, *, everything: bool = True) -> Snapshot:
        """The run as it is now.

        What is damaged or being replaced this moment is left out, and `problem` says so.

        Args:
            everything: Read the curves and two completions too, compare the newest evaluation, ask the disk.
        """
        config = self.run.config()
        done, holder = self.run.newest_version(), self.run.holder()
        readers: dict[str, Callable[[], Any]]
        readers = {"rows": self._rows, "measured": lambda: self._measured(everything)}
        if everything:
            readers |= {"curves": self._curves, "pair": self._samples, "bytes": self._bytes}
        parts: dict[str, Any] = {}
        for name, read in readers.items():
            try:
                parts[name] = read()
            except (RsgrpoError, OSError) as error:
                parts["problem"] = str(error)
        rows = parts.pop("rows", [])
        if holder and rows:
            done = max(done, rows[-1]["step"] + 1)
        parts |= dict(zip(("right", "wrong"), parts.pop("pair", (None, None)), strict=True))
        parts |= {"first": rows[0], "recent": rows[1:]} if rows else {}
        left, begun = self._left(config, holder, rows[1:], done), self.run.steps_begun()
        evaluator = self.run.evaluator()
        worked = self.run.last_at_work()
        parts |= {"seconds_left": left, "worked": worked, "begun": begun}
        return Snapshot(str(self.run.path), config, done, holder, evaluator, **parts)

    def _left(
        self, config: RunConfig, holder: Holder | None, recent: Sequence[Mapping[str, Any]], done: int
    ) -> float | None:
        if holder is None:
            return None
        self._clock = self._clock or Clock(self.run, config)
        now = _progress(holder)
        evaluating = now.seconds if now and now.what.startswith("eval of ") else None
        return self._clock.left(recent, done, self._age(), evaluating)

    def whole_rows(self, first: int) -> list[dict[str, Any]]:
        """The rows of the metrics of the steps from `first` on."""
        if not self.run.metrics.is_file():
            return []
        table = read_table(self.run.metrics, METRICS)
        rows: list[dict[str, Any]] = table.slice(bisect_left(table["step"].to_pylist(), first)).to_pylist()
        return rows

    def _once(self, name: str, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns, made again only when the key is another."""
        if name not in self._known or self._known[name][0] != key:
            self._known[name] = (key, make())
        return self._known[name][1]

    def _table(self) -> pa.Table | None:
        path = self.run.metrics
        if not path.is_file():
            return None
        return self._once("table", _signature(path), lambda: read_table(path, METRICS, COLUMNS))

    def _rows(self) -> list[dict[str, Any]]:
        """The first row and the recent ones; nothing before there is one."""
        table = self._table()
        if not table:
            return []
        recent = table.slice(max(0, len(table) - RECENT))
        rows: list[dict[str, Any]] = table.slice(0, 1).to_pylist() + recent.to_pylist()
        return rows

    def _curves(self) -> dict[str, list[float | None]]:
        table = self._table()
        return {name: table[name].to_pylist() for name in CURVES} if table else {}

    def _measured(self, compared: bool) -> Measured | None:
        found = evaluations(self.run)
        keys = [(*one, _signature(self.run.evaluation(*one) / "summary.parquet")) for one in found]
        measured: Measured | None = self._once("measured", keys, lambda: newest(self.run, found, compared=compared))
        return measured

    def _samples(self) -> tuple[Sampled | None, Sampled | None]:
        table = self._table()
        last = table["step"][-1].as_py() if table else 0
        key = int(time.monotonic() / SAMPLES_SECONDS)
        if self._known.get("samples", (None, None))[1] == (None, None):  # there were none yet
            self._known.pop("samples", None)
        found: tuple[Sampled | None, Sampled | None] = self._once("samples", key, lambda: pair(self.run, last))
        return found

    def _bytes(self) -> int:
        used: int = self._once("bytes", int(time.monotonic() / DISK_SECONDS), lambda: bytes_used(self.run))
        return used

    def _age(self) -> float:
        """Seconds since the last step ended, about."""
        path = self.run.metrics
        return max(0.0, time.time() - path.stat().st_mtime) if path.is_file() else 0.0


def _since(text: str) -> str:
    """A time as of a lock, ISO 8601, on its own clock; the text itself where it is none."""
    try:
        return _moment(datetime.fromisoformat(text))
    except ValueError:
        return text


def _moment(time: datetime) -> str:
    """A time for people: the minute, of another day with the day."""
    return time.strftime("%H:%M" if time.date() == datetime.now(time.tzinfo).date() else "%Y-%m-%d %H:%M")


def _signature(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _progress(holder: Holder | None) -> activity.Progress | None:
    stack = holder.doing.get("stack") if holder else None
    return activity.progress(stack) if isinstance(stack, list) else None


def newest(run: RunDir, found: Sequence[tuple[int, str]], *, compared: bool = True) -> Measured | None:
    """The newest evaluation, compared with the earliest one of the same benchmark."""
    if not found:
        return None
    policy = max(version for version, _ in found)
    benchmark = min(name for version, name in found if version == policy)
    summary = read_table(run.evaluation(policy, benchmark) / "summary.parquet", SUMMARY).to_pylist()
    of = {metric: [row["k"] for row in summary if row["metric"] == metric] for metric in ("maj", "pass")}
    ks = _shown(of["maj"] or of["pass"])  # where there is a vote, it is at the k that were asked for
    rows = [row for row in summary if row["metric"] == "reward" or (row["metric"] == "pass" and row["k"] in ks)]
    values = [(_metric(row["k"]), row["value"], row["ci_low"], row["ci_high"]) for row in rows]
    earlier = min(version for version, name in found if name == benchmark)
    measured = Measured(policy, benchmark, values)
    return measured if earlier == policy or not compared else _compared(run, measured, earlier, ks)


def _metric(k: int | None) -> str:
    return "reward" if k is None else f"pass@{k}"


def _compared(run: RunDir, measured: Measured, earlier: int, ks: Sequence[int]) -> Measured:
    """The evaluation with its paired difference to an earlier one, as far as they have the same k."""
    from rsgrpo_cli.report.comparison import compare
    from rsgrpo_cli.report.evaluations import load

    before, after = (load(run, version, measured.benchmark) for version in (earlier, measured.policy))
    shared = {row["k"] for row in before.curve()}
    found = compare(before, after, [k for k in ks if k in shared] or None)["differences"]
    differences = [(_metric(row["k"]), row["difference"], row["ci_low"], row["ci_high"]) for row in found]
    return replace(measured, against=earlier, differences=differences)


def _shown(ks: Sequence[int]) -> list[int]:
    """The smallest and the largest."""
    return sorted({min(ks), max(ks)}) if ks else []

"""Evaluations as they are on disk, found by "RUN", "RUN@POLICY" or, on the line to a policy, "RUN@4at0.5"."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.core.intervals import bootstrap_macro_interval
from rsgrpo_cli.core.passk import pass_at_k, pass_at_k_standard_error
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.report.measuring import Made, measure_command
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.rewards.rules import rules_for
from rsgrpo_cli.run import policies
from rsgrpo_cli.run.run_commands import choose_benchmark, eval_command, to_measure
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import GRADED, SAMPLED, evaluation_parts, place_flags, policy_at, require_own, why_stale
from rsgrpo_cli.run.step_dir import POLICY, with_policy
from rsgrpo_cli.schemas import PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One policy on one benchmark.

    Args:
        run: The run.
        version: The policy.
        benchmark: The benchmark, with a tag where it has one.
        dataset: The short name of the benchmark alone.
        summary: Table of `schemas.SUMMARY`.
        problems: Table of `schemas.PROBLEMS`.
        benchmark_id: Id of the benchmark's problems; only evaluations that share it can be compared.
        sampling: How its samples were drawn.
        verifier: What graded them.
        phrasing: How its problems were put, with the hashes of what decided it.
        stale: Why it is, from `find`; None where it is not.
        at: Where on the line from the base model to the policy the weights are that were evaluated.
    """

    run: RunDir
    version: int
    benchmark: str
    dataset: str
    summary: pa.Table
    problems: pa.Table
    benchmark_id: str
    sampling: dict[str, Any]
    verifier: str
    phrasing: str
    stale: str | None = None
    at: float = WHOLE

    @property
    def label(self) -> str:
        """Its run and policy in a few words."""
        base = "" if self.version else " (base)"
        line = "" if self.at == WHOLE else f"at{self.at:g}"
        return f"{self.run.name}@{self.run.policy_name(self.version)}{line}{base}"

    def counts(self, samples: int) -> tuple[IntArray, IntArray]:
        """Samples and right ones of each problem, among the first so many; both of shape (problems,).

        Raises:
            MissingError: If there are more samples, and the verdicts on them are gone.
        """
        if samples == self.num_samples:
            return np.array(self.problems["n"].to_pylist()), np.array(self.problems["correct"].to_pylist())
        rewards = self._rewards(samples)
        said = verdicts.right(rewards)
        right = Counter(rewards["group_id"].filter(said).to_pylist() if said is not None else ())
        ids = self.problems["prompt_id"].to_pylist()
        return np.full(len(ids), samples), np.array([right[prompt_id] for prompt_id in ids])

    def _rewards(self, samples: int) -> pa.Table:
        """The rewards of the first so many samples of each problem."""
        parts = evaluation_parts(self.run.evaluation(self.version, self.benchmark, self.at) / GRADED, samples)
        columns = ["group_id", "sample_index", *verdicts.COLUMNS]
        rewards = pa.concat_tables([read_table(path, REWARDS, columns) for path in parts])
        return rewards.filter(pc.less(rewards["sample_index"], samples))

    @property
    def num_samples(self) -> int:
        """Samples a problem."""
        return int(self.summary["n_samples"][0].as_py())

    def value(self, metric: str, k: int | None = None) -> dict[str, Any] | None:
        """A row of the summary, None where it is not there."""
        rows = self.summary.to_pylist()
        return next((row for row in rows if row["metric"] == metric and row["k"] == k), None)

    @property
    def is_graded(self) -> bool:
        """Whether its rewards are grades, of which there is a mean and no pass@k."""
        return self.value("reward") is not None

    @property
    def is_scored(self) -> bool:
        """Whether every verdict is a 0 or 1 that a function returned: the share of right answers is the mean reward."""
        return are_scored(self.summary["metric"].to_pylist())

    def mean_rewards(self, samples: int) -> list[float | None] | None:
        """The mean reward of each problem over its first so many samples, None for one without.

        There are none where a verifier judged. A function of grades may have returned only 0 and 1 for one policy.
        That was taken as a verdict, and the share of right answers is the mean reward, unless some had no reward and
        were taken as wrong.
        """
        if not self.is_graded and not self.is_scored:
            return None
        rewards = self._rewards(samples).group_by("group_id").aggregate([("reward", "mean")])
        means = dict(zip(rewards["group_id"].to_pylist(), rewards["reward_mean"].to_pylist(), strict=True))
        return [means.get(prompt_id) for prompt_id in self.problems["prompt_id"].to_pylist()]

    def curve(self) -> list[dict[str, Any]]:
        """The rows of pass@k, by rising k."""
        return [row for row in self.summary.to_pylist() if row["metric"] == "pass"]

    def asked_ks(self) -> tuple[int, ...]:
        """The values of k that were asked for, where a vote says which; else all points of the curve."""
        voted = [row["k"] for row in self.summary.to_pylist() if row["metric"] == "maj"]
        return tuple(voted or (row["k"] for row in self.curve()))


def are_scored(metrics: Collection[str]) -> bool:
    """Whether every verdict of an evaluation is as `Evaluation.is_scored` says, by the metrics of its summary."""
    return "status_scored" in metrics and "status_skipped" not in metrics


Column = tuple[str, str, int | None]
"""Heading, metric and k of a column of numbers."""


def columns(evaluations: Sequence[Evaluation], ks: Sequence[int]) -> list[Column]:
    """What evaluations are shown by: the mean reward where they are of grades, pass@k where they are of verdicts."""
    graded: list[Column] = [("reward", "reward", None)] if any(one.is_graded for one in evaluations) else []
    judged = any(not one.is_graded for one in evaluations)
    return graded + [(f"pass@{k}", "pass", k) for k in ks if judged]


def find(place: str, benchmark: str | None = None, *, stale: bool = False, like: Made | None = None) -> Evaluation:
    """The evaluation that "RUN" (its newest evaluated policy), "RUN@POLICY" or "RUN@4at0.5" means.

    Args:
        place: A run's name or path, with "@" and a policy version if another than the newest evaluated one is meant.
            "4at0.5" means the weights halfway between the base model and policy 4.
        benchmark: Its benchmark; needed only where there are several.
        stale: Whether a stale one will do; its `stale` says why it is.
        like: The evaluation that it is to be compared with, for the hint where there is none.

    Raises:
        MissingError: If there is no such run or evaluation.
        StaleError: If it is stale and must not be.
        UsageError: If it is not clear which is meant.
    """
    run, wanted, at = split_on_line(place)
    if wanted is not None and at != WHOLE:
        return _find_on_line(run, wanted, at, benchmark, stale=stale, like=like)
    evaluated = run.evaluated()
    if benchmark is not None:
        evaluated = [version for version in evaluated if benchmark in run.benchmarks_of(version)]
    version = max(evaluated, default=-1) if wanted is None else wanted
    if version not in evaluated:
        policies.require_known(run, max(version, 0))
        measure = to_measure(measure_command(run, wanted, benchmark, like))
        what = f"run {run.name} has" if wanted is None else f"policy {run.policy_name(wanted)} of run {run.name} has"
        on = f" on {benchmark}" if benchmark else ""
        have = ", ".join(map(str, sorted(evaluated)))
        raise MissingError(f"{what} no evaluation{on}", f"{measure}; evaluated: {have}" if have else measure)
    return _of_one_benchmark(run, version, WHOLE, benchmark, stale=stale)


def _find_on_line(
    run: RunDir, version: int, at: float, benchmark: str | None, *, stale: bool, like: Made | None
) -> Evaluation:
    """The evaluation of weights between the base model and a policy; arguments and errors as of `find`."""
    names = run.benchmarks_of(version, at)
    if not names or benchmark not in (None, *names):
        policies.require_known(run, version)
        on = f" on {benchmark}" if benchmark else ""
        have = ", ".join(dict.fromkeys(f"{of}at{where:g}" for of, where, _ in run.interpolated()))
        measure = to_measure(f"{measure_command(run, version, benchmark, like)} {' '.join(place_flags(at))}")
        what = f"{policy_at(run, version, at)} of run {run.name} has no evaluation{on}"
        raise MissingError(what, f"{measure}; evaluated on a line: {have}" if have else measure)
    return _of_one_benchmark(run, version, at, benchmark, stale=stale)


def _of_one_benchmark(run: RunDir, version: int, at: float, benchmark: str | None, *, stale: bool) -> Evaluation:
    names = run.benchmarks_of(version, at)
    if benchmark is None and len(names) > 1:
        raise UsageError(f"run {run.name} has evaluations on {', '.join(names)}", choose_benchmark(names))
    chosen = benchmark or names[0]
    if not stale:
        require_own(run, version, chosen, at)
    return replace(load(run, version, chosen, at), stale=why_stale(run, version, chosen, at) if stale else None)


def evaluated_at(place: str) -> tuple[RunDir, int, list[str]]:
    """The run of a place as of `find`, its policy or the newest that was evaluated, and the names of the evaluations.

    Raises:
        MissingError: If there is no such run.
    """
    run, wanted, at = split_on_line(place)
    version = max(run.evaluated(), default=0) if wanted is None else wanted
    return run, version, run.benchmarks_of(version, at)


def split(place: str) -> tuple[RunDir, int | None]:
    """The run of "RUN" or "RUN@POLICY", and the policy if one is named.

    Raises:
        MissingError: If there is no such run.
        UsageError: If weights on the line to a policy are named, where a policy is needed.
    """
    run, version, at = split_on_line(place)
    if at != WHOLE:
        what = f"{place} is on the line from the base model to policy {version}, and this needs a policy"
        raise UsageError(what, f"rsgrpo compare and rsgrpo figure take it; the policy itself: {run.name}@{version}")
    return run, version


def split_on_line(place: str) -> tuple[RunDir, int | None, float]:
    """The run of "RUN", "RUN@POLICY" or "RUN@4at0.5", the policy if one is named, and the place on the line to it.

    Raises:
        MissingError: If there is no such run.
        UsageError: If the line is one to the base model, where it begins.
    """
    name, wanted = split_place(place)
    run = RunDir.open(name)
    if not wanted:
        return run, None, WHOLE
    policy, at = split_line(wanted)
    if at != WHOLE and POLICY.fullmatch(wanted) and _has_update(run, wanted):  # a tag may end like a place
        policy, at = wanted, WHOLE
    return *with_policy(run, policy), require_line(place, policy, at)


def require_line(place: str, policy: str, at: float) -> float:
    """The place `at` on the line to a policy.

    Raises:
        UsageError: If the policy is the base model, where the line begins.
    """
    if at != WHOLE and policy.isdecimal() and not int(policy):
        raise UsageError(
            f"{place}: policy 0 is the base model, where the line begins", "name a later policy: RUN@4at0.5"
        )
    return at


def split_line(policy: str) -> tuple[str, float]:
    """The policy that "4at0.5" names, and the place on the line to it from the base model; "4at0" is policy 0."""
    if end := _END_OF_LINE.fullmatch(policy):
        return (end[1] if end[2] == "1" else "0", WHOLE)
    found = _LINE.fullmatch(policy)
    return (found[1], float(found[2])) if found else (policy, WHOLE)


_END_OF_LINE = re.compile(r"([0-9]+)at([01])(?:\.0*)?")
_LINE = re.compile(r"(.+)at(0?\.(?=[0-9]*[1-9])[0-9]{1,6})")


def _has_update(run: RunDir, name: str) -> bool:
    version, _, tag = name.partition(".")
    return bool(int(version)) and run.with_update(int(version) - 1, tag).update_metrics(int(version) - 1).is_file()


def split_place(place: str) -> tuple[str, str]:
    """The run and the policy that "RUN@POLICY" names; no policy, where there is none, or a run is called all of it.

    The policy may be a place on the line to it: "4at0.5".
    """
    name, at, policy = place.rpartition("@")
    return (name, policy) if at and POLICY.fullmatch(split_line(policy)[0]) and not _is_there(place) else (place, "")


def split_label(text: str) -> tuple[str, str]:
    """The label and the place of "LABEL=PLACE[@POLICY]"; no label, where there is none.

    A path may have an equals sign in it, too: what is there as it stands has no label, and of several ways to part a
    text the first counts whose place is there.
    """
    signs = [at for at, character in enumerate(text) if character == "="]
    ways = [("", text), *((text[:at], text[at + 1 :]) for at in signs)]
    found = next((way for way in ways if _is_there(split_place(way[1])[0])), None)
    return found or ways[-1]


def _is_there(place: str) -> bool:
    return bool(place.strip()) and RunDir.locate_folder(place).exists()


def load(run: RunDir, version: int, benchmark: str, at: float = WHOLE) -> Evaluation:
    """An evaluation that is there; whether it is stale, `find` tells."""
    folder = run.evaluation(version, benchmark, at)
    parts = evaluation_parts(folder / SAMPLED)
    gone = "the samples" if not parts else "" if (folder / "problems.parquet").is_file() else "the problems"
    if gone:
        again = eval_command(run, version, benchmark, *place_flags(at), at=at)
        raise MissingError(f"{gone} of {folder} are gone", f"measure again: {again}")
    sampled = read_lineage(parts[0], ROLLOUTS)
    return Evaluation(
        run,
        version,
        benchmark,
        _dataset(run.benchmark(benchmark), benchmark),
        read_table(folder / "summary.parquet", SUMMARY),
        read_table(folder / "problems.parquet", PROBLEMS),
        sampled.inputs["prompts"],
        {**sampled.config},
        _verifier([folder / GRADED / part.name for part in parts], run.benchmark(benchmark)),
        _phrasing(run.benchmark(benchmark), sampled.config),
        at=at,
    )


def _verifier(graded: Sequence[Path], problems: Path) -> str:
    """What graded the first part that has rewards, as far as it decides such problems; "" if all are gone."""
    there = next((path for path in graded if path.is_file()), None)
    identity = str(read_lineage(there, REWARDS).config["identity"]) if there else ""
    tasks = read_table(problems, PROMPTS, ["task"])["task"].unique().to_pylist() if problems.is_file() else ()
    return rules_for(identity, tasks) if tasks else identity


def _dataset(prompts: Path, name: str) -> str:
    return str(read_lineage(prompts, PROMPTS).config["dataset"]) if prompts.is_file() else name


def _phrasing(prompts: Path, sampled: Mapping[str, Any]) -> str:
    """For instance: chat template 1f2e3d; phrasing 3d4c5b: "Please reason step by step ..." after the problem."""
    if not prompts.is_file():
        return ""
    lineage = read_lineage(prompts, PROMPTS)
    cfg, instruction = lineage.config, lineage.outputs.get("instruction", "")
    chat_template, day = sampled.get("chat_template"), sampled.get("template_date")
    as_chat = cfg.get("prompt_style") == "chat" and chat_template
    if cfg.get("prompt_template"):
        what = "by a template of its own"
    elif instruction:
        what = f'"{instruction}" ' + (
            "in the system prompt" if cfg.get("instruction_role") == "system" else "after the problem"
        )
    else:
        what = "no instruction added"
    around = f"chat template {chat_template}{f' on {day}' if day else ''}" if as_chat else "plain text"
    return f"{around}; phrasing {lineage.outputs.get('phrasing', '?')}: {what}"


def macro_mean(evaluations: list[Evaluation], ks: Sequence[int]) -> list[dict[str, Any]]:
    """pass@k averaged over benchmarks that weigh the same, however many problems each has.

    The interval resamples each benchmark's problems among themselves; the sampling errors, of independent samples, add
    up in squares.

    Args:
        evaluations: Of one policy, each on another benchmark.
        ks: Values of k.

    Returns:
        A row as of `schemas.SUMMARY` for each k; `n_samples` is the smallest.
    """
    counts = [(np.array(e.problems["n"].to_pylist()), np.array(e.problems["correct"].to_pylist())) for e in evaluations]
    return [_macro_row(counts, k) for k in ks]


def _macro_row(counts: list[tuple[Any, Any]], k: int) -> dict[str, Any]:
    values = [pass_at_k(n_M, c_M, k) for n_M, c_M in counts]
    errors = np.array([pass_at_k_standard_error(n_M, c_M, k) for n_M, c_M in counts])
    interval = bootstrap_macro_interval(values)
    numbers = (float(np.sqrt(np.sum(errors**2))) / len(errors), interval.low, interval.high)
    error, low, high = (None if np.isnan(number) else float(number) for number in numbers)
    return {
        "metric": "pass",
        "k": k,
        "value": float(np.mean([value_M.mean() for value_M in values])),
        "sampling_error": error,
        "ci_low": low,
        "ci_high": high,
        "n_problems": sum(len(value_M) for value_M in values),
        "n_samples": int(min(n_M.min() for n_M, _ in counts)),
    }

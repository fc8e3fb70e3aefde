"""Problems that a group solves and its base model does not, and the reverse, by as many samples of each.

A problem's samples are drawn with the same random numbers whatever the policy, so the first four of one policy go with
the first four of another: most problems come out alike. What any four of eight would solve has no such company, and
would count as changes what is only chance.

Shape suffixes: M problems of a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.report.evaluations import load
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.studies.groups import FloatArray, Group, bases_of, by_seed
from rsgrpo_cli.studies.results import Counts, Result


@dataclass(frozen=True, slots=True)
class Changes:
    """Of a group, added up over benchmarks, per seed on average.

    Args:
        new: Problems that it solves and the base model does not.
        lost: The reverse.
        by: Which samples count, in words; empty where both have the same number and all do.
        seeds: Which seeds count, in words; empty where each has a base model of its own.
    """

    new: float
    lost: float
    by: str = ""
    seeds: str = ""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A run and its base model on one benchmark, by `k` samples of each."""

    new: float
    lost: float
    k: int
    fewer: bool
    expected: bool


def changes(groups: Sequence[Group], benchmarks: Sequence[str]) -> dict[str, Changes]:
    """Those of each group whose base model is among the groups."""
    found = {}
    for group in (one for one in groups if not one.is_base):
        bases = [member for base in bases_of(group, groups) for member in base.members]
        if bases:
            pairs, told = by_seed(group, bases, "the base model")
            added = _added([_pair(*pair, name) for pair in pairs for name in benchmarks], len(pairs))
            found[group.label] = replace(added, seeds=told)
    return found


def _added(pairs: Sequence[_Pair], seeds: int) -> Changes:
    cut = [pair for pair in pairs if pair.fewer]
    numbers = " or ".join(map(str, sorted({pair.k for pair in cut})))
    by = f"the first {numbers} samples of each" if cut else ""
    if any(pair.expected for pair in cut):
        by = f"what is expected of {numbers} samples of each, as small results do not say which were the first"
    return Changes(sum(pair.new for pair in pairs) / seeds, sum(pair.lost for pair in pairs) / seeds, by)


def _pair(member: Result, base: Result, benchmark: str) -> _Pair:
    mine, theirs = member.counts(benchmark), base.counts(benchmark)
    k = min(int(mine.n_M.min()), int(theirs.n_M.min()))
    fewer = any((one.n_M > k).any() for one in (mine, theirs))
    ours_M, base_M = _solved(member, mine, k), _solved(base, theirs, k)
    expected = any(((solved_M > 0) & (solved_M < 1)).any() for solved_M in (ours_M, base_M))
    return _Pair(float((ours_M * (1 - base_M)).sum()), float(((1 - ours_M) * base_M).sum()), k, fewer, expected)


def _solved(member: Result, one: Counts, k: int) -> FloatArray:
    """Whether the first k samples solve each problem; where only totals are known, how probably k of them do."""
    if not member.place or (one.n_M == k).all():
        return pass_at_k(one.n_M, one.correct_M, k)
    at = member.at if one.policy == member.policy else WHOLE
    _, right_M = load(RunDir(Path(member.place)), one.policy, one.benchmark, at).counts(k)
    return np.asarray(right_M > 0, dtype=float)

"""Problems that a group solves and its base model does not, and the reverse, by as many samples of each.

A problem's samples are drawn with the same random numbers whatever the policy, so the first four of one policy go with
the first four of another: most problems come out alike. What any four of eight would solve has no such company, and
would count as changes what is only chance.

Shape suffixes: M problems of a benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsgrpo_cli.core.passk import pass_at_k
from rsgrpo_cli.report.evaluations import load
from rsgrpo_cli.run_dir import WHOLE, RunDir
from rsgrpo_cli.studies.groups import FloatArray, Group
from rsgrpo_cli.studies.results import Counts, Result


@dataclass(frozen=True, slots=True)
class Changes:
    """Of a group, added up over benchmarks, per seed on average.

    Args:
        new: Problems that it solves and the base model does not.
        lost: The reverse.
        by: Which samples count, in words; empty where both have the same number and all do.
    """

    new: float
    lost: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A run and its base model on one benchmark, by `k` samples of each."""

    new: float
    lost: float
    k: int
    fewer: bool
    expected: bool


def changes(groups: Sequence[Group], benchmarks: Sequence[str]) -> dict[str, Changes]:
    """Those of each group whose runs all have a base model among the groups."""
    bases = [member for group in groups if group.is_base for member in group.members]
    found = {}
    for group in groups:
        pairs = [(member, base) for member in group.members if (base := _base_of(member, bases))]
        if not group.is_base and len(pairs) == len(group.members):
            found[group.label] = _added([_pair(*pair, name) for pair in pairs for name in benchmarks], len(pairs))
    return found


def _base_of(member: Result, bases: Sequence[Result]) -> Result | None:
    """The evaluated base model of a run: of the same model, and of the same seed where there is one."""
    same = [base for base in bases if base.config.model.name == member.config.model.name]
    return next((base for base in same if base.config.seed == member.config.seed), same[0] if same else None)


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

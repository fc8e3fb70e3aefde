"""`eval`: pass@k with error bars, and everything else one wants to know about graded samples of a benchmark.

Shape suffixes: M problems, N samples of a problem.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rsgrpo_cli.core.diversity import distinct_answers, distinct_ratio
from rsgrpo_cli.core.intervals import bootstrap_interval
from rsgrpo_cli.core.majority import majority_at_k
from rsgrpo_cli.core.passk import pass_at_k, pass_at_k_standard_error
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.rewards.types import Status
from rsgrpo_cli.schemas import PROBLEMS, SUMMARY
from rsgrpo_cli.wording import counted

ROLLOUT_COLUMNS = ("group_id", "sample_index", "prompt_id", "completion_ids")
"""The columns of the rollouts that are read."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Graded:
    """The samples of one problem. `right` is all False where rewards are grades, and `rewards` says what they are."""

    prompt_id: str
    right: list[bool]
    rewards: list[float | None]
    lenient: list[bool] | None
    answers: list[str | None]
    statuses: list[Status]
    lengths: list[int]


def evaluate(
    rollouts: pa.Table, rewards: pa.Table, prompts: pa.Table, ks: Sequence[int], num_samples: int
) -> tuple[pa.Table, pa.Table]:
    """Measure a policy on a benchmark.

    Args:
        rollouts: Table of `schemas.ROLLOUTS`, or its ROLLOUT_COLUMNS, in key order; samples from `num_samples` on are
            left out.
        rewards: Table of `schemas.REWARDS`, same keys.
        prompts: Table of `schemas.PROMPTS`.
        ks: Values of k asked for; the curve's points 1, 2, 4 ... are added.
        num_samples: N.

    Returns:
        Tables of `schemas.PROBLEMS` and `schemas.SUMMARY`. A user's function that returns only 0, 1 and None is
        taken as a verdict, None as wrong. Any other makes grades, of which there is no pass@k: the summary has their
        mean as "reward", over the samples that got one.

    Raises:
        DataError: If a problem has not all its samples, or no sample has a reward.
    """
    within = pc.less(rollouts["sample_index"], num_samples)
    right = verdicts.right(rewards.filter(within))
    graded = _by_problem(rollouts.filter(within), rewards.filter(within), right)
    if len(graded) != len(prompts) or any(len(problem.right) != num_samples for problem in graded):
        raise DataError(
            f"not every problem has its {counted(num_samples, 'sample')}", "run the same eval again: it fills the gaps"
        )
    truth = dict(zip(prompts["prompt_id"].to_pylist(), prompts["ground_truth"].to_pylist(), strict=True))
    if right is None and all(reward is None for problem in graded for reward in problem.rewards):
        raise DataError(
            "no sample has a reward: the reward function returned None for all",
            "evaluate with another: rsgrpo eval --reward NAME --rescore; train without evaluations: --eval-every 0",
        )
    problems = [_problem(problem, truth[problem.prompt_id], graded=right is None) for problem in graded]
    curve = {2**power for power in range(num_samples.bit_length()) if 2**power <= num_samples}
    # A user's function says no answers, so that there is nothing to vote on or to tell apart.
    has_answers = not verdicts.is_from_user(rewards)
    votes = sorted(set(ks)) if has_answers else []
    rows = _grades(graded) if right is None else _verdicts(graded, sorted(set(ks) | curve), votes)
    rows += [*(_diversity(graded) if has_answers else []), *_about_samples(graded)]
    return pa.Table.from_pylist(problems, schema=PROBLEMS.schema), pa.Table.from_pylist(rows, schema=SUMMARY.schema)


def _by_problem(rollouts: pa.Table, rewards: pa.Table, right: pa.ChunkedArray | None) -> list[_Graded]:
    table = pa.table(
        {
            "prompt_id": rollouts["prompt_id"],
            "sample_index": rollouts["sample_index"],
            "length": pc.list_value_length(rollouts["completion_ids"]),
            "right": pa.repeat(False, len(rewards)) if right is None else right,
            "reward": rewards["reward"],
            "status": rewards["reward_status"],
            "answer": rewards["extracted_answer"],
            "breakdown": rewards["reward_breakdown"],
        }
    )
    rows = table.to_pylist()
    return [_graded(prompt_id, list(own)) for prompt_id, own in groupby(rows, key=itemgetter("prompt_id"))]


def _graded(prompt_id: str, rows: list[dict[str, Any]]) -> _Graded:
    breakdowns = [dict(row["breakdown"] or ()) for row in rows]
    lenient = (
        [parts["lenient"] > 0 for parts in breakdowns] if all("lenient" in parts for parts in breakdowns) else None
    )
    return _Graded(
        prompt_id,
        [row["right"] for row in rows],
        [row["reward"] for row in rows],
        lenient,
        [row["answer"] for row in rows],
        [Status(row["status"]) for row in rows],
        [row["length"] for row in rows],
    )


def _problem(problem: _Graded, ground_truth: str, *, graded: bool) -> dict[str, Any]:
    votes = Counter(answer for answer in problem.answers if answer is not None)
    n = len(problem.right)
    return {
        "prompt_id": problem.prompt_id,
        "ground_truth": ground_truth,
        "n": n,
        "correct": sum(problem.right),
        "correct_lenient": sum(problem.lenient) if problem.lenient is not None else None,
        "distinct_answers": distinct_answers(problem.answers),
        "majority_answer": votes.most_common(1)[0][0] if votes else None,
        "majority_correct": majority_at_k(problem.answers, problem.right, n),
        "completion_tokens_mean": float(np.mean(problem.lengths)),
        "reward_mean": _mean(problem.rewards) if graded else None,
    }


def _mean(rewards: Sequence[float | None]) -> float | None:
    known = [reward for reward in rewards if reward is not None]
    return sum(known) / len(known) if known else None


def _grades(graded: Sequence[_Graded]) -> list[dict[str, Any]]:
    """The mean reward, over the problems that got any."""
    means = [(mean, len(problem.rewards)) for problem in graded if (mean := _mean(problem.rewards)) is not None]
    return [_row("reward", np.array([mean for mean, _ in means]), np.array([n for _, n in means]))]


def _verdicts(graded: Sequence[_Graded], ks: Sequence[int], votes: Sequence[int]) -> list[dict[str, Any]]:
    n_M = np.array([len(problem.right) for problem in graded])
    c_M = np.array([sum(problem.right) for problem in graded])
    rows = [_row("pass", pass_at_k(n_M, c_M, k), n_M, k, pass_at_k_standard_error(n_M, c_M, k)) for k in ks]
    if all(problem.lenient is not None for problem in graded):
        lenient_M = np.array([sum(problem.lenient or ()) for problem in graded])
        rows.append(
            _row("pass_lenient", pass_at_k(n_M, lenient_M, 1), n_M, 1, pass_at_k_standard_error(n_M, lenient_M, 1))
        )
    for k in votes:
        rows.append(_row("maj", np.array([majority_at_k(p.answers, p.right, k) for p in graded]), n_M, k))
    return [*rows, _row("solved", (c_M > 0).astype(float), n_M)]


def _diversity(graded: Sequence[_Graded]) -> list[dict[str, Any]]:
    n_M = np.array([len(problem.right) for problem in graded])
    return [
        _row("distinct_answers", np.array([float(distinct_answers(p.answers)) for p in graded]), n_M),
        _row("distinct_ratio", np.array([distinct_ratio(p.answers) for p in graded]), n_M),
    ]


def _about_samples(graded: Sequence[_Graded]) -> list[dict[str, Any]]:
    n_M = np.array([len(problem.right) for problem in graded])
    rows = [_row("completion_tokens", np.array([np.mean(p.lengths) for p in graded]), n_M)]
    rows += [
        _row(f"status_{status.value}", np.array([np.mean([s == status for s in p.statuses]) for p in graded]), n_M)
        for status in Status
        if any(status in problem.statuses for problem in graded)
    ]
    return rows


def _row(
    metric: str, values_M: FloatArray, n_M: NDArray[np.int64], k: int | None = None, error: float | None = None
) -> dict[str, Any]:
    interval = bootstrap_interval(values_M)
    finite = [
        None if value is None or np.isnan(value) else float(value) for value in (error, interval.low, interval.high)
    ]
    return {
        "metric": metric,
        "k": k,
        "value": float(values_M.mean()),
        "sampling_error": finite[0],
        "ci_low": finite[1],
        "ci_high": finite[2],
        "n_problems": len(values_M),
        "n_samples": int(n_M.min()),
    }

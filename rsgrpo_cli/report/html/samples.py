"""The completions of evaluations: equal ones folded, with how often each came, and what became of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.rewards.types import Status
from rsgrpo_cli.run.staleness import GRADED, SAMPLED, evaluation_parts
from rsgrpo_cli.schemas import KEYS, REWARDS, ROLLOUTS

RIGHT_SHOWN, WRONG_SHOWN = 6, 8
"""Different completions that are shown of a problem and a policy."""
Place = tuple[int, int, int]
"""Where a completion is: the evaluation, its part, its row there."""


@dataclass(slots=True)
class Folded:
    """One completion, and how often the policy gave it.

    Args:
        status: The verdict on it.
        answer: The extracted answer.
        count: How often.
        place: Where it was first seen.
        is_cut: Whether it was cut at the token limit.
        text: The completion, once it has been read.
    """

    status: str
    answer: str | None
    count: int
    place: Place
    is_cut: bool = False
    text: str = ""


@dataclass(slots=True)
class Problem:
    """What one arm made of one problem.

    Args:
        statuses: How many completions got each verdict.
        shown: The completions that are shown, right ones first, the most frequent first.
        distinct: How many different completions there are.
        cut: How many completions were cut at the token limit, whatever the verdict on them.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    shown: list[Folded] = field(default_factory=list)
    distinct: int = 0
    cut: int = 0


def fold(evaluations: Sequence[Evaluation], samples: int) -> dict[str, Problem]:
    """The completions of an arm by problem, over the first so many samples of each evaluation."""
    found: dict[str, Problem] = defaultdict(Problem)
    seen: dict[str, dict[tuple[str, bool, bytes], Folded]] = defaultdict(dict)
    for number, one in enumerate(evaluations):
        for part, table in _parts(one, samples):
            for at, row in enumerate(_columns(table)):
                prompt_id, status, answer, finish_reason, text = row
                is_cut = finish_reason == "length"
                found[prompt_id].statuses[status] += 1
                found[prompt_id].cut += is_cut
                key = (status, is_cut, blake2b(text.encode(), digest_size=12).digest())
                if key in seen[prompt_id]:
                    seen[prompt_id][key].count += 1
                else:
                    seen[prompt_id][key] = Folded(status, answer, 1, (number, part, at), is_cut)
    for prompt_id, by_text in seen.items():
        found[prompt_id].distinct = len(by_text)
        found[prompt_id].shown = _chosen(list(by_text.values()))
    _read(evaluations, samples, [one for problem in found.values() for one in problem.shown])
    return dict(found)


def _chosen(completions: list[Folded]) -> list[Folded]:
    """The most frequent right ones and the most frequent others; of equal counts the first sampled."""
    ranked = sorted(completions, key=lambda one: (-one.count, one.place))
    right = [one for one in ranked if is_right(one.status)][:RIGHT_SHOWN]
    wrong = [one for one in ranked if not is_right(one.status)][:WRONG_SHOWN]
    return right + wrong


def is_right(status: str) -> bool:
    """Whether a status of these is that of a right completion; `verdicts.right` says which completions are."""
    return status in (Status.OK, RIGHT_BY_USER)


RIGHT_BY_USER = "scored 1"
"""A user's function that counts as a verifier returned 1."""


def _read(evaluations: Sequence[Evaluation], samples: int, chosen: Sequence[Folded]) -> None:
    """Fill in the texts of the completions that are shown: the others are never held."""
    wanted: dict[tuple[int, int], list[Folded]] = defaultdict(list)
    for one in chosen:
        wanted[one.place[:2]].append(one)
    for number, evaluation in enumerate(evaluations):
        for part, table in _parts(evaluation, samples):
            here = wanted.get((number, part), [])
            texts = table["completion"].take(pa.array([one.place[2] for one in here], pa.int64())).to_pylist()
            for one, text in zip(here, texts, strict=True):
                one.text = text


def _columns(table: pa.Table) -> Iterator[tuple[str, str, str | None, str, str]]:
    for batch in table.to_batches(max_chunksize=4096):
        yield from zip(*(batch[name].to_pylist() for name in _NAMES), strict=True)


_NAMES = ("group_id", "status", "extracted_answer", "finish_reason", "completion")


def _parts(evaluation: Evaluation, samples: int) -> Iterator[tuple[int, pa.Table]]:
    """Each part that has verdicts: its number, and its rows with `_NAMES`."""
    folder = evaluation.run.evaluation(evaluation.version, evaluation.benchmark)
    graded = {path.name: path for path in evaluation_parts(folder / GRADED, samples)}
    for number, path in enumerate(evaluation_parts(folder / SAMPLED, samples)):
        if path.name in graded:
            yield number, _joined(path, graded[path.name], samples, are_grades=evaluation.is_graded)


def _joined(sampled: Path, graded: Path, samples: int, *, are_grades: bool) -> pa.Table:
    rollouts = read_table(sampled, ROLLOUTS, [*KEYS, "finish_reason", "completion"])
    rewards = _with_status(read_table(graded, REWARDS, [*KEYS, *verdicts.COLUMNS, "extracted_answer"]), are_grades)
    if len(rollouts) != len(rewards) or any(not rollouts[key].equals(rewards[key]) for key in KEYS):
        rewards = rollouts.select(KEYS).join(rewards, list(KEYS)).sort_by([(key, "ascending") for key in KEYS])
        rollouts = rollouts.sort_by([(key, "ascending") for key in KEYS])
    status = pc.fill_null(rewards["status"], "not graded")
    table = rollouts.append_column("status", status).append_column("extracted_answer", rewards["extracted_answer"])
    return table.filter(pc.less(table["sample_index"], samples))


def _with_status(rewards: pa.Table, are_grades: bool) -> pa.Table:
    """Keys, answers and statuses; RIGHT_BY_USER where a user's function says that a completion is right."""
    status = rewards["reward_status"]
    if verdicts.is_from_user(rewards) and not are_grades and (right := verdicts.right(rewards)) is not None:
        status = pc.if_else(right, RIGHT_BY_USER, status)
    return rewards.select([*KEYS, "extracted_answer"]).append_column("status", status)

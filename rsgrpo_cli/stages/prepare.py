"""`prepare`: a dataset's problems as chats with reference answers, checked once so that nothing later has to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.countdown import parse_puzzle
from rsgrpo_cli.rewards.math.gold import hold_lists, is_worked, read_gold
from rsgrpo_cli.rewards.types import RewardFn
from rsgrpo_cli.schemas import PROMPTS, TEXT_ROLE
from rsgrpo_cli.tasks.chats import Message
from rsgrpo_cli.tasks.columns import columns_of
from rsgrpo_cli.tasks.options import numbered
from rsgrpo_cli.tasks.overlap import overlaps
from rsgrpo_cli.tasks.phrasing import Phrasing
from rsgrpo_cli.tasks.problems import ANSWER_COLUMNS, Problem
from rsgrpo_cli.tasks.sources import Source


class NothingLeftError(DataError):
    """None of the problems that were read can be trained on."""


CountTokens = Callable[[Sequence[Message]], int]
"""Tokens of each prompt, as the model counts them."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """What of a benchmark stands among the training problems.

    Args:
        benchmark: Its name.
        rows: Its problems that do, by number in the benchmark, from 1.
        of: How many problems it has.
        training: How many training problems they were found in.
    """

    benchmark: str
    rows: tuple[int, ...]
    of: int
    training: int


@dataclass(frozen=True, slots=True)
class Preparation:
    """The prompts, and what was left out on the way.

    Args:
        prompts: The table of `schemas.PROMPTS`.
        without_answer: Problems dropped because the source has no answer to them.
        duplicates: Problems dropped because an earlier one has the same text.
        conflicting: Of these, how many have another answer than the one kept.
        too_long: Problems dropped because their prompt has too many tokens.
        in_benchmarks: Problems dropped because a benchmark contains them.
        without_problem: Rows dropped because they ask nothing.
        with_images: Problems dropped because an image belongs to them.
        answers_left_out: Prompts whose chat went on with an answer in the source.
        worked_solutions: Prompts whose answer was taken out of a worked solution.
        without_box: Prompts that are graded by what is in a box, and ask for none.
        other_form: Prompts that ask for another form of answer than a box, by which they are graded.
        answers_shown: Prompts whose problem contains its own answer, in a box or after "####".
        places_instruction: Whether an instruction that is set would reach them.
        overlaps: What is also in the benchmarks compared with, before any of it was dropped.
    """

    prompts: pa.Table
    without_answer: int
    duplicates: int
    conflicting: int
    too_long: int = 0
    in_benchmarks: int = 0
    without_problem: int = 0
    with_images: int = 0
    answers_left_out: int = 0
    worked_solutions: int = 0
    without_box: int = 0
    other_form: int = 0
    answers_shown: int = 0
    places_instruction: bool = True
    overlaps: tuple[Overlap, ...] = ()


def prepare(
    source: Source,
    reward: RewardFn | None,
    cfg: PrepareConfig,
    *,
    phrasing: Phrasing | None = None,
    benchmarks: Sequence[Source] = (),
    count_tokens: CountTokens | None = None,
) -> Preparation:
    """Turn a dataset into prompts.

    Args:
        source: The problems.
        reward: Checks that each answer can be matched at all (matches itself); None where a user's own function
            decides, which need not have such a notion.
        cfg: Limits, and what becomes of problems that a benchmark contains.
        phrasing: How problems are put; by `cfg` unless given.
        benchmarks: Compared with the problems that are kept, unless `cfg.decontaminate` is "off".
        count_tokens: Needed where `cfg.max_prompt_tokens` is set.

    Raises:
        NothingLeftError: If nothing is left.
        DataError: If an answer does not verify against itself; the row is named.
        UsageError: If the prompt template cannot be used.
    """
    among_lists = hold_lists([problem.answer for problem in source.problems if problem.answer])
    asking = [_with_gold(problem, reward, among_lists) for problem in source.problems if problem.text]
    answered = [problem for problem in asking if problem.answer]
    usable = _without_images(answered, source, cfg)
    kept, duplicates, conflicting = _distinct(usable)
    found: tuple[Overlap, ...] = ()
    distinct = len(kept)
    if cfg.decontaminate == "drop":
        found, shared = _compare(kept, benchmarks)
        kept = [problem for position, problem in enumerate(kept) if position not in shared]
    phrasing = phrasing or Phrasing(cfg, source, graded_as_math=reward is not None)
    chosen, too_long = _choose(kept, phrasing, cfg, count_tokens)
    if not chosen:
        raise NothingLeftError(*_nothing_left(source, cfg, len(asking), len(answered), len(usable), too_long))
    if cfg.decontaminate == "report":
        found, _ = _compare([problem for problem, _ in chosen], benchmarks)
    if reward is not None:
        _check_answers([problem for problem, _ in chosen], source, reward)
    rows = [_row(problem, messages, source) for problem, messages in chosen]
    forms = Counter(phrasing.form_asked(messages) for _, messages in chosen)
    table = pa.Table.from_pylist(rows, schema=PROMPTS.schema).sort_by("prompt_id")
    return Preparation(
        table,
        without_answer=len(asking) - len(answered),
        duplicates=duplicates,
        conflicting=conflicting,
        too_long=too_long,
        in_benchmarks=distinct - len(kept),
        without_problem=len(source.problems) - len(asking),
        with_images=len(answered) - len(usable),
        answers_left_out=sum(problem.answered for problem, _ in chosen),
        worked_solutions=_worked_solutions([problem for problem, _ in chosen], source) if reward is not None else 0,
        without_box=forms["none"],
        other_form=forms["other"],
        answers_shown=sum(_shows_answer(problem) for problem, _ in chosen),
        places_instruction=phrasing.places_instruction,
        overlaps=found,
    )


def _with_gold(problem: Problem, reward: RewardFn | None, among_lists: bool) -> Problem:
    """The problem with its answer as it is graded: a user's own function gets what the source has, a list as JSON."""
    if reward is None:
        return replace(problem, answer=problem.stored) if problem.stored else problem
    if problem.complaint:
        return problem
    return replace(problem, answer=read_gold(problem.answer, among_lists=among_lists))


def _worked_solutions(chosen: Sequence[Problem], source: Source) -> int:
    """How many of these problems have a worked solution for an answer in the source."""
    kept = {problem.index for problem in chosen}
    return sum(problem.index in kept and is_worked(problem.answer) for problem in source.problems)


def _without_images(problems: Sequence[Problem], source: Source, cfg: PrepareConfig) -> Sequence[Problem]:
    """The problems that a model can be asked without being shown anything; all of them where images are ignored."""
    shown = [problem for problem in problems if problem.media]
    if not shown or cfg.images == "ignore":
        return problems
    if cfg.images == "drop":
        return [problem for problem in problems if not problem.media]
    more = f"; {len(shown) - 1} more like it" if len(shown) > 1 else ""
    raise DataError(
        f"{source.place(shown[0])} has an image, a sound or a video, and models here only read text{more}",
        "leave such rows out: --set prepare.images=drop; ask without it: --set prepare.images=ignore",
    )


def _distinct(problems: Sequence[Problem]) -> tuple[list[Problem], int, int]:
    """The first of every group of problems whose text is the same up to white space."""
    first: dict[str, Problem] = {}
    duplicates = conflicting = 0
    for problem in problems:
        key = " ".join(_plain_text(problem).split())
        if key in first:
            duplicates += 1
            conflicting += first[key].answer != problem.answer
        else:
            first[key] = problem
    return list(first.values()), duplicates, conflicting


def _compare(problems: Sequence[Problem], benchmarks: Sequence[Source]) -> tuple[tuple[Overlap, ...], set[int]]:
    """What of the benchmarks stands among the problems, and the positions of these problems."""
    if not benchmarks:
        return (), set()
    texts = {benchmark.name: [_plain_text(problem) for problem in benchmark.problems] for benchmark in benchmarks}
    found = overlaps([_plain_text(problem) for problem in problems], texts)
    shared = {name: {position for own in rows.values() for position in own} for name, rows in found.items()}
    made = tuple(
        Overlap(name, tuple(row + 1 for row in sorted(rows)), len(texts[name]), len(shared[name]))
        for name, rows in found.items()
    )
    return made, set().union(*shared.values())


def _choose(
    problems: Sequence[Problem], phrasing: Phrasing, cfg: PrepareConfig, count_tokens: CountTokens | None
) -> tuple[list[tuple[Problem, list[Message]]], int]:
    """The first `cfg.limit` problems whose prompts are not too long, with their prompts, and how many were."""
    chosen: list[tuple[Problem, list[Message]]] = []
    too_long = 0
    for problem in problems[: None if cfg.max_prompt_tokens else cfg.limit]:
        messages = phrasing.messages(problem)
        if cfg.max_prompt_tokens and count_tokens and count_tokens(messages) > cfg.max_prompt_tokens:
            too_long += 1
            continue
        chosen.append((problem, messages))
        if len(chosen) == cfg.limit:
            break
    return chosen, too_long


def _nothing_left(
    source: Source, cfg: PrepareConfig, asking: int, answered: int, usable: int, too_long: int
) -> tuple[str, str]:
    which = f"dataset {source.name} ({source.split})"
    if not asking:
        return f"no row of {which} asks anything", "choose the column with the problem: --prompt-column"
    if answered and not usable:
        return f"every problem of {which} has an image", "ask without them: --set prepare.images=ignore"
    if too_long:
        return f"every prompt of {which} is too long", "raise --max-prompt-tokens"
    if answered:
        return (
            f"every problem of {which} is in a benchmark",
            "train on others, or --set prepare.decontaminate=report",
        )
    return f"{which} has no problem with an answer", _other_answers(source, cfg)


def _other_answers(source: Source, cfg: PrepareConfig) -> str:
    """The columns that may have the answers, where the one that was read has none."""
    there = columns_of(source)
    read = cfg.answer_column or next((name for name in ANSWER_COLUMNS if name in there), None)
    others = [name for name in there if name != read and name in (*ANSWER_COLUMNS, *_ALSO_ANSWERS)]
    return f"another column may have them: --answer-column {' or '.join(others)}" if others else ""


_ALSO_ANSWERS = ("answers", "label", "output", "response", "target")


def _check_answers(problems: Sequence[Problem], source: Source, reward: RewardFn) -> None:
    if (numbers := numbered(source, problems)) is not None:
        raise DataError(
            f"{source.place(numbers.problem)}: {numbers.told()}",
            "write the option itself as the answer, or its letter with the options in the problem (docs/datasets.md "
            "has a script for it); or grade with a function of your own: --reward package.module:function",
        )
    complaints = reward.check_ground_truth([problem.answer for problem in problems])
    found = [(problem, problem.complaint or complaint) for problem, complaint in zip(problems, complaints, strict=True)]
    bad = [(problem, complaint) for problem, complaint in found if complaint]
    if bad:
        problem, complaint = bad[0]
        raise DataError(
            f"{source.place(problem)}: the answer {source.written(problem)} cannot be verified: {complaint}"
            + _others(bad, source),
            _other_reward(problem.answer)
            or "correct or remove the row, or grade with a function of your own: --reward package.module:function",
        )


def _others(bad: Sequence[tuple[Problem, str]], source: Source) -> str:
    """How many more answers than the first cannot be verified for its reason, and for each other one the first row."""
    first: dict[str, Problem] = {}
    for problem, complaint in bad:
        first.setdefault(complaint, problem)
    counts = Counter(complaint for _, complaint in bad)
    (like, *rest) = first
    told = f"; {counts[like] - 1} more like it" if counts[like] > 1 else ""
    for complaint in rest[:REASONS_SHOWN]:
        told += f"; {source.place(first[complaint])}, {source.written(first[complaint])}: {complaint}"
        told += f" (and {counts[complaint] - 1} more)" if counts[complaint] > 1 else ""
    hidden = sum(counts[complaint] for complaint in rest[REASONS_SHOWN:])
    return told + (f"; {hidden} for other reasons" if hidden else "")


REASONS_SHOWN = 2
"""Reasons told after the first why answers cannot be verified."""


def _other_reward(answer: str) -> str:
    """The flag by which another of our rewards can verify an answer, in a sentence; empty if none can."""
    try:
        parse_puzzle(answer)
    except DataError:
        return ""
    return "this is how a countdown puzzle is written: --reward countdown"


def _shows_answer(problem: Problem) -> bool:
    """Whether a problem contains its own answer, in a box or after "####"."""
    gold = re.escape(problem.answer)
    return bool(re.search(rf"\\boxed\s*\{{\s*{gold}\s*\}}|####\s*{gold}\s*\Z", _plain_text(problem)))


def _row(problem: Problem, messages: list[Message], source: Source) -> dict[str, object]:
    prompt_id = f"{source.name}-{source.split}-{problem.index:06d}"
    return {
        "prompt_id": prompt_id,
        "task": source.task,
        "split": source.split,
        "messages": messages,
        "ground_truth": problem.answer,
        "data_source": source.name,
        # verl knows the roles of chats only.
        "prompt": [message | {"role": "user"} if message["role"] == TEXT_ROLE else message for message in messages],
        "ability": source.task,
        "reward_model": {"ground_truth": problem.answer, "style": "rule"},
        "extra_info": {"index": problem.index, "split": source.split, "prompt_id": prompt_id},
    }


def _plain_text(problem: Problem) -> str:
    if isinstance(problem.text, str):
        return problem.text
    return "\n".join(message["content"] for message in problem.text)

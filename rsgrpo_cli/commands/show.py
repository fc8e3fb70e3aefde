"""`rsgrpo show`."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, number, table, visible
from rsgrpo_cli.errors import MissingError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from rsgrpo_cli.report.problems import Source
    from rsgrpo_cli.run.run_dir import RunDir

SHORT = 100
LISTED = 20
"""Problems that are listed unless another number is asked for."""
BAR, NATS_PER_MARK = 20, 0.5
"""Most marks of a token's bar, and what one stands for."""
TRAINERS = {"entropy": "entropy", "difference": "trainer - sampler", "ratio": "ratio"}
"""What the trainer says of a token -> its heading."""
Tag = Annotated[
    str | None,
    typer.Option(
        "--tag", metavar="NAME", callback=options.tag, help="What was made with this tag, instead of the run's own."
    ),
]


Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt", metavar="ID", help="One problem, by its prompt_id or the number it ends in.  \\[default: all]"
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy", metavar="N[.TAG]", help="What was sampled to evaluate this policy, instead of a training step."
    ),
]
NewlySolved = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--newly-solved", metavar="A B", help="List what evaluation B solves and A never did; each is RUN\\[@POLICY]."
    ),
]
Search = Annotated[
    str | None, typer.Option("--search", metavar="TEXT", help="List only where this is in problem or completion.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help=f"How many problems to list.  \\[default: {LISTED}]")]
Tokens = Annotated[
    int | None, typer.Option("--tokens", metavar="SAMPLE", min=0, help="The tokens of one completion of --prompt.")
]


def show(
    name: options.RunArgument = None,
    prompt: Prompt = None,
    run: options.RunOption = None,
    step: options.StepOption = None,
    policy: Policy = None,
    benchmark: options.EvaluatedOn = None,
    tag: Tag = None,
    hardest: Annotated[bool, typer.Option("--hardest", help="List the least solved problems first.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="List only problems that were never solved.")] = False,
    solved: NewlySolved = None,
    search: Search = None,
    limit: Limit = None,
    tokens: Tokens = None,
    full: Annotated[bool, typer.Option("--full", help="Whole completions, of one problem.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """List the problems of the newest step or of an evaluation; or show one with its completions and their rewards."""
    from rsgrpo_cli.report import problems
    from rsgrpo_cli.run.run_dir import RunDir

    out = Output(as_json=as_json)
    place = {"--step": step is not None, "--policy": policy is not None, "--tag": tag is not None}
    one = {"--prompt": prompt is not None, "--full": full, "--tokens": tokens is not None}
    many = {"--hardest": hardest, "--wrong": wrong, "--search": search is not None, "--limit": limit is not None}
    _refuse_mixtures(place, one, many, {"--newly-solved": solved is not None}, benchmark)
    listing = partial(_list, out, hardest=hardest, wrong=wrong, search=search, limit=limit or LISTED)
    if solved is not None:
        return listing(*problems.newly_solved(*solved, benchmark))
    target = RunDir.open(options.one_run(name, run))
    evaluated = None if policy is None else problems.of_evaluation(target, policy, benchmark)
    if any(many.values()) or not (any(one.values()) or tag):
        return listing(evaluated or problems.of_step(target, step, tag), None)
    data = _one(target, evaluated, prompt, step, tag)
    if tokens is not None:
        return _tokens(out, target, data, tokens, tag)
    _show(out, data, prompt, tag, full=full)


def _refuse_mixtures(
    place: Mapping[str, bool],
    one: Mapping[str, bool],
    many: Mapping[str, bool],
    solved: Mapping[str, bool],
    benchmark: str | None,
) -> None:
    """Refuse flags of which one would be ignored.

    Args:
        place: Flag -> whether it was given: of those that say what to look at.
        one: The same, of those that show one problem.
        many: Of those that list problems.
        solved: Of the one that lists problems of a place of its own.
        benchmark: What --benchmark says.

    Raises:
        UsageError: Naming two of them.
    """
    given = [[flag for flag, was_given in flags.items() if was_given] for flags in (place, one, many, solved)]
    places, ones, lists, news = given
    if news and (places or ones):
        raise UsageError(
            f"--newly-solved cannot be combined with {(places or ones)[0]}", "A and B are RUN or RUN@POLICY"
        )
    if ones and lists:
        raise UsageError(f"{lists[0]} lists problems, and {ones[0]} shows one of them", "leave one of the two out")
    if "--policy" in places and len(places) > 1:
        other = places[0] if places[0] != "--policy" else places[1]
        hint = "leave one of the two out"
        if other == "--tag":
            hint = "the policy of an update with a tag is --policy N.TAG, an evaluation with a tag --benchmark NAME.TAG"
        raise UsageError(f"--policy shows an evaluation, and {other} a training step", hint)
    if benchmark is not None and "--policy" not in places and not news:
        raise UsageError("--benchmark needs an evaluation", "name its policy: --policy N")


# -- problems ---------------------------------------------------------------------------------------------------------


def _list(
    out: Output,
    source: Source,
    only: set[str] | None,
    notes: Sequence[str] = (),
    *,
    hardest: bool,
    wrong: bool,
    search: str | None,
    limit: int,
) -> None:
    """List problems, of `only` these: in the order of their ids, or by how often they were solved."""
    from rsgrpo_cli.report.problems import problems

    rows = [row for row in problems(source, search) if only is None or row["prompt_id"] in only]
    if wrong and any(row["right"] is None for row in rows):
        raise UsageError(f"{source.label} has no right and wrong answers", "--hardest sorts by the mean reward")
    rows = [row for row in rows if not (wrong and row["right"])]
    rows.sort(key=lambda row: (_ease(row) if hardest else 0.0, row["prompt_id"]))
    data = {"source": source.label, "total": len(rows), "problems": rows[:limit], "notes": list(notes)}
    graded = any(row["right"] is None for row in rows)
    heads = ("problem", "reward" if graded else "right", "cut off", "answer", "text")
    made = table(*heads, title=source.label, text=("text",))
    for row in rows[:limit]:
        right = number(row["reward_mean"], 2) if graded else f"{row['right']}/{row['samples']}"
        texts = (_short(row["ground_truth"], SHORT // 3), _short(row["problem"]))
        made.add_row(row["prompt_id"], right, str(row["truncated"] or ""), *texts)
    more = [f"{len(rows) - limit:,} more: --limit"] if len(rows) > limit else []
    if not rows:
        return out.result(data, lines=[f"{source.label}: no such problems", *notes])
    one = shlex.join(["rsgrpo", "show", *source.flags, "--prompt", rows[0]["prompt_id"]])
    out.result(data, made, lines=[*more, *notes, f"its completions: {one}"])


def _ease(row: dict[str, Any]) -> float:
    """The share of right ones; where rewards are grades, their mean."""
    return float((row["reward_mean"] or 0.0) if row["right"] is None else row["right"] / row["samples"])


# -- one problem ------------------------------------------------------------------------------------------------------


def _one(
    run: RunDir, evaluated: Source | None, prompt: str | None, step: int | None, tag: str | None
) -> dict[str, Any]:
    """A problem with its completions, the best first."""
    from rsgrpo_cli.report import problems
    from rsgrpo_cli.report.inspect import follow

    data = problems.completions(evaluated, prompt) if evaluated else follow(str(run.path), prompt, step, tag)
    data["completions"].sort(key=lambda row: (-_reward(row), row["sample_index"]))
    return data


def _reward(row: dict[str, Any]) -> float:
    reward = row.get("reward")
    return -math.inf if reward is None else float(reward)


def _show(out: Output, data: dict[str, Any], prompt: str | None, tag: str | None, *, full: bool) -> None:
    for row in data["completions"]:
        for name in ("group_id", "completion_ids", "sampling_logprobs"):
            row.pop(name, None)
    first = data["completions"][0] if data["completions"] else {}
    lines = [] if prompt is not None else [f"prompt: {data['prompt_id']}"]
    lines += [f"{message['role']}: {message['content']}" for message in data["messages"]]
    lines.append(f"ground truth: {data['ground_truth']}")
    if "steps" in data:
        lines.append(f"in steps: {', '.join(map(str, data['steps'])) or 'none yet'}")
    if not first:
        return out.result(data, lines=lines)
    out.result(data, _completions(data, first, tag, full=full), before=lines)


def _completions(data: dict[str, Any], first: dict[str, Any], tag: str | None, *, full: bool) -> Table:
    title = data.get("source")
    if title is None:
        tagged = f" ({', '.join(data['tagged'])} {tag})" if tag else ""
        state = first.get("group_status") or "not compared yet"
        title = f"step {data['step']}{tagged}: {state}, policy {first['policy_version']}"
    trained = "advantage" in first
    answers = any(row.get("extracted_answer") for row in data["completions"])
    heads = ("sample", "reward", "status", *(["answer"] if answers else []), *(["advantage"] if trained else []))
    made = table(*heads, "tokens", "end", "log p", "completion", title=title, text=("completion",))
    for row in data["completions"]:
        answer = [_short(row.get("extracted_answer") or "", SHORT // 3)] if answers else []
        advantage = [number(row.get("advantage"))] if trained else []
        text = row["completion"] if full else _short(row["completion"])
        about = (str(row["sample_index"]), number(row.get("reward"), 2), row.get("reward_status") or "")
        cells = (str(row["tokens"]), row["finish_reason"], number(row["logprob"], 1), text)
        made.add_row(*about, *answer, *advantage, *cells)
    return made


def _short(text: str, width: int = SHORT) -> str:
    """A text in one line, of a long one its end: there the answer is."""
    text = " ".join(text.split())
    return text if len(text) <= width else "..." + text[-width:]


def _tokens(out: Output, run: RunDir, data: dict[str, Any], sample: int, tag: str | None) -> None:
    """The tokens of a completion: how unlikely each was to the sampler, and what the trainer says, where that was kept.

    Raises:
        MissingError: If there is no such completion.
    """
    from rsgrpo_cli.report import tokens

    row = next((row for row in data["completions"] if row["sample_index"] == sample), None)
    if row is None:
        have = ", ".join(str(row["sample_index"]) for row in data["completions"])
        raise MissingError(f"{data['prompt_id']} has no sample {sample}", f"it has: {have or 'none yet'}")
    listed = tokens.listed(run, data.get("step"), row, tag)
    known = {head: name for name, head in TRAINERS.items() if any(token[name] is not None for token in listed)}
    made = table("token", "-log p", *known, "", title=f"sample {sample} of {data['prompt_id']}", text=("",))
    for token in listed:
        trainers = (number(token[name], 2) for name in known.values())
        made.add_row(_quoted(token["token"]), number(token["nats"], 2), *trainers, _marks(token["nats"]))
    out.result({"prompt_id": data["prompt_id"], "sample_index": sample, "tokens": listed}, made)


def _quoted(piece: str) -> str:
    """A token with its spaces and line breaks in sight."""
    return visible(piece.replace("\n", "\\n").replace("\t", "\\t").replace(" ", "·"))


def _marks(cost: float | None) -> str:
    if cost is None or not math.isfinite(cost):
        return ""
    return "#" * min(BAR, round(cost / NATS_PER_MARK))

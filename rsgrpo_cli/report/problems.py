"""The problems of a step or of an evaluation, each with the results of its completions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.report.comparison import compare, fewer_samples
from rsgrpo_cli.report.evaluations import Evaluation, find
from rsgrpo_cli.report.inspect import newest_tagged, numbered, tagged, total
from rsgrpo_cli.rewards import verdicts
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import GRADED, SAMPLED, evaluation_parts
from rsgrpo_cli.run.step_dir import Step, make_first, part_files, rewards_of, steps_there
from rsgrpo_cli.schemas import PROMPTS, REWARDS, ROLLOUTS, key_of

COLUMNS = ["group_id", "sample_index", "prompt_id", "finish_reason"]
GRADES = ["group_id", "sample_index", "reward", "reward_status", "extracted_answer"]


@dataclass(frozen=True, slots=True)
class Source:
    """Completions and their verdicts.

    Args:
        label: "step 3", or "policy 5 on toy".
        prompts: The file of their problems.
        rollouts: Part files.
        rewards: Part files.
        flags: Those of `rsgrpo show` that mean it.
    """

    label: str
    prompts: Path
    rollouts: Sequence[Path]
    rewards: Sequence[Path]
    flags: Sequence[str]


def of_step(run: RunDir, step: int | None, tag: str | None = None) -> Source:
    """The completions of a step, the newest that has rewards unless given.

    Args:
        run: The run.
        step: The step.
        tag: Of rollouts or rewards that stand in place of the step's own; the newest step that has it unless given.

    Raises:
        MissingError: If it has none, or nothing with that tag.
    """
    if tag is not None:
        return _tagged_step(run, newest_tagged(run, tag) if step is None else step, tag)
    numbers = [step] if step is not None else sorted(run.steps(), reverse=True)
    for number in numbers:
        found = Step(run, number)
        if found.rewards and found.rollouts:
            flags = ("--run", str(run.path), "--step", str(number))
            return Source(f"step {number}", run.prompts, found.rollouts.paths, found.rewards.paths, flags)
    if step is not None and step not in run.steps():
        raise MissingError(f"run {run.name} has no step {step}", steps_there(run))
    name = f"run {run.name}"
    what = f"no step of {name} has rewards yet" if step is None else f"step {step} of {name} has no rewards"
    one = shlex.join(["rsgrpo", "show", "--run", str(run.path), "--prompt", "0"])
    newest = max([0, *run.steps()]) if step is None else step
    raise MissingError(what, f"{make_first(run, newest, 'rewards')}; or look at one problem: {one}")


def _tagged_step(run: RunDir, step: int, tag: str) -> Source:
    """A step with what has a tag in place of its own; completions with a tag have no rewards."""
    own, what = Step(run, step), tagged(run, step, tag)
    drawn = part_files(run.rollouts(step, tag)) if "rollouts" in what else own.rollouts.paths
    graded = [] if "rollouts" in what else own.rewards.paths
    graded = rewards_of(run, step, tag).paths if "rewards" in what else graded
    flags = ("--run", str(run.path), "--step", str(step), "--tag", tag)
    return Source(f"step {step} ({', '.join(what)} {tag})", run.prompts, drawn, graded, flags)


def of_evaluation(run: RunDir, policy: str, benchmark: str | None) -> Source:
    """The completions of an evaluation; errors as of `evaluations.find`."""
    return _source(find(f"{run.path}@{policy}", benchmark, stale=True))


def _source(found: Evaluation) -> Source:
    folder = found.run.evaluation(found.version, found.benchmark)
    name = found.run.policy_name(found.version)
    label = f"policy {name} on {found.benchmark}"
    parts = (evaluation_parts(folder / SAMPLED), evaluation_parts(folder / GRADED))
    flags = ("--run", str(found.run.path), "--policy", name, "--benchmark", found.benchmark)
    return Source(label, found.run.benchmark(found.benchmark), *parts, flags)


def newly_solved(before: str, after: str, benchmark: str | None) -> tuple[Source, set[str], list[str]]:
    """The completions of an evaluation, the problems that it solves and another one never did, and notes on that.

    Raises:
        UsageError: If they are graded, and as `comparison.compare`.
    """
    one, other = find(before, benchmark), find(after, benchmark)
    found = compare(one, other, None)
    if found["newly_solved"] is None:
        on = ["--benchmark", benchmark] if benchmark else []
        raise UsageError(
            f"{found['before']} and {found['after']} were graded, and grades solve no problem",
            f"compare their mean rewards: {shlex.join(['rsgrpo', 'compare', before, after, *on])}",
        )
    notes, (_, samples) = fewer_samples(found), found["samples"]
    if samples > found["compared_samples"]:
        notes.append(f"what is right is counted over all {samples} of {found['after']}")
    return _source(other), set(found["newly_solved"]), notes


def problems(source: Source, search: str | None = None) -> list[dict[str, Any]]:
    """A row per problem: its id, text and answer, its samples, how many are right or cut off, their mean reward.

    Where the rewards are grades, or there are none, nothing is right or wrong, and "right" is None.

    Args:
        source: Whose problems.
        search: Only those that have this in their id, text or answer, or in a completion; case does not matter.
    """
    sampled = _joined(source.rollouts, ROLLOUTS, [*COLUMNS, *(["completion"] if search else [])])
    graded = {key_of(row): row for row in _judged(source.rewards)}
    texts = {row["prompt_id"]: row for row in read_table(source.prompts, PROMPTS).to_pylist()}
    rows: dict[str, dict[str, Any]] = {}
    wanted = search.casefold() if search else ""
    hits = set()
    for sample in sampled:
        prompt_id = sample["prompt_id"]
        row = rows.setdefault(prompt_id, _empty(prompt_id, texts.get(prompt_id, {}), graded=bool(source.rewards)))
        _count(row, sample, graded.get(key_of(sample), {}))
        if wanted and wanted in sample["completion"].casefold():
            hits.add(prompt_id)
    made = [_finished(row) for row in rows.values()]
    said = ("prompt_id", "problem", "ground_truth")
    return [row for row in made if row["prompt_id"] in hits or any(wanted in row[name].casefold() for name in said)]


def _judged(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Rewards with "right", whether the completion is; None for all of them where they are grades."""
    if not paths:
        return []
    rewards = pa.concat_tables(_tables(paths, REWARDS, list(dict.fromkeys((*GRADES, *verdicts.COLUMNS)))))
    said = verdicts.right(rewards)
    right = pa.nulls(len(rewards), pa.bool_()) if said is None else said
    rows: list[dict[str, Any]] = rewards.select(GRADES).append_column("right", right).to_pylist()
    return rows


def _joined(paths: Sequence[Path], kind: Any, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.concat_tables(_tables(paths, kind, columns)).to_pylist() if paths else []
    return rows


def _tables(paths: Sequence[Path], kind: Any, columns: list[str]) -> list[pa.Table]:
    return [read_table(path, kind, columns).replace_schema_metadata(None) for path in paths]


def _empty(prompt_id: str, prompt: Mapping[str, Any], *, graded: bool) -> dict[str, Any]:
    messages = prompt.get("messages") or [{"content": ""}]
    about = {"problem": messages[-1]["content"], "ground_truth": prompt.get("ground_truth", "")}
    return {
        "prompt_id": prompt_id,
        "samples": 0,
        "right": 0 if graded else None,
        "truncated": 0,
        "rewards": [],
        **about,
    }


def _count(row: dict[str, Any], sample: Mapping[str, Any], graded: Mapping[str, Any]) -> None:
    row["samples"] += 1
    if graded.get("right", False) is None or row["right"] is None:
        row["right"] = None
    else:
        row["right"] += graded.get("right", False)
    row["truncated"] += sample["finish_reason"] == "length"
    if graded.get("reward") is not None:
        row["rewards"].append(graded["reward"])


def _finished(row: dict[str, Any]) -> dict[str, Any]:
    rewards = row.pop("rewards")
    return row | {"reward_mean": sum(rewards) / len(rewards) if rewards else None}


def completions(source: Source, prompt: str | None) -> dict[str, Any]:
    """A problem with its completions, as `inspect.follow` has them; here of an evaluation.

    Args:
        source: Whose.
        prompt: A prompt_id, or the number that one ends in; the first one unless given.

    Raises:
        UsageError: If it has no such problem.
    """
    texts = read_table(source.prompts, PROMPTS).to_pylist()
    row = next((row for row in texts if prompt is None or numbered(row["prompt_id"], prompt)), None)
    if row is None:
        hint = f"they go from {texts[0]['prompt_id']} to {texts[-1]['prompt_id']}" if texts else ""
        raise UsageError(f"{source.label} has no problem {prompt!r}", hint)
    graded = {key_of(one): one for one in _of_prompt(source.rewards, REWARDS, "group_id", row["prompt_id"])}
    found = _of_prompt(source.rollouts, ROLLOUTS, "prompt_id", row["prompt_id"])
    names = ("sample_index", "policy_version", "completion", "finish_reason", "completion_ids", "sampling_logprobs")
    made = [
        {name: one[name] for name in names}
        | {"tokens": len(one["completion_ids"]), "logprob": total(one["sampling_logprobs"])}
        | {name: graded.get(key_of(one), {}).get(name) for name in GRADES[2:]}
        for one in sorted(found, key=lambda one: one["sample_index"])
    ]
    kept = {name: row[name] for name in ("prompt_id", "task", "messages", "ground_truth")}
    return kept | {"source": source.label, "completions": made}


def _of_prompt(paths: Sequence[Path], kind: Any, column: str, value: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    rows: list[dict[str, Any]] = []
    for path in paths:
        table = read_table(path, kind)
        rows += table.filter(pc.equal(table[column], value)).to_pylist()
    return rows

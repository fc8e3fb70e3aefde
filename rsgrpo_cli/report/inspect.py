"""One prompt through the stages, and the state of a whole run, from what is on disk."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from math import isfinite
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.report.snapshot import Reader
from rsgrpo_cli.report.usage import bytes_used
from rsgrpo_cli.run import manifests, policies
from rsgrpo_cli.run.base_place import lost_base
from rsgrpo_cli.run.checked_steps import CheckedSteps
from rsgrpo_cli.run.departures import departures
from rsgrpo_cli.run.run_commands import command
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import stale_evaluation, stale_inputs
from rsgrpo_cli.run.step_dir import Parts, Step, part_files, rewards_of, steps_there, with_policy
from rsgrpo_cli.schemas import PROMPTS, ROLLOUTS, key_of


def follow(run_name: str | None, prompt: str | None, step: int | None, tag: str | None = None) -> dict[str, Any]:
    """A prompt with its completions of one step, joined with their rewards and advantages.

    Args:
        run_name: The run.
        prompt: A prompt_id, or the number that one ends in; None for the first of the step.
        step: The step; the newest that has the prompt unless given.
        tag: Of rollouts, rewards, advantages or an update that stand in place of the step's own; "tagged" lists them.

    Raises:
        MissingError: If there is no such prompt, or it was not in that step; or nothing with that tag.
    """
    run = RunDir.open(run_name)
    step = newest_tagged(run, tag) if tag and step is None else step
    row = _find(run, _first_prompt(run, step) if prompt is None else prompt)
    steps = [number for number in run.steps() if _parts_with(run, number, row["prompt_id"])]
    if step is not None and step not in run.steps():
        raise MissingError(f"run {run.name} has no step {step}", steps_there(run))
    if step is not None and step not in steps:
        have = ", ".join(map(str, steps)) or "none yet"
        raise MissingError(f"prompt {row['prompt_id']} was not in step {step}", f"it was in steps: {have}")
    chosen = step if step is not None else max(steps, default=None)
    found = tagged(run, chosen, tag) if tag and chosen is not None else []
    completions = _completions(run, chosen, row["prompt_id"], tag, found) if chosen is not None else []
    kept = {name: row[name] for name in ("prompt_id", "task", "messages", "ground_truth")}
    return kept | {"steps": steps, "step": chosen, "tagged": found, "completions": completions}


def newest_tagged(run: RunDir, tag: str) -> int:
    """The newest step that has something with a tag.

    Raises:
        MissingError: If there is none.
    """
    found = next((step for step in reversed(run.steps()) if _with_tag(run, step, tag)), None)
    if found is None:
        raise MissingError(f"no step of run {run.name} has something with the tag {tag}", _evaluated_with(run, tag))
    return found


def _evaluated_with(run: RunDir, tag: str) -> str:
    """The next step of whoever asks for a tag that no step has: the evaluation that has it, or the tags of steps."""
    for seen, version, at in policies.evaluated_places(run):
        for name in seen.benchmarks_of(version) if at == WHOLE else ():
            if name.endswith(f".{tag}"):
                flags = ["--policy", seen.policy_name(version), "--benchmark", name]
                return f"an evaluation has it: {shlex.join(['rsgrpo', 'show', '--run', str(run.path), *flags])}"
    return _tags_there(run, run.steps())


def tagged(run: RunDir, step: int, tag: str) -> list[str]:
    """Which artifacts of a step there are with a tag.

    Raises:
        MissingError: If there are none.
    """
    found = _with_tag(run, step, tag)
    if not found:
        raise MissingError(f"step {step} has nothing with the tag {tag}", _tags_there(run, [step]))
    return found


def _with_tag(run: RunDir, step: int, tag: str) -> list[str]:
    there = {
        "rollouts": bool(part_files(run.rollouts(step, tag))),
        "rewards": bool(rewards_of(run, step, tag)),
        "advantages": run.advantages(step, tag).is_file(),
        "update": run.with_update(step, tag).update_metrics(step).is_file(),
    }
    return [what for what, found in there.items() if found]


def _tags_there(run: RunDir, steps: list[int]) -> str:
    names = {path.name.removesuffix(".parquet") for step in steps for path in run.step(step).glob("*.*")}
    stems = ("rollouts.", "rewards.", "advantages.", "update_metrics.")
    tags = sorted({name.partition(".")[2] for name in names if name.startswith(stems)})
    return f"tags there: {', '.join(tags)}" if tags else "make some: rsgrpo advantage --tag NAME"


def _first_prompt(run: RunDir, step: int | None) -> str:
    """The first prompt of a step, of the newest one unless given; of a run without rollouts, its first one."""
    for number in [step] if step is not None else sorted(run.steps(), reverse=True):
        for part in part_files(run.rollouts(number)):
            return str(read_table(part, ROLLOUTS, ["prompt_id"])["prompt_id"][0].as_py())
    return "0"


def state(run_name: str | None) -> dict[str, Any]:
    """What a run has, what of it is stale, and where its time went."""
    run = RunDir.open(run_name)
    config = run.config()
    newest = run.newest_version()
    steps = run.steps()
    checked, damaged = _checked(run)
    untouched = checked.untouched()
    to_check = [step for step in steps if step not in untouched]
    measured = [_evaluated(*place) for place in policies.every_evaluation(run)]
    origin = run.origin()
    seconds: dict[str, float] = defaultdict(float)
    tagged: dict[str, float] = defaultdict(float)
    for event in run.recorded():
        if "tag" in event:
            tagged[str(event["tag"])] += event["seconds"]
        else:
            seconds[event["stage"]] += event["seconds"]
    return {
        "run": str(run.path),
        "model": config.model.name,
        "dataset": config.prepare.dataset,
        "estimator": config.advantage.model_dump(mode="json"),
        "forked_from": origin,
        "steps_done": newest,
        "steps_wanted": max(config.train.steps, run.steps_begun()),
        "checkpoints": run.versions(),
        "steps_gone": sorted({*range(origin["step"] if origin else 0, newest)} - {*steps}),
        "at_work": [step_state(run, step) for step in steps if step >= newest],
        "stale": damaged
        + [problem for step in to_check for problem in stale_parts(run, step)]
        + [one["why"] for one in measured if one["why"]],
        "departures": [
            told for step in to_check if not origin or step >= origin["step"] for told in other_settings(run, step)
        ],
        "evaluations": [one | {"stale": bool(one["why"])} for one in measured],
        "seconds": dict(seconds),
        "seconds_with_tags": sum(tagged.values()),
        "seconds_by_tag": dict(tagged),
        "bytes": bytes_used(run, checked, untouched),
        **_now(run, lost_base(run, config.model.name)),
    }


def _now(run: RunDir, lost: str | None) -> dict[str, Any]:
    """Whether a run is at work, and what its newest step and evaluation came to; `lost` as of `lost_base`."""
    seen = Reader(run).read(everything=False)
    names = ("step", "reward_mean", "pass@1", "pass@G", "cumulative_solve_rate", "entropy", "truncated_fraction")
    holder, doing, measured = seen.holder or seen.evaluator, seen.progress, seen.measured
    fields = ("metric", "value", "ci_low", "ci_high")
    return {
        "state": seen.state,
        "process": holder.owner if holder else None,
        "since": holder.since if holder else None,
        "doing": " ".join(part for part in (doing.what, doing.count) if part) if doing else None,
        "workers": doing.detail if doing and doing.detail else None,
        "seconds_left": seen.seconds_left,
        "newest": {name: seen.last[name] for name in names if seen.last.get(name) is not None},
        "measured": measured
        and {
            "policy": measured.policy,
            "benchmark": measured.benchmark,
            "values": [dict(zip(fields, row, strict=True)) for row in measured.values],
        },
        "warnings": [warned.text for warned in seen.warnings] + ([lost] if lost else []),
    }


def _checked(run: RunDir) -> tuple[CheckedSteps, list[str]]:
    """The steps that were found consistent before; what is wrong with the list of them."""
    try:
        return CheckedSteps.read(run), []
    except ArtifactError as error:
        return CheckedSteps(run), [error.message]


def _evaluated(run: RunDir, version: int, at: float, name: str) -> dict[str, Any]:
    """An evaluation: of which policy, whether of weights on the line to it, on what, and why it is stale."""
    try:
        why = stale_evaluation(run, version, name, at)
    except ArtifactError as error:
        why = error.message
    tag = run.beside.tag if run.beside else None
    return {"policy": version, "tag": tag, "interpolation": at, "benchmark": name, "why": why}


def other_settings(run: RunDir, step: int) -> list[str]:
    """Settings of a step that are not the run's own, as sentences; what is damaged is listed elsewhere."""
    try:
        found = departures(run, step)
    except ArtifactError:
        return []
    return [f"the {what} of step {step} have {name} {made}; the run's own is {own}" for what, name, made, own in found]


def stale_parts(run: RunDir, step: int) -> list[str]:
    """What of a step is stale; or damaged, which `status` lists rather than ends with."""
    try:
        return stale_inputs(run, step)
    except ArtifactError as error:
        return [error.message]


def step_state(run: RunDir, number: int) -> dict[str, Any]:
    """Which artifacts of a step are there."""
    step = Step(run, number)
    return {
        "step": number,
        "rollout_parts": len(part_files(step.folder)),
        "rollouts": step.manifest is not None,
        "rewards": bool(step.rewards),
        "advantages": bool(step.advantages),
        "update": bool(step.updates) or manifests.is_complete(run.checkpoint(number + 1)),
    }


def _find(run: RunDir, prompt: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = read_table(run.prompts, PROMPTS).to_pylist()
    for row in rows:
        if numbered(row["prompt_id"], prompt):
            return row
    if not rows:
        raise MissingError(f"run {run.name} has no prompts", command(run, "prepare"))
    hint = f"prompts go from {rows[0]['prompt_id']} to {rows[-1]['prompt_id']}"
    raise MissingError(f"run {run.name} has no prompt {prompt!r}", hint)


def numbered(prompt_id: str, prompt: str) -> bool:
    """Whether a prompt is the one that is meant: by its id, or by the number that this ends in."""
    # Numbers as we write them: what else counts as a digit somewhere ("²") is no number of a prompt.
    number = prompt.lstrip("0") or "0" if re.fullmatch(r"[0-9]+", prompt) else None
    ends_in = prompt_id.rpartition("-")[2]
    return prompt_id == prompt or (number is not None and (ends_in.lstrip("0") or "0") == number)


def _parts_with(run: RunDir, step: int, prompt_id: str, tag: str | None = None) -> list[Any]:
    parts = part_files(run.rollouts(step, tag))
    return [part for part in parts if prompt_id in read_table(part, ROLLOUTS, ["prompt_id"])["prompt_id"].to_pylist()]


def _completions(run: RunDir, step: int, prompt_id: str, tag: str | None, found: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    drawn = tag if "rollouts" in found else None
    for part in _parts_with(run, step, prompt_id, drawn):
        rows += _rows(read_table(part, ROLLOUTS), "prompt_id", prompt_id)
    made = Step(_with_advantages(run, step, tag, found) if tag else run, step)
    # Rewards and advantages are of the step's own completions: those with a tag have none.
    graded = {} if drawn else _by_key(rewards_of(run, step, tag) if "rewards" in found else made.rewards, rows)
    compared = {} if drawn else _by_key(made.advantages, rows)
    return [
        {
            "group_id": row["group_id"],
            "sample_index": row["sample_index"],
            "policy_version": row["policy_version"],
            "completion": row["completion"],
            "tokens": len(row["completion_ids"]),
            "logprob": total(row["sampling_logprobs"]),
            "finish_reason": row["finish_reason"],
            "completion_ids": row["completion_ids"],
            "sampling_logprobs": row["sampling_logprobs"],
        }
        | {name: graded.get(key_of(row), {}).get(name) for name in ("reward", "reward_status", "extracted_answer")}
        | {name: compared.get(key_of(row), {}).get(name) for name in ("advantage", "group_mean", "group_status")}
        for row in rows
    ]


def _with_advantages(run: RunDir, step: int, tag: str, found: list[str]) -> RunDir:
    """The run with the advantages that have a tag, or else those that the update with it learned from, as its own."""
    if "advantages" in found:
        return run.with_update(step, tag, tag)
    return with_policy(run, f"{step + 1}.{tag}")[0] if "update" in found else run


def total(logprobs: list[float | None]) -> float | None:
    """The completion's log-probability; None if the sampler gave no finite number for one of its tokens."""
    known = [value for value in logprobs if value is not None and isfinite(value)]
    return sum(known) if len(known) == len(logprobs) else None


def _by_key(artifact: Parts, rows: list[dict[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    if not artifact or not rows:
        return {}
    return {key_of(row): row for row in _rows(artifact.table(), "group_id", rows[0]["group_id"])}


def _rows(table: pa.Table, column: str, value: str) -> list[dict[str, Any]]:
    import pyarrow.compute as pc  # `status` does without, and is to be quick

    found: list[dict[str, Any]] = table.filter(pc.equal(table[column], value)).to_pylist()
    return found

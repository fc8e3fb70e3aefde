"""What of a run is no longer what it says: evaluations of replaced policies, steps made with settings of their own.

Reads footers only. Everybody who reads an evaluation asks here first: an evaluation belongs to the weights that it was
made with.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rsgrpo_cli.artifacts import Lineage, combined_id, read_lineage
from rsgrpo_cli.errors import ArtifactError, MissingError, StaleError
from rsgrpo_cli.footers import REMAKE
from rsgrpo_cli.identity import read_identity
from rsgrpo_cli.run_dir import RunDir, numbered, rollout_parts
from rsgrpo_cli.schemas import ADVANTAGES, PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY, UPDATE_METRICS, ArtifactSchema

SAMPLED, GRADED = "rollouts", "rewards"
"""Directories of an evaluation: its part files."""
_PART = re.compile(r"part-([0-9]+)-([0-9]+)-([0-9]+)")


# -- evaluations ------------------------------------------------------------------------------------------------------


def evaluations(run: RunDir) -> list[tuple[int, str]]:
    """Policy version and name of every evaluation that was summed up."""
    return [(version, name) for version in numbered(run.path / "evals") for name in run.benchmarks_of(version)]


def evaluation_parts(folder: Path, samples: int | None = None) -> list[Path]:
    """The part files of an evaluation's directory of samples or verdicts, in order; a user's own copies are not ours.

    Args:
        folder: `rollouts` or `rewards` of an evaluation.
        samples: Only those that hold some of the first so many samples of a problem.
    """
    named = [(path, _PART.fullmatch(path.stem)) for path in rollout_parts(folder)]
    return [path for path, parts in named if parts and (samples is None or int(parts[1]) < samples)]


def policy_id(run: RunDir, version: int) -> str | None:
    """The id of policy `version` as far as the run itself tells; None where nothing does."""
    if version:
        try:
            return run.policy_id(version, "")
        except MissingError:
            return None
    identity = read_identity(run.path)
    recorded = identity.base.get("weights") if identity else None
    parts = rollout_parts(run.rollouts(0))
    return recorded or (read_lineage(parts[0], ROLLOUTS).inputs["policy"] if parts else None)


def why_stale(run: RunDir, version: int, name: str) -> str | None:
    """Why an evaluation does not say what it seems to, None where it does.

    Args:
        run: The run.
        version: The policy.
        name: Of the evaluation: its benchmark, with its tag.
    """
    folder = run.evaluation(version, name)
    summary = read_lineage(folder / "summary.parquet", SUMMARY)
    if not (folder / "problems.parquet").is_file() or not _alike(
        summary, read_lineage(folder / "problems.parquet", PROBLEMS)
    ):
        return "was summed up only in part"
    samples = summary.config["num_samples"]
    if type(samples) is not int:
        raise ArtifactError(f"{folder / 'summary.parquet'} is damaged: its number of samples is not valid", REMAKE)
    parts = evaluation_parts(folder / SAMPLED, samples)
    if not parts:
        return "has lost its samples"
    lineages = [read_lineage(path, ROLLOUTS) for path in parts]
    return _of_something_else(run, version, name, lineages) or _changed_since(folder, summary, parts, lineages)


def _alike(summary: Lineage, problems: Lineage) -> bool:
    return (dict(summary.inputs), summary.config_hash) == (dict(problems.inputs), problems.config_hash)


def _of_something_else(run: RunDir, version: int, name: str, parts: list[Lineage]) -> str | None:
    current = policy_id(run, version)
    if current is not None and any(part.inputs["policy"] != current for part in parts):
        return f"is of another policy {version}, which has been replaced since"
    identity = read_identity(run.path)
    accepted = identity.note if identity else {}
    if any(part.inputs.get("accepted") != accepted.get("accepted") for part in parts):
        return "was made before the base model was changed"
    prompts = run.benchmark(name)
    if prompts.is_file():
        current = read_lineage(prompts, PROMPTS).id
        if any(part.inputs["prompts"] != current for part in parts):
            return "is of other problems, or of these in other words, than the benchmark has now"
    return None


def _changed_since(folder: Path, summary: Lineage, parts: list[Path], lineages: list[Lineage]) -> str | None:
    if summary.inputs[SAMPLED] != combined_id(lineage.id for lineage in lineages):
        return "has other samples than were summed up"
    graded = [folder / GRADED / path.name for path in parts]
    ids = [read_lineage(path, REWARDS).id for path in graded if path.is_file()]
    return None if summary.inputs[GRADED] == combined_id(ids) else "was graded again since it was summed up"


def eval_command(run: RunDir, version: int, name: str | None = None, *flags: str) -> str:
    """The command that measures a policy, as far as the run tells.

    Args:
        run: The run.
        version: The policy.
        name: Of an evaluation, for its benchmark and its tag.
        flags: Further ones.
    """
    words = ["rsgrpo", "eval", "--run", str(run.path), "--policy", str(version)]
    if name is not None:
        words += benchmark_flags(run, version, name)
    return shlex.join([*words, *flags])


def benchmark_flags(run: RunDir, version: int, name: str) -> list[str]:
    """The flags that name the benchmark of an evaluation as it was given: a file by its path, and the tag."""
    summary, prompts = run.evaluation(version, name) / "summary.parquet", run.benchmark(name)
    given = read_lineage(summary, SUMMARY).outputs.get("benchmark") if summary.is_file() else None
    dataset = str(read_lineage(prompts, PROMPTS).config["dataset"]) if prompts.is_file() else name
    tag = name.removeprefix(f"{dataset}.") if name.startswith(f"{dataset}.") else ""
    return ["--benchmark", given or dataset, *(["--tag", tag] if tag else [])]


def stale_evaluation(run: RunDir, version: int, name: str) -> str | None:
    """`why_stale` as a sentence that ends in the way out."""
    why = why_stale(run, version, name)
    if why is None:
        return None
    return f"the evaluation of policy {version} on {name} {why}: {eval_command(run, version, name, '--force')}"


def require_own(run: RunDir, version: int, name: str) -> None:
    """Refuse an evaluation that does not belong to the policy it is named after.

    Raises:
        StaleError: Saying why, and how to measure again.
    """
    why = why_stale(run, version, name)
    if why is not None:
        raise StaleError(
            f"run {run.name}: the evaluation of policy {version} on {name} {why}",
            f"measure again: {eval_command(run, version, name, '--force')}",
        )


def evaluations_of(run: RunDir, version: int) -> list[Path]:
    """The directories of a policy's own evaluations, those begun included: what is lost when it is replaced."""
    found = []
    for folder in sorted(run.evaluations(version).glob("*")):
        parts = evaluation_parts(folder / SAMPLED)
        current = policy_id(run, version)
        if parts and (current is None or read_lineage(parts[0], ROLLOUTS).inputs["policy"] == current):
            found.append(folder)
    return found


# -- steps made with settings of their own ----------------------------------------------------------------------------


def departures(run: RunDir, step: int) -> list[tuple[str, str, Any, Any]]:
    """Where a step was made with other settings than the run's: (artifact, setting, what it was, the run's own)."""
    config = run.config()
    parts = rollout_parts(run.rollouts(step))
    chain: list[tuple[str, Path | None, ArtifactSchema, dict[str, Any]]] = [
        ("rollouts", parts[0] if parts else None, ROLLOUTS, config.rollout.decisive()),
        ("rewards", run.rewards(step), REWARDS, config.score.decisive()),
        ("advantages", run.advantages(step), ADVANTAGES, config.advantage.decisive()),
        ("updates", run.update_metrics(step), UPDATE_METRICS, config.update.decisive()),
    ]
    found = []
    for what, path, kind, own in chain:
        made = _lineage_if_readable(path, kind) if path is not None else None
        if made is not None:
            found += [(what, *change) for change in _changes(made.config, own)]
    return found


def _lineage_if_readable(path: Path, kind: ArtifactSchema) -> Lineage | None:
    """For notes about a run: a damaged file has none, and whoever needs the file itself says what is wrong with it."""
    try:
        return read_lineage(path, kind)
    except (ArtifactError, MissingError):
        return None


def _changes(made: dict[str, Any] | Any, own: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Settings that were others; "auto" engines are resolved in the lineage, and a setting of today's is not in it."""
    for name, value in own.items():
        if name != "engine" and name in made and made[name] != value:
            yield name, made[name], value

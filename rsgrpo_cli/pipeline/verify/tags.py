"""What was made with --tag beside a run's own checked: rollouts, rewards, and the policies that updates made."""

from __future__ import annotations

from pathlib import Path

from rsgrpo_cli.artifacts import read_json, read_lineage, read_table
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.pipeline.verify.findings import Again, Findings, made_again
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.checkpoint_checks import check_checkpoint
from rsgrpo_cli.run.policies import updates_with_tags
from rsgrpo_cli.run.step_dir import Step, part_files, rewards_of, stage_command
from rsgrpo_cli.schemas import KEYS, REWARDS, ROLLOUTS


def check_tagged(found: Findings) -> None:
    """Read through what has a tag; the single files of a step are read with those that have none."""
    for number in sorted({*found.run.steps()} - found.misplaced):
        found.at = number
        for folder in sorted(found.run.step(number).glob("rollouts.*")):
            if folder.is_dir():
                _rollouts(found, number, folder)
        for tag in sorted({_tag(path) for path in found.run.step(number).glob("rewards.*")} - {""}):
            _rewards(found, number, tag)
    for step, tag in ((step, tag) for step, tag in updates_with_tags(found.run) if step not in found.misplaced):
        found.at = step
        _policy(found, step, tag)


def _tag(path: Path) -> str:
    return path.name.removesuffix(".parquet").partition(".")[2]


def _rollouts(found: Findings, number: int, folder: Path) -> None:
    hint = Again(stage_command(found.run, number, "rollouts", "--tag", _tag(folder)), tagged=True)
    for path in part_files(folder):
        rollouts = found.table(path, ROLLOUTS, hint)
        if rollouts is not None:
            found.join_problems(path, rollouts, number, hint)
    if not (folder / manifests.NAME).is_file():  # as long as it is being sampled
        return
    with found.noting(hint):
        manifest = read_json(folder / manifests.NAME, parts=dict)
        for name, made in manifest["parts"].items() if manifest.get("removed") is not True else ():
            path = folder / f"{name}.parquet"
            if not path.is_file():
                found.add(f"{path} is gone", made_again(hint))
            elif read_lineage(path, ROLLOUTS).id != made:
                raise ArtifactError(f"{path} does not belong to the other parts")


def _rewards(found: Findings, number: int, tag: str) -> None:
    """Rewards with a tag are of the step's own rollouts."""
    hint = Again(stage_command(found.run, number, "rewards", "--tag", tag), tagged=True)
    rewards, rollouts = rewards_of(found.run, number, tag), Step(found.run, number).rollouts
    for path in rewards.paths:
        table, drawn = found.table(path, REWARDS, hint), rollouts.place / path.name
        if table is not None and drawn in rollouts.paths:
            with found.noting():  # what is wrong with the rollouts has its own hint
                found.same_keys(table, read_table(drawn, ROLLOUTS, list(KEYS)), path, "its rollouts", hint)
    gone = sorted({*rollouts.names} - {*rewards.names})
    if gone and not rewards.single and rewards:
        found.add(f"{rewards.place / gone[0]}.parquet is gone", made_again(hint))


def _policy(found: Findings, step: int, tag: str) -> None:
    """The checkpoint that an update with a tag made, if it is still there; without one, the policy is rebuilt."""
    run, version = found.run.with_update(step, tag), step + 1
    folder, metrics = run.checkpoint(version), run.update_metrics(step)
    again = stage_command(found.run, step, "updates", "--tag", tag)
    if not metrics.is_file():
        found.add(f"{metrics} is gone", f"remove {folder}, then, with the settings that it had: {again}")
    elif manifests.is_complete(folder):
        found.checkpoints += 1
        with found.noting(f"policy {run.policy_name(version)} can be rebuilt: remove {folder}, then: {found.verify}"):
            check_checkpoint(run, version, trainer=True)
    elif any(path.is_file() for path in folder.rglob("*.safetensors")):
        found.add(
            f"{folder} is not a whole checkpoint: it has no manifest.json", f"remove {folder}, then: {found.verify}"
        )

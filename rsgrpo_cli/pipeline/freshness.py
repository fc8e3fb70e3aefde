"""Whether a stage has to run: nothing is done twice, and nothing stale is used or silently replaced."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.run_dir import Freshness, freshness
from rsgrpo_cli.schemas import ArtifactSchema


def must_run(
    path: Path,
    kind: ArtifactSchema,
    wanted: Lineage,
    *,
    dependents: Sequence[Path],
    force: bool,
    tagged: bool = True,
) -> bool:
    """Whether the artifact at `path` has to be made.

    Args:
        path: Where it is or would be.
        kind: What it is.
        wanted: The lineage it would have.
        dependents: Artifacts that would be made from it; those that exist are at stake.
        force: Replace it whatever depends on it.
        tagged: Whether its command has a --tag.

    Returns:
        False if it is there, from the same inputs and settings.

    Raises:
        StaleError: If replacing it needs a decision.
    """
    return decide(freshness(path, kind, wanted), path, dependents=dependents, force=force, tagged=tagged)


def decide(state: Freshness, path: Path, *, dependents: Sequence[Path], force: bool, tagged: bool = True) -> bool:
    """`must_run` for an artifact whose state is known."""
    at_stake = [dependent for dependent in dependents if dependent.exists()]
    if force:
        return True
    beside = "write beside it: --tag NAME; " if tagged else ""
    match state:
        case Freshness.MISSING:
            return True
        case Freshness.CURRENT:
            return False
        case Freshness.STALE:
            keep = "keep both: --tag NAME; " if path.parent.name == "benchmarks" else ""
            raise StaleError(
                f"{path} was made from inputs that have been replaced since", f"{keep}make it again: {_again(path)}"
            )
        case Freshness.OTHER_SETTINGS if at_stake:
            raise StaleError(
                f"{path} was made with other settings, and {_named(at_stake[0])} was made from it",
                f"{beside}branch the run here: rsgrpo fork NEW --step N; "
                "replace it, which makes what follows stale: --force",
            )
    return True


_STAGES = {"rollouts": "rollout", "rewards": "score", "advantages": "advantage", "update_metrics": "update"}
"""What an artifact of a step is called -> the stage that makes it."""


def _again(path: Path) -> str:
    """The command that makes an artifact again; `train` has no --force."""
    stage = _STAGES.get(path.name.partition(".")[0])
    if stage is None:
        return "the same command with --force"
    run, step = path.parents[2], int(path.parent.name)
    return shlex.join(["rsgrpo", stage, "--run", str(run), "--step", str(step), "--force"])


def _named(path: Path) -> str:
    """What is at stake in a few words: steps/000002, evals/000001/toy, rewards.parquet."""
    if path.suffix:
        return path.name
    inside = [part for part in path.parts[-3:] if part in ("steps", "evals")]
    return "/".join(path.parts[-3:][path.parts[-3:].index(inside[0]) :]) if inside else path.name

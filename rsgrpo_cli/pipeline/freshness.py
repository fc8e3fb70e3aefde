"""Whether a stage has to run: nothing is done twice, and nothing stale is used or silently replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rsgrpo_cli.artifacts import Lineage
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.run_dir import Freshness, freshness
from rsgrpo_cli.schemas import ArtifactSchema


def must_run(path: Path, kind: ArtifactSchema, wanted: Lineage, *, dependents: Sequence[Path], force: bool) -> bool:
    """Whether the artifact at `path` has to be made.

    Args:
        path: Where it is or would be.
        kind: What it is.
        wanted: The lineage it would have.
        dependents: Artifacts that would be made from it; those that exist are at stake.
        force: Replace it whatever depends on it.

    Returns:
        False if it is there, from the same inputs and settings.

    Raises:
        StaleError: If replacing it needs a decision.
    """
    return decide(freshness(path, kind, wanted), path, dependents=dependents, force=force)


def decide(state: Freshness, path: Path, *, dependents: Sequence[Path], force: bool) -> bool:
    """`must_run` for an artifact whose state is known."""
    at_stake = [dependent for dependent in dependents if dependent.exists()]
    if force:
        return True
    match state:
        case Freshness.MISSING:
            return True
        case Freshness.CURRENT:
            return False
        case Freshness.STALE:
            raise StaleError(f"{path} was made from inputs that have been replaced since", "make it again with --force")
        case Freshness.OTHER_SETTINGS if at_stake:
            raise StaleError(
                f"{path} was made with other settings, and {at_stake[0].name} was made from it",
                "write beside it: --tag NAME; branch the run here: rsgrpo fork; replace it, which makes what follows "
                "stale: --force",
            )
    return True

"""The mean of several policies of a run, as a checkpoint of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rsgrpo_cli import activity, disk
from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.console import Output
from rsgrpo_cli.pipeline.rebuilding import checkpoint_of, pulled_back
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.checkpoint_checks import check_checkpoint
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import UPDATE_METRICS


@contextmanager
def moved(
    run: RunDir,
    version: int,
    several: Sequence[int],
    at: float,
    place: Path,
    out: Output,
    *,
    accept_changes: bool,
    accept_inexact: bool,
) -> Iterator[tuple[Path, str | None]]:
    """A policy's checkpoint for the block, pulled back to the base model, or the mean of several; as `averaged`."""
    if several:
        inexactly = {"accept_changes": accept_changes, "accept_inexact": accept_inexact}
        with averaged(run, several, place, out, **inexactly) as found:
            yield found
        return
    with (
        checkpoint_of(run, version, place, out, accept_changes=accept_changes, accept_inexact=accept_inexact) as (
            checkpoint,
            inexact,
        ),
        pulled_back(run, version, checkpoint, at, place, accept_changes=accept_changes) as weights,
    ):
        yield weights, inexact


@contextmanager
def averaged(
    run: RunDir, versions: Sequence[int], place: Path, out: Output, *, accept_changes: bool, accept_inexact: bool
) -> Iterator[tuple[Path, str | None]]:
    """The mean of some policies' weights, as a checkpoint beside `place` for the block.

    Args:
        run: The run.
        versions: The policies, in order; none of them 0. What has no checkpoint is rebuilt, one after the other.
        place: Where the caller is going to write.
        out: Where messages go.
        accept_changes: Go on although the base model has changed.
        accept_inexact: Take policies that do not come out bit for bit.

    Yields:
        Its directory, and how one of the policies is inexact, as a sentence, if one is.

    Raises:
        MissingError, StaleError, UsageError: As `rebuilding.find_route` and `rebuilding.rebuild`.
        ArtifactError: If a checkpoint is damaged.
    """
    from rsgrpo_cli.policy.averaging import Mean

    mean, inexact = Mean(), None
    accept = {"accept_changes": accept_changes, "accept_inexact": accept_inexact}
    with disk.explain_full_disk(place), disk.workshop(place) as folder:
        for version in versions:
            with checkpoint_of(run, version, place, out, **accept) as (checkpoint, how):
                if checkpoint == run.checkpoint(version):
                    check_checkpoint(run, version, trainer=False)
                with activity.doing(f"adding policy {version} to the mean"):
                    mean.add(checkpoint)
                inexact = inexact or how
                if version == versions[-1]:
                    _copy_the_rest(checkpoint, folder)
        mean.save(folder)
        manifests.seal(folder, read_lineage(run.update_metrics(versions[-1] - 1), UPDATE_METRICS))
        names = [*manifests.files_of(folder / manifests.NAME), manifests.NAME]
        yield folder, inexact
    disk.clear_leftovers(place, names)


def _copy_the_rest(checkpoint: Path, folder: Path) -> None:
    """What is beside a checkpoint's weights, without the optimizer's state."""
    for name in manifests.files_of(checkpoint / manifests.NAME):
        if not name.startswith("trainer/") and not name.endswith(".safetensors"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkpoint / name, folder / name)

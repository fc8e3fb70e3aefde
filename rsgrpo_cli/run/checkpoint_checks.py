"""Whether a checkpoint is what was saved, and what the step before it made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.run import manifests
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import UPDATE_METRICS


def check_checkpoint(run: RunDir, version: int, *, trainer: bool, recorded: bool = True) -> None:
    """Make sure that a checkpoint is sound.

    Args:
        run: The run.
        version: The policy.
        trainer: Whether the optimizer's state is going to be used too.
        recorded: Whether the record of the update that made it can be believed.

    Raises:
        ArtifactError: Naming the first file that is not.
    """
    with checking(run, version, trainer=trainer, recorded=recorded):
        pass


@contextmanager
def checking(run: RunDir, version: int, *, trainer: bool, recorded: bool = True) -> Iterator[None]:
    """`check_checkpoint` while the block loads the same files; what it loads counts only if nothing is raised.

    Raises:
        ArtifactError: As `check_checkpoint`, also where the block failed on a damaged file.
    """
    made = _recorded_policy(run.update_metrics(version - 1)) if recorded else None
    if made not in (None, run.policy_id(version, "")):
        raise _damaged(run, version, f"it is not the policy that step {version - 1} of this run made")
    with manifests.check(run.checkpoint(version), trainer=trainer) as finished:
        try:
            yield
        except Exception as error:
            if found := finished():
                raise _damaged(run, version, found) from error
            raise
        if found := finished():
            raise _damaged(run, version, found)


def _recorded_policy(metrics: Path) -> str | None:
    """The id of the policy that an update made; None where that is not recorded, or the record cannot be read."""
    try:
        return read_lineage(metrics, UPDATE_METRICS).outputs.get("policy")
    except (MissingError, ArtifactError):  # only kept in part, or damaged: the policy itself may be sound
        return None


def _damaged(run: RunDir, version: int, what: str) -> ArtifactError:
    return ArtifactError(
        f"checkpoint {run.policy_name(version)} of run {run.name} is damaged: {what}",
        f"remove {run.checkpoint(version)}, and the newest one before it is used",
    )

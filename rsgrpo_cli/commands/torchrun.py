"""What `update` and `train` do first where torchrun has started them as several ranks."""

from __future__ import annotations

import os

from rsgrpo_cli.config import Overrides


def is_first(run: str | None, overrides: Overrides) -> bool:
    """Whether this process is to run the command; another rank takes part in the first's updates, and is done then.

    Args:
        run: --run.
        overrides: Of the first rank gets the number of ranks.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return True
    from rsgrpo_cli.pipeline.ranks import torchrun

    if torchrun.joined() is None and not torchrun.started_by_torchrun(os.environ):
        return True
    from rsgrpo_cli.run.run_dir import RunDir

    there = str(RunDir.locate(run).absolute()) if run else None
    one = torchrun.join(there, overrides.get("update.ranks"))
    if one.place.rank:
        with one.explained():
            one.serve()
        return False
    overrides["update.ranks"] = one.place.world
    return True

"""Updates of the bundled model by a single rank, which goes the way of several; run as `one_rank.py DEVICE OUT`.

The same cases come into OUT/plain, by one process, and into OUT/rank.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch.distributed as dist

from tests.ranks.updates import CASES, MODELS, work

OURS = [name for name in CASES if not name.startswith(MODELS)]

if __name__ == "__main__":
    device, out = sys.argv[1], Path(sys.argv[2])
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", store=store, rank=0, world_size=1)
    for case in OURS:  # as a process does that has computed nothing yet
        work(out / "rank", case, device=device)
    dist.destroy_process_group()
    for case in OURS:
        work(out / "plain", case, device=device)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as rank_process does

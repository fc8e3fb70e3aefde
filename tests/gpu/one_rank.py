"""Updates of the bundled model by a single rank, which goes the way of several; run as `one_rank.py DEVICE OUT`.

The same cases come into OUT/plain, by one process, and into OUT/rank.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tests.ranks.updates import CASES, MODELS, work

OURS = [name for name in CASES if not name.startswith(MODELS)]

if __name__ == "__main__":
    device, out = sys.argv[1], Path(sys.argv[2])
    for case in OURS:
        work(out / "plain", case)
    place = torch.device(device, 0) if device == "cuda" else torch.device(device)
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", store=store, rank=0, world_size=1)
    for case in OURS:
        work(out / "rank", case, device=place.type)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # as rank_process does

"""`rsgrpo` on a card with little memory; run as `limited_rsgrpo.py BYTES ARGUMENTS...`."""

from __future__ import annotations

import sys

import torch

if __name__ == "__main__":
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(int(sys.argv[1]) / total)
    sys.argv = ["rsgrpo", *sys.argv[2:]]

    from rsgrpo_cli.app import main

    main()

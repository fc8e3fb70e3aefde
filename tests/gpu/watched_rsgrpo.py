"""`rsgrpo` with an eye on its devices; run as `watched_rsgrpo.py FILE ARGUMENTS...`.

FILE gets a JSON object: where weights, gradients and the optimizer's moments were at each optimizer step, and whether
this process has initialised CUDA.
"""

from __future__ import annotations

import atexit
import json
import sys
from pathlib import Path
from typing import Any

FOUND: dict[str, list[str]] = {"weights": [], "gradients": [], "moments": []}


def look(optimizer: Any, *_: object) -> None:
    """Note where all that an optimizer step has touched is; AdamW keeps its step counter on the CPU."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    found = {"weights": weights, "gradients": [weight.grad for weight in weights], "moments": moments}
    for name, tensors in found.items():
        FOUND[name] = sorted({*FOUND[name], *(tensor.device.type for tensor in tensors if tensor is not None)})


def tell(path: Path) -> None:
    """Write what was found."""
    torch = sys.modules.get("torch")
    initialised = torch is not None and torch.cuda.is_initialized()
    path.write_text(json.dumps(FOUND | {"initialised": initialised}), encoding="utf-8")


if __name__ == "__main__":
    atexit.register(tell, Path(sys.argv[1]))
    sys.argv = ["rsgrpo", *sys.argv[2:]]
    if sys.argv[1] in ("train", "update"):  # others do not import torch, which is to stay so
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(look)

    from rsgrpo_cli.app import main

    main()

"""What is set where a process computes on an NVIDIA GPU: how it attends, and in which order it adds up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def settle() -> None:
    """Set what holds for the whole process, before anything is computed on the GPU.

    cuDNN's attention makes a plan for every new length, which takes tens of milliseconds, and a sampler meets a new
    length at every token. Torch's own kernels need no plans.
    """
    import torch

    # cuBLAS sums in one order only with a workspace of a fixed size, and reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.enable_cudnn_sdp(False)


@contextmanager
def in_one_order(device_type: str) -> Iterator[None]:
    """On a GPU, add up in the same order every time, so that an update made again gives the same bits.

    Args:
        device_type: "cuda", or anything else, where nothing needs to be done.
    """
    import torch

    if device_type != "cuda":
        yield
        return
    deterministic: Any = torch.utils.deterministic
    fills = deterministic.fill_uninitialized_memory
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # it is for finding faults, and takes time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
        deterministic.fill_uninitialized_memory = fills


def has_no_order(error: RuntimeError) -> bool:
    """Whether `in_one_order` has met an operation that adds up in any order only."""
    return "deterministic implementation" in str(error)

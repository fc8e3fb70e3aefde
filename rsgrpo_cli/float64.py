"""Float64 in all of a model: transformers casts to float32 wherever bfloat16 would be too coarse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class KeepFloat64(TorchFunctionMode):
    """While it is on, what is float64 is not cast to float32: norms and softmaxes of most models would do that.

    Such a cast rounds, and two computations that differ in their last bits would differ by 6e-8 behind it.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch's, with float64 in place of a float32 that is asked for."""
        given = dict(kwargs or {})
        if not (args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64):
            return func(*args, **given)
        if func is torch.Tensor.float:
            return args[0]
        kept = [torch.float64 if arg is torch.float32 else arg for arg in args]
        named = {name: torch.float64 if value is torch.float32 else value for name, value in given.items()}
        return func(*kept, **named)

"""What runs inside vLLM's own processes: mixed into its worker class (`worker_extension_cls`), and as its plugin."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

from rsgrpo_cli.workers.worker import end_with

OWNED = "RSGRPO_OWNS_VLLM"
"""Set in the environment of the processes that belong to an engine of ours."""


class PolicyLoader:
    """Adds a method to vLLM's worker, to be called by `collective_rpc`."""

    model_runner: Any

    def load_policy(self, directory: str) -> None:
        """Read new weights from a model directory.

        vLLM's own `reload_weights` leaves an output layer that is tied to the embeddings out, rightly, for they share
        their memory. But on a CPU that layer works with a repacked copy, which would stay as it was: the old policy's
        last layer on the new policy's body (seen with vLLM 0.32).
        """
        self.model_runner.reload_weights(weights_path=directory)
        for module in self.model_runner.get_model().modules():
            if type(module).__name__ == "ParallelLMHead" and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)


def end_with_parent() -> None:
    """End this process once the one that started it is gone.

    vLLM calls this in each of its processes (entry point `vllm.general_plugins`); it does something only in those that
    an engine of ours started. By themselves they stay when a run is killed and keep their memory (seen with vLLM 0.32).
    """
    parent = multiprocessing.parent_process()
    if OWNED in os.environ and parent is not None and parent.pid is not None:
        end_with(parent.pid)

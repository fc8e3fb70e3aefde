"""What runs inside vLLM's own processes, mixed into its worker class (`worker_extension_cls`)."""

from __future__ import annotations

from typing import Any


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

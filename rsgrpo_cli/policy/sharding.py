"""An update by several processes, called ranks: each holds a slice of every weight and works on its own completions.

Built on PyTorch's FSDP2. A decoder layer's weights are gathered when it is about to run and let go again after it; the
gradient is summed over the ranks, and each rank steps its own slice. All ranks must make the same calls of the model in
the same order, or they wait for each other for ever: `Ranks.deal` gives each the same number of micro-batches.

What several CPU processes (gloo) compute is tested. Nothing here has run on CUDA (NCCL) yet.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.policy.batches import micro_batches

T = TypeVar("T")


class Together(nn.Module):
    """The root of a sharded model: what is called through it may use every weight outside the decoder layers.

    The update runs the model's body and its output layer one after the other, and not the model as a whole; FSDP
    gathers the weights of a module when that is called. So both run inside the forward pass of this one.
    """

    def __init__(self, causal: nn.Module) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, call: Callable[[], Any]) -> Any:
        """What `call` returns."""
        return call()


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that make one update, seen from one of them.

    Args:
        rank: This process's number, from 0.
        world: How many there are.
        mesh: All of them, as FSDP takes them.
        device: Where this one computes.
        cpu_offload: Whether weights and optimizer state stay in RAM while they are not used.
        sync_each: Whether the gradient is summed over the ranks after every micro-batch, and not once at the end. Until
            then each rank holds the gradient of all weights, not of its slice.
    """

    rank: int
    world: int
    mesh: DeviceMesh
    device: torch.device
    cpu_offload: bool = False
    sync_each: bool = False

    def shard(self, lm: LanguageModel) -> None:
        """Leave this rank its slice of every weight; from here on `lm` is used by all ranks at once.

        Decoder layers compute in the run's type, all else, the output layer among it, in the weights' type. Gradients
        are summed in that, too. Prompts are not shared any more: that would take some ranks more calls of a layer than
        others.

        Args:
            lm: The same on every rank, in RAM; changed in place.
        """
        pinned = self.device.type != "cpu"  # memory that a GPU reads from by itself
        offload = CPUOffloadPolicy(pin_memory=pinned) if self.cpu_offload else OffloadPolicy()
        exact = torch.float64 if lm.dtype == "float64" else torch.float32
        compute = torch.bfloat16 if lm.dtype == "bfloat16" else exact
        for layer in _decoder_layers(lm.causal):
            fully_shard(layer, mesh=self.mesh, mp_policy=MixedPrecisionPolicy(compute, exact), offload_policy=offload)
        root = Together(lm.causal)
        policy = MixedPrecisionPolicy(exact, exact)
        fully_shard(root, mesh=self.mesh, mp_policy=policy, offload_policy=offload, reshard_after_forward=True)
        lm.together, lm.place, lm.shares_prompts = root, self.device, False
        lm.spare_ids = None if lm.spare_ids is None else lm.spare_ids.to(self.device)
        lm.dtype = "float64" if lm.dtype == "float64" else "float32"  # FSDP casts, autocast does not

    def before_backward(self, lm: LanguageModel, *, last: bool) -> None:
        """Say whether the next backward pass is the last before the optimizer's step, which sums the gradient."""
        assert isinstance(lm.together, FSDPModule)
        lm.together.set_requires_gradient_sync(last or self.sync_each)

    def deal(self, lengths: Sequence[int], rows: Sequence[int], budget: int) -> list[list[int]]:
        """This rank's micro-batches: about as many tokens as any other's, and as many micro-batches.

        Args:
            lengths: Tokens of every row there is, prompt and completion.
            rows: The rows to deal out, the same on every rank.
            budget: Padded tokens of a micro-batch, at most.

        Returns:
            Row numbers. Empty ones make up the number.
        """
        shares = [list(micro_batches(lengths, share, budget)) for share in balanced(lengths, rows, self.world)]
        missing = max(map(len, shares)) - len(shares[self.rank])
        return shares[self.rank] + [[]] * missing

    def whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """A number that is spread over the ranks, on each of them."""
        return whole(tensor)

    def gather(self, own: T) -> list[T]:
        """What every rank has, in their order; anything that pickles."""
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, own)
        return everyone


def balanced(lengths: Sequence[int], rows: Sequence[int], parts: int) -> list[list[int]]:
    """Rows in `parts` parts of about as many tokens: each row, the longest first, to the part that has the fewest."""
    made: list[list[int]] = [[] for _ in range(parts)]
    fewest = [(0, part) for part in range(parts)]
    for row in sorted(rows, key=lambda row: -lengths[row]):
        tokens, part = heapq.heappop(fewest)
        made[part].append(row)
        heapq.heappush(fewest, (tokens + lengths[row], part))
    return made


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor in one piece; every rank must ask. Any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(module: nn.Module, *, keep: bool, only: str = "") -> dict[str, torch.Tensor]:
    """A sharded module's weights and buffers in RAM, one at a time; tied ones share their memory as before.

    Args:
        module: The same on every rank; all must call.
        keep: Whether this rank wants them; another gets an empty dictionary.
        only: What a name must contain.
    """
    state: dict[str, torch.Tensor] = {}
    known: dict[int, torch.Tensor] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if only not in name:
            continue
        if id(value) not in known:
            full = whole(value.detach())
            known[id(value)] = full.cpu() if keep else torch.empty(0)
        if keep:
            state[name] = known[id(value)]
    return state


def _decoder_layers(causal: nn.Module) -> list[nn.Module]:
    """The modules that the architecture says are not to be split, and that are to be sharded one by one.

    Some name a module and one inside it (Mamba): the outer one counts. Layers that share weights with each other
    (Zamba) are left out, for a weight can be sharded once: they belong to the root.
    """
    kinds = set(getattr(causal, "_no_split_modules", None) or ())
    layers: list[nn.Module] = []
    inside: set[int] = set()
    for module in causal.modules():  # an outer one comes before those in it
        if type(module).__name__ in kinds and id(module) not in inside:
            layers.append(module)
            inside.update(id(part) for part in module.modules())
    outside = [module for module in causal.modules() if id(module) not in inside]
    owners = Counter(id(weight) for layer in layers for weight in layer.parameters())
    owners.update(id(weight) for module in outside for weight in module.parameters(recurse=False))
    return [layer for layer in layers if all(owners[id(weight)] == 1 for weight in layer.parameters())]

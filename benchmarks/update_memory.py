"""Peak memory and time of one update, 16 completions of 512 tokens, at a model's shapes with random weights.

Against the limit: 1.15 x (weights + gradients + optimizer + one chunk of logits + activations), where activations are
what autograd keeps of the model's forward pass up to the output layer; with gradient checkpointing that is one hidden
state per layer, and one layer's activations once more while it is recomputed. Each case is a process of its own. On the
CPU every allocation of torch is counted by its profiler, on a GPU by CUDA's allocator; both count bytes asked for.

    python benchmarks/update_memory.py            our update: all weights and LoRA, with and without checkpointing
    python benchmarks/update_memory.py --trl      also TRL's GRPOTrainer on the same batch (needs TRL)
    --products        computes the matrix products and the attention too; without it only their results are allocated,
                      as zeros, which is the same memory in a tenth of the time on a CPU
    --shape qwen-1.5b instead of smollm2-135m, --layers 4 of it, --case full,checkpoint
    --device cuda, --dtype bfloat16, --completions 16, --tokens 512
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from common import show
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from rsgrpo_cli.config import ModelConfig, UpdateConfig
from rsgrpo_cli.modeling import cuda
from rsgrpo_cli.models import LanguageModel
from rsgrpo_cli.pipeline.history import peak_rss
from rsgrpo_cli.policy import logprobs
from rsgrpo_cli.policy.batches import Ragged
from rsgrpo_cli.policy.experience import Experience
from rsgrpo_cli.policy.optimize import optimizer_step
from rsgrpo_cli.policy.policy import Policy, add_adapter, new_optimizer
from rsgrpo_cli.policy.training_mode import update_mode

CASES = ("full", "full,checkpoint", "lora", "lora,checkpoint")
PROMPT, RANK, LIMIT = 64, 32, 1.15
aten = torch.ops.aten
SHAPES = {
    "smollm2-135m": (49152, 576, 1536, 30, 9, 3),
    "qwen-1.5b": (151936, 1536, 8960, 28, 12, 2),
}
"""Vocabulary, width, width of the feed-forward layers, layers, heads, heads of keys and values."""


@dataclass
class Measured:
    """Bytes: the parts of the limit (0 where not ours), and what the update held at most."""

    peak: int
    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    chunk: int = 0
    activations: int = 0
    rss: int = 0
    seconds: float = 0.0

    @property
    def parts(self) -> int:
        """Their sum."""
        return self.weights + self.gradients + self.optimizer + self.chunk + self.activations


# -- counting ---------------------------------------------------------------------------------------------------------


def allocated(work: Callable[[], object], device: str) -> tuple[int, int]:
    """Bytes above those before: the most at any time during some work, and what is left while its result lives."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = work()
        torch.cuda.synchronize()
        counts = torch.cuda.max_memory_allocated() - before, torch.cuda.memory_allocated() - before
        del kept
        return counts
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        kept = work()
    del kept
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    running = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(running.max(initial=0)), int(running[-1]) if len(running) else 0


class WithoutProducts(TorchDispatchMode):
    """Allocates what matrix products and attention return, and computes nothing."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operation of torch."""
        first: Any = args[0] if args else None
        match function:
            case aten.mm.default:
                return first.new_zeros(first.shape[0], args[1].shape[1])
            case aten.addmm.default:
                return args[1].new_zeros(args[1].shape[0], args[2].shape[1])
            case aten.bmm.default:
                return first.new_zeros(first.shape[0], first.shape[1], args[1].shape[2])
            case aten._scaled_dot_product_flash_attention_for_cpu.default:
                return torch.zeros_like(first), first.new_zeros(first.shape[:3], dtype=torch.float32)
            case aten._scaled_dot_product_flash_attention_for_cpu_backward.default:
                return tuple(torch.zeros_like(tensor) for tensor in args[1:4])
        return function(*args, **(kwargs or {}))


def storage_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """What some tensors take, a shared one counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    """Its moments."""
    return (value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor))


# -- ours -------------------------------------------------------------------------------------------------------------


def random_model(options: argparse.Namespace, layers: int) -> LlamaForCausalLM:
    """A Llama of the shape asked for."""
    torch.manual_seed(0)
    vocabulary, width, feed_forward, _, heads, kv_heads = SHAPES[options.shape]
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    weights = torch.bfloat16 if options.dtype == "bfloat16" and "lora" in options.case else torch.float32
    with torch.device(options.device):
        return LlamaForCausalLM(config).to(weights)


def opened(options: argparse.Namespace, layers: int) -> tuple[Policy, UpdateConfig]:
    """A policy as `open_policy` would make it."""
    if options.device == "cuda":
        cuda.settle()
    lm = LanguageModel(random_model(options, layers), None, (0,), {}, options.dtype)
    cfg = UpdateConfig(learning_rate=1e-6, gradient_checkpointing="checkpoint" in options.case)
    if "lora" in options.case:
        add_adapter(lm, ModelConfig(lora_rank=RANK, lora_alpha=2.0 * RANK), seed=0)
    if cfg.gradient_checkpointing:
        lm.causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = Policy(lm, 0)
    policy.optimizer = new_optimizer(policy, cfg)
    return policy, cfg


def experience(options: argparse.Namespace, completions: int, tokens: int) -> Experience:
    """Random tokens, with as many advantages above zero as below."""
    rng = np.random.default_rng(0)

    def ids(length: int) -> Ragged:
        return [rng.integers(0, SHAPES[options.shape][0], length) for _ in range(completions)]

    said: Ragged = [np.full(tokens - PROMPT, -10.0, np.float32)] * completions
    advantages = np.where(np.arange(completions) % 2, 1.0, -1.0)
    groups, counted = np.arange(completions), np.ones(completions, dtype=bool)
    return Experience(ids(PROMPT), ids(tokens - PROMPT), said, advantages, groups, counted, 1.0, tokens, False)


def ours(options: argparse.Namespace) -> Measured:
    """An optimizer step from the second on: its moments are there."""
    policy, cfg = opened(options, options.layers)
    optimizer_step(policy, experience(options, 1, PROMPT + 2), cfg)
    trained, optimizer = list(policy.trained().values()), policy.optimizer
    assert optimizer is not None
    weights = storage_bytes(policy.lm.causal.parameters())
    moments = storage_bytes(optimizer_tensors(optimizer))
    batch = experience(options, options.completions, options.tokens)
    started = time.perf_counter()
    peak, _ = allocated(lambda: optimizer_step(policy, batch, cfg), options.device)
    seconds = time.perf_counter() - started
    rss = peak_rss()
    logits = options.completions * (options.tokens - PROMPT) * SHAPES[options.shape][0]
    return Measured(
        peak + weights + moments,
        weights,
        sum(weight.numel() * weight.element_size() for weight in trained),
        moments,
        4 * min(logits, logprobs.chunk_logits(on_gpu=options.device == "cuda")),
        activations(options, policy),
        rss,
        seconds,
    )


def activations(options: argparse.Namespace, policy: Policy) -> int:
    """What autograd keeps of the forward pass, and of one layer more where layers are recomputed."""
    kept = forward_bytes(options, policy)
    if "checkpoint" not in options.case:
        return kept
    plain = argparse.Namespace(**{**vars(options), "case": options.case.replace(",checkpoint", "")})
    one, two = (forward_bytes(plain, opened(plain, layers)[0]) for layers in (1, 2))
    return kept + two - one


def forward_bytes(options: argparse.Namespace, policy: Policy) -> int:
    """Left after a forward pass up to the output layer."""
    ids = torch.zeros(options.completions, options.tokens, dtype=torch.long, device=options.device)
    update_mode(policy.lm.causal)

    def forward() -> object:
        with policy.lm.autocast():
            return policy.lm.causal.base_model(input_ids=ids, use_cache=False).last_hidden_state

    return allocated(forward, options.device)[1]


# -- TRL --------------------------------------------------------------------------------------------------------------


def trl_update(
    options: argparse.Namespace,
) -> tuple[torch.nn.Module, torch.optim.Optimizer, Callable[[Sequence[dict[str, Any]]], None]]:
    """The model, the optimizer, and an optimizer step over micro-batches: TRL's GRPOTrainer, where its rollout is done.

    It has its own defaults for everything that the case does not say.
    """
    trainer = grpo_trainer(options)
    if "checkpoint" in options.case:  # train() would do it
        trainer.model.gradient_checkpointing_enable(trainer.args.gradient_checkpointing_kwargs)
    model = trainer.model_wrapped = trainer.accelerator.prepare(trainer.model)
    optimizer = trainer.create_optimizer()
    model.train()

    def update(batches: Sequence[dict[str, Any]]) -> None:
        trainer.current_gradient_accumulation_steps = len(batches)
        for batch in batches:
            trainer._prepare_inputs = lambda _, batch=batch: batch
            trainer.training_step(model, {}, None)
        torch.nn.utils.clip_grad_norm_((weight for weight in model.parameters() if weight.requires_grad), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return model, optimizer, update


def theirs(options: argparse.Namespace) -> Measured:
    """The same step by TRL."""
    model, optimizer, update = trl_update(options)
    update([trl_batch(options, 1, PROMPT + 2)])
    before = storage_bytes([*model.parameters(), *optimizer_tensors(optimizer)])
    batch = trl_batch(options, options.completions, options.tokens)
    started = time.perf_counter()
    peak, _ = allocated(lambda: update([batch]), options.device)
    rss = peak_rss()
    return Measured(peak + before, rss=rss, seconds=time.perf_counter() - started)


def grpo_trainer(options: argparse.Namespace) -> Any:
    """A trainer on the random model; its data set is never read."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from rsgrpo_cli.models import model_directory

    checkpointing = "checkpoint" in options.case
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=options.completions,
        num_generations=options.completions,
        max_completion_length=options.tokens - PROMPT,
        learning_rate=1e-6,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        bf16=options.dtype == "bfloat16",
        use_cpu=options.device == "cpu",
        report_to=[],
    )
    adapter = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    return GRPOTrainer(
        model=random_model(options, options.layers),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * options.completions}),
        processing_class=AutoTokenizer.from_pretrained(model_directory("toy")),
        peft_config=adapter if "lora" in options.case else None,
    )


def trl_batch(options: argparse.Namespace, completions: int, tokens: int) -> dict[str, Any]:
    """The same batch as TRL lays it out."""
    made, device = experience(options, completions, tokens), options.device

    def stacked(rows: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(rows)).to(device)

    prompts, answers = stacked(made.prompts), stacked(made.completions)
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": answers,
        "completion_mask": torch.ones_like(answers),
        "advantages": torch.from_numpy(made.advantages).float().to(device),
        "num_items_in_batch": torch.tensor(answers.numel(), device=device),
    }


# -- the table --------------------------------------------------------------------------------------------------------


def in_a_process(side: str, case: str, arguments: list[str]) -> Measured:
    """One case, in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--case", case, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def row(case: str, found: Measured, peer: Measured | None) -> list[str]:
    """Cells of the table, in MB."""
    parts = [found.weights, found.gradients, found.optimizer, found.chunk, found.activations]
    cells = [case, " + ".join(f"{part / 1e6:.0f}" for part in parts), f"{found.parts / 1e6:.0f}"]
    cells += [f"{found.peak / 1e6:.0f}", f"{found.peak / found.parts:.3f} x", f"{LIMIT} x", f"{found.seconds:.1f} s"]
    if peer is None:
        return [*cells, "", "", ""]
    return [*cells, f"{peer.peak / 1e6:.0f}", f"{found.peak / peer.peak:.2f} x", f"{peer.seconds:.1f} s"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", action="store_true")
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--case")
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--shape", default="smollm2-135m", choices=SHAPES)
    for name, value in {"--layers": 0, "--completions": 16, "--tokens": 512}.items():
        parser.add_argument(name, type=int, default=value)
    options = parser.parse_args()
    options.layers = options.layers or SHAPES[options.shape][3]
    if options.side:
        with nullcontext() if options.products or options.device == "cuda" else WithoutProducts():  # type: ignore[no-untyped-call]
            print(json.dumps(asdict(ours(options) if options.side == "ours" else theirs(options))))
        return
    names = ("shape", "device", "dtype", "layers", "completions", "tokens")
    passed = [f"--{name}={getattr(options, name)}" for name in names]
    passed += ["--products"] if options.products else []
    rows = []
    for case in [options.case] if options.case else CASES:
        found = in_a_process("ours", case, passed)
        rows.append(row(case, found, in_a_process("theirs", case, passed) if options.trl else None))
    size = f"{options.completions} x {options.tokens} tokens"
    title = f"One update of {size}, {options.shape} of {options.layers} layers, {options.dtype}, {options.device}"
    headers = ["case", "weights + gradients + optimizer + chunk + activations", "sum, MB", "peak, MB"]
    show(title, [*headers, "peak / sum", "limit", "time", "TRL, MB", "peak / TRL", "TRL, time"], rows)


if __name__ == "__main__":
    main()

"""Speed and peak memory of an update on a GPU at a model's shapes with random weights, beside TRL's GRPOTrainer.

Both take one optimizer step over the same random batch, with the same loss, in micro-batches of the same size: ours of
--micro-batch-tokens, TRL's of --trl-micro-batch completions. The share is 6 x parameters x tokens / seconds over the
rate of a large bfloat16 matrix product on the same card in the same run; what is computed again for gradient
checkpointing does not count as work. Each case is a process of its own. Without TRL: --no-trl.

    python benchmarks/update_speed.py                        16 x 2,048 tokens at the shapes of Qwen2.5-1.5B, bfloat16
    python benchmarks/update_speed.py --profile              and the 15 kernels that take longest
    python benchmarks/update_speed.py --device cpu --shape smollm2-135m --layers 2 --completions 2 --tokens 128
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from common import median, show
from update_memory import CASES, PROMPT, SHAPES, experience, opened, trl_batch, trl_update

from rsgrpo_cli.policy.optimize import optimizer_step

WARM_UP, STEPS, KERNELS = 1, 3, 15


@dataclass
class Measured:
    """Seconds of a step, the most bytes that torch held, and the model's parameters."""

    seconds: float
    peak: int
    parameters: int


def synchronize(device: str) -> None:
    """Wait until the device is idle."""
    if device == "cuda":
        torch.cuda.synchronize()


def measured(step: Callable[[], object], model: torch.nn.Module, device: str) -> Measured:
    """The median of some steps, after one that is not counted."""
    seconds = []
    for number in range(WARM_UP + STEPS):
        if number == WARM_UP and device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        synchronize(device)
        started = time.perf_counter()
        step()
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    parameters = sum(weight.numel() for name, weight in model.named_parameters() if "lora_" not in name)
    return Measured(median(seconds[WARM_UP:]), peak, parameters)


def matrix_rate(device: str) -> float:
    """Floating-point operations a second of a large bfloat16 matrix product."""
    size = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(13):
        synchronize(device)
        started = time.perf_counter()
        torch.mm(a, b)
        synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / median(seconds[3:])


def ours(options: argparse.Namespace) -> Measured:
    """Our update."""
    policy, cfg = opened(options, options.layers)
    policy.lm.has_order = not options.any_order
    cfg = cfg.model_copy(update={"micro_batch_tokens": options.micro_batch_tokens})
    batch = experience(options, options.completions, options.tokens)
    found = measured(lambda: optimizer_step(policy, batch, cfg), policy.lm.causal, options.device)
    if options.profile:
        profiled(lambda: optimizer_step(policy, batch, cfg), options.case)
    return found


def profiled(step: Callable[[], object], case: str) -> None:
    """Print the kernels that a step spends most time in."""
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        step()
        torch.cuda.synchronize()
    kernels = [event for event in profile.key_averages() if event.device_type.name == "CUDA"]
    total = sum(event.self_device_time_total for event in kernels)
    print(f"{case}: {total / 1e6:.3f} s in kernels", file=sys.stderr)
    for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:KERNELS]:
        share = event.self_device_time_total / total
        print(f"  {share:6.1%}  {event.count:6}  {event.key[:100]}", file=sys.stderr)


def theirs(options: argparse.Namespace) -> Measured:
    """TRL's."""
    model, _, update = trl_update(options)
    batch = trl_batch(options, options.completions, options.tokens)
    size = options.trl_micro_batch
    pieces = [
        {name: value[start : start + size] if value.dim() else value for name, value in batch.items()}
        for start in range(0, options.completions, size)
    ]
    return measured(lambda: update(pieces), model, options.device)


def in_a_process(side: str, case: str, arguments: list[str]) -> Measured | None:
    """One case, in a process of its own; None where it did not get through, the reason then stands above."""
    command = [sys.executable, __file__, "--side", side, "--case", case, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    found = Measured(**json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None
    print(f"{side}, {case}: {found}", file=sys.stderr)
    return found


def cells(found: Measured | None, tokens: int, rate: float) -> list[str]:
    """Tokens a second, the share of the matrix rate, and the peak."""
    if found is None:
        return ["failed", "", ""]
    speed = tokens / found.seconds
    return [f"{speed:,.0f}", f"{6 * found.parameters * speed / rate:.1%}", f"{found.peak / 1e9:.1f} GB"]


def row(case: str, pair: tuple[Measured | None, Measured | None], tokens: int, rate: float) -> list[str]:
    """Ours beside TRL's."""
    our, their = pair
    ratio = f"{their.seconds / our.seconds:.2f} x" if our and their else ""
    memory = f"{our.peak / their.peak:.2f} x" if our and their and their.peak else ""
    return [case, *cells(our, tokens, rate), *cells(their, tokens, rate), ratio, memory]


def parse_options() -> argparse.Namespace:
    """Settings, for trying it out; the defaults are those that are reported."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--any-order", action="store_true", help="ours without adding up in one order")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--shape", default="qwen-1.5b", choices=SHAPES)
    sizes = {"layers": 0, "completions": 16, "tokens": 2048, "micro-batch-tokens": 16384, "trl-micro-batch": 8}
    for name, value in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    options.layers = options.layers or SHAPES[options.shape][3]
    return options


def passed_on(options: argparse.Namespace) -> list[str]:
    """The same settings for a process of one case."""
    left_out = ("case", "side", "no_trl", "profile", "any_order")
    named: dict[str, Any] = {name: value for name, value in vars(options).items() if name not in left_out}
    return [f"--{name.replace('_', '-')}={value}" for name, value in named.items()]


def main() -> None:
    """Measure and print."""
    options = parse_options()
    if options.side:
        options.case = options.case[0]
        print(json.dumps(asdict(ours(options) if options.side == "ours" else theirs(options))))
        return
    rate, arguments = matrix_rate(options.device), passed_on(options)
    tokens = options.completions * options.tokens
    rows = []
    for case in options.case or ["full,checkpoint", "lora,checkpoint", "lora"]:
        flags = [f"--{name}" for name in ("profile", "any-order") if vars(options)[name.replace("-", "_")]]
        our = in_a_process("ours", case, arguments + flags)
        their = None if options.no_trl else in_a_process("theirs", case, arguments)
        rows.append(row(case, (our, their), tokens, rate))
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    size = f"{options.completions} x {options.tokens:,} tokens, {PROMPT} of them the prompt"
    title = f"One update of {size}, {options.shape} of {options.layers} layers, {options.dtype}, {name}"
    sides = [f"{what}{side}" for side in (", TRL", "") for what in ("tokens/s", "share", "peak")]
    show(title, ["case", *sides[3:], *sides[:3], "faster by", "peak / TRL"], rows)
    print(f"A large matrix product in bfloat16: {rate / 1e12:.1f} TFLOP/s")


if __name__ == "__main__":
    main()

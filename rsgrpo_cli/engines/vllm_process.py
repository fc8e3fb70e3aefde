"""What surrounds vLLM: its environment, its output, and what its failures mean.

vLLM works in a process of its own, which inherits our standard output and keeps what went wrong to itself ("see root
cause above"). So that process writes to a log file, and the reason is looked up there.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from rsgrpo_cli.engines.vllm_worker import OWNED
from rsgrpo_cli.errors import DependencyError, EngineError, UsageError
from rsgrpo_cli.wording import raised

ENVIRONMENT = {
    # The trainer has threads, and perhaps a CUDA context: neither survives a fork.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # Standard output is for results.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    # GiB for the key-value cache where there is no GPU; the default is sized for a machine with nothing else to do.
    "VLLM_CPU_KVCACHE_SPACE": "2",
    # Seconds that one pass of the model may take before vLLM takes itself for dead: 300 is short for a busy CPU.
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "3600",
    "VLLM_NO_USAGE_STATS": "1",
    OWNED: "1",
}
"""What vLLM takes from the environment only; a variable that is set already stays as it is."""

_REASONS = (
    (
        r"out of memory|OutOfMemoryError|No available memory for the cache blocks|Free memory on device",
        "not enough GPU memory for vLLM",
        "--set vllm.gpu_memory_utilization=0.3 (beside a trainer) or 0.95 (alone), a smaller vllm.max_model_len, or "
        "vllm.tensor_parallel_size=2",
    ),
    (
        r"larger than the (?:maximum number of tokens|available KV cache memory)|KV cache is needed",
        "vLLM's key-value cache has no room for one completion of that length",
        "a smaller --max-tokens or vllm.max_model_len, or a larger vllm.gpu_memory_utilization (on a CPU: "
        "VLLM_CPU_KVCACHE_SPACE, in GiB)",
    ),
    (
        r"Cannot allocate memory|MemoryError",
        "not enough memory for vLLM",
        "on a CPU lower VLLM_CPU_KVCACHE_SPACE (GiB)",
    ),
)
_EXCEPTION = re.compile(r"^(?:\(.*?\)\s*)?(?:ERROR .*?\] )?([A-Za-z_.]*(?:Error|Exception|Failure)): (.+)$")
_LOG_TAIL = 200_000


def require_vllm(dtype: str) -> None:
    """Make sure that vLLM is installed and knows the type, before anything expensive is done for it.

    Raises:
        UsageError: If it does not compute in `dtype`.
        DependencyError: If it is not installed.
    """
    if dtype == "float64":
        raise UsageError("vLLM does not compute in float64", "--engine hf, or --dtype float32")
    if find_spec("vllm") is None:
        raise DependencyError("the vllm engine needs the package vllm", "pip install 'rsgrpo[vllm]'")


def prepare_environment() -> None:
    """Set ENVIRONMENT; before vLLM is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def quieten() -> None:
    """No warnings from the part of vLLM that is in this process; its own process still writes them to the log."""
    for handler in logging.getLogger("vllm").handlers:
        handler.setLevel(logging.ERROR)


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send this process's output to a file, and that of processes started in the block for good.

    These do not hear Ctrl-C either: it is for us to stop after the part at work, and theirs to finish it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    ours = os.dup(1), os.dup(2)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in enumerate(ours, start=1):
            os.dup2(saved, number)
            os.close(saved)
        os.close(file)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def explained(what: str, error: BaseException, log: Path) -> EngineError:
    """What a failure of vLLM means.

    Args:
        what: What was being done, as the start of a sentence.
        error: What it raised here.
        log: Where it wrote the rest.
    """
    text = f"{_tail(log)}\n{raised(type(error).__name__, error)}"
    for pattern, message, hint in _REASONS:
        if re.search(pattern, text):
            return EngineError(message, f"{hint}; details: {log}")
    found = [match for line in text.splitlines() if (match := _EXCEPTION.match(line.strip()))]
    # The last that tells something: the ones above it in the chain say "see root cause above".
    telling = [match for match in found if "root cause" not in match[0] and "EngineDead" not in match[1]]
    reason = f"{telling[-1][1].rpartition('.')[2]}: {telling[-1][2]}" if telling else type(error).__name__
    return EngineError(f"{what}: {reason}", f"details: {log}; or sample with --engine hf")


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL))
        return file.read().decode(errors="replace")

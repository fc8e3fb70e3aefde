"""What `rsgrpo doctor` looks at: whether this installation can do what it is for."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from rsgrpo_cli import activity
from rsgrpo_cli.bundled import pins
from rsgrpo_cli.console import error_in
from rsgrpo_cli.wording import counted

NEEDED = ("torch", "transformers", "peft", "datasets", "pyarrow", "pydantic", "numpy", "math-verify", "safetensors")
"""Packages without which nothing works."""
EXTRAS = {
    "matplotlib": ("report", "draws figures"),
    "duckdb": ("sql", "answers rsgrpo sql"),
    "vllm": ("vllm", "samples faster on a GPU"),
}
"""Packages that some commands need -> the extra that installs each, and what it does."""
LEAST_MEMORY, LEAST_DISK = 2 * 10**9, 2 * 10**9
"""Bytes below which even the bundled model is at risk."""
HUB, HUB_SECONDS = "https://huggingface.co", 5.0
SLOW_SECONDS = 20.0
"""The short run takes about two seconds."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What.
        state: "ok", "absent" where it is optional, "warning" where it may matter, or "problem".
        found: What was found.
        advice: What to do; empty where all is well.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def all_checks(*, offline: bool) -> Iterator[Check]:
    """Look at everything, what is cheap first.

    Args:
        offline: Do not try to reach the Hub.
    """
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("Python", _python),
        *((name, partial(package, name)) for name in NEEDED),
        *((name, partial(_extra, name)) for name in EXTRAS),
        ("memory", _memory),
        ("disk", _disk),
        ("Hub", lambda: _hub(offline)),
        ("GPU", _gpu),
        ("short run", _short_run),
    ]
    for name, check in checks:
        with activity.doing(f"checking {name}"):
            yield check()


def _python() -> Check:
    found = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, "
        f"{counted(os.cpu_count() or 0, 'core')}"
    )
    return Check("Python", "ok", f"{found}, {sys.prefix}")


def package(name: str) -> Check:
    """A package that is needed, against the version that the tests run with."""
    try:
        have = version(name)
    except PackageNotFoundError:
        return Check(name, "problem", "not installed", f"pip install {name}")
    pinned = pinned_versions().get(_plain(name))
    if pinned is None:
        return Check(name, "ok", have)
    told = f"{have} (tested with {pinned})"
    if _public(have).split(".")[0] == pinned.split(".")[0]:
        return Check(name, "ok", told)
    return Check(name, "warning", told, f"if something fails: pip install {name}=={pinned}")


def pinned_versions() -> dict[str, str]:
    """Package -> the version that the tests run with; nothing where the file of pins is not there."""
    path = pins()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.split("#")[0].strip().split("==") for line in lines if "==" in line.split("#")[0])
    return {_plain(name): pinned for name, pinned in pairs}


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _public(text: str) -> str:
    """A version without its build: 2.9.0+cpu is 2.9.0."""
    return text.partition("+")[0]


def _extra(name: str) -> Check:
    extra, use = EXTRAS[name]
    if find_spec(name) is None:
        return Check(name, "absent", f"not installed; {use}", f"if you want it: pip install 'rsgrpo[{extra}]'")
    return package(name)


def _memory() -> Check:
    from rsgrpo_cli.console import size

    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    advice = "even the bundled model may not fit" if have < LEAST_MEMORY else ""
    return Check("memory", "warning" if advice else "ok", size(have), advice)


def _disk() -> Check:
    from rsgrpo_cli.console import size

    free = shutil.disk_usage(Path.cwd()).free
    advice = "make room: rsgrpo du, rsgrpo gc" if free < LEAST_DISK else ""
    state = "warning" if advice else "ok"
    if not os.access(Path.cwd(), os.W_OK):
        return Check("disk", "problem", f"{Path.cwd()} cannot be written to", "work in a folder of your own")
    return Check("disk", state, f"{size(free)} free in {Path.cwd()}", advice)


def _hub(offline: bool) -> Check:
    from urllib.error import URLError
    from urllib.request import urlopen

    from huggingface_hub.constants import HF_HUB_OFFLINE

    if offline or HF_HUB_OFFLINE:
        return Check("Hub", "ok", "not asked: offline; models that are in the cache and local ones can be used")
    place = os.environ.get("HF_ENDPOINT", HUB)
    try:
        with urlopen(place, timeout=HUB_SECONDS):
            pass
    except (URLError, OSError, ValueError) as error:
        why = str(getattr(error, "reason", error))
        way = "give --model and --dataset files, or set HF_HUB_OFFLINE=1 to use what is in the cache"
        return Check("Hub", "warning", f"{place} cannot be reached: {why}", way)
    logged_in = "with a token" if _has_token() else "without a token: gated models need `hf auth login`"
    return Check("Hub", "ok", f"{place} answers, {logged_in}")


def _has_token() -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    return bool(os.environ.get("HF_TOKEN")) or (home / "token").is_file()


def _gpu() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("GPU", "problem", f"torch cannot be imported: {error}", "install torch again: pip install torch")
    if torch.cuda.is_available():
        from rsgrpo_cli.console import size

        cards = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return Check("GPU", "ok", ", ".join(f"{card.name} with {size(card.total_memory)}" for card in cards))
    built = torch.version.cuda
    if built is None:
        return Check("GPU", "ok", "none: this torch is built for CPUs", "a GPU needs the CUDA build of torch")
    return Check("GPU", "warning", f"none that torch {torch.__version__} can use", f"CUDA {built} needs a newer driver")


def _short_run() -> Check:
    """Sample, grade and update with the bundled model, on the GPU if there is one; in a folder that goes afterwards."""
    import subprocess
    import tempfile

    from rsgrpo_cli.models import choose_device

    sizes = ("--prompts-per-step", "4", "--group-size", "4", "--workers", "1", "--steps", "1")
    with tempfile.TemporaryDirectory() as folder:
        train = ["train", "--run", f"{folder}/run", "--device", "auto", *sizes]
        command = [sys.executable, "-P", "-m", "rsgrpo_cli", *train]
        started = time.perf_counter()
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        seconds = time.perf_counter() - started
    if done.returncode:
        why, hint = error_in(done.stderr)
        again = shlex.join(command)
        found = why or f"it ended with exit code {done.returncode}"
        return Check("short run", "problem", found, f"{hint}; the command: {again}" if hint else again)
    device = "GPU" if choose_device("auto") == "cuda" else "CPU"
    slow = f"the disk or the {device} is slow, or busy" if seconds > SLOW_SECONDS else ""
    found = f"one step of the bundled model on the {device} in {seconds:.1f} s"
    return Check("short run", "warning" if slow else "ok", found, slow)

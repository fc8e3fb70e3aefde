"""`rsgrpo demo`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import Interrupted, RsgrpoError

Words = tuple[str, ...]


def demo(
    steps: Annotated[int, typer.Option("--steps", min=1, help="Updates of each run.")] = 120,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Completions per puzzle of each evaluation.")] = 256,
    folder: Annotated[Path, typer.Option("--folder", help="Where the two runs go.")] = Path("runs"),
) -> None:
    """See the exploration dilemma in a few minutes on a CPU, without a network, and what RS-GRPO does about it.

    Trains the bundled model on bundled puzzles with GRPO and with RS-GRPO, measures pass@k on held-out puzzles, and
    makes a page of it. Each command is printed, and can be run alone. Run again, it resumes.
    """
    out = Output()
    for words, silent in _commands(steps, samples, folder):
        out.info(f"\n$ {shlex.join(words)}")
        _run(words, silent=silent)


def _commands(steps: int, samples: int, folder: Path) -> Iterator[tuple[Words, bool]]:
    """The commands, each with whether its result is of no interest here."""
    grpo, rs_grpo = str(folder / "demo-grpo"), str(folder / "demo-rs_grpo")
    ks = ",".join(str(k) for k in (1, 16, 64, 256) if k <= samples)
    asked = ("--num-samples", str(samples), "--k", ks)
    yield ("rsgrpo", "train", "--run", grpo, "--estimator", "grpo", "--steps", str(steps)), True
    yield (
        ("rsgrpo", "train", "--run", rs_grpo, "--estimator", "rs_grpo", "--beta", "4", "--steps", str(steps)),
        True,
    )
    yield ("rsgrpo", "eval", "--run", grpo, "--policy", "0", *asked), True
    yield ("rsgrpo", "eval", "--run", grpo, *asked), True
    yield ("rsgrpo", "eval", "--run", rs_grpo, *asked), True
    yield ("rsgrpo", "compare", grpo, rs_grpo, "--k", ks), False
    places = (f"base={grpo}@0", f"GRPO={grpo}", f"RS-GRPO, beta 4={rs_grpo}")
    if find_spec("matplotlib"):
        yield ("rsgrpo", "report", *places, "--figure", str(folder / "demo-passk.svg")), False
    yield ("rsgrpo", "report", *places, "--html", str(folder / "demo.html")), False


def _run(words: Words, *, silent: bool) -> None:
    """Run a command of ours in a process of its own, as a shell would.

    Raises:
        RsgrpoError: If it fails; it has said why.
    """
    command = [sys.executable, "-P", "-m", "rsgrpo_cli", *words[1:]]
    result = subprocess.DEVNULL if silent else None
    with subprocess.Popen(command, stdout=result, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:  # it has had the Ctrl-C too, and stops when it has finished a part
                continue
    if code == Interrupted.exit_code:
        raise Interrupted("the demo was stopped; everything finished is kept", "to resume: rsgrpo demo")
    if code:
        raise RsgrpoError(f"{' '.join(words[:2])} ended with {code}", "when that is mended, run rsgrpo demo again")

"""What tests share: the command line in this process, and small runs of the bundled model."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rsgrpo_cli.run.run_dir import RunDir

if find_spec("hypothesis"):  # an environment with another trainer has no property tests
    from hypothesis import HealthCheck, settings

    # On a slow machine an example takes as long as it takes.
    settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("here")
os.environ["HF_HUB_OFFLINE"] = "1"
# A run that a test made is the test's own; the fixture `unasked` takes this away.
os.environ["RSGRPO_TRUST"] = "1"
# However slow the machine is, a polite stop may finish its part.
os.environ["RSGRPO_STOP_SECONDS"] = "600"
# The bundled model is too small to gain from a second thread, and two processes with two each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SMALL = [
    "--set", "rollout.group_size=4",
    "--set", "rollout.prompts_per_step=8",
    "--set", "update.learning_rate=0.001",
    "--set", "score.workers=1",
    "--set", "train.checkpoint_every=1",
]  # fmt: skip
"""Settings under which a step of the bundled model takes a few hundredths of a second."""


ON_A_GPU = ("gpu", "vllm", "ray")
"""The markers of tests that may see one; all others are about what a CPU computes, and go by `--device auto`."""


def pytest_configure(config: pytest.Config) -> None:
    """Hide a GPU that the machine may have, before torch looks for one."""
    chosen = config.option.markexpr
    if not any(marker in chosen and f"not {marker}" not in chosen for marker in ON_A_GPU):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its line of JSON; the last one, where a command prints a line per step before its result."""
        return json.loads(self.out.splitlines()[-1])


Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs `rsgrpo ARGUMENTS` through `main`, error boundary included, in an empty directory."""
    from rsgrpo_cli.app import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RSGRPO_RUN", raising=False)

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["rsgrpo", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return Result(int(stopped.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, made by a process of its own and only copied from."""
    folder = tmp_path_factory.mktemp("once")
    command = [sys.executable, "-m", "rsgrpo_cli", "train", "--run", "runs/trained", "--steps", "2", *SMALL]
    known = {name: value for name, value in os.environ.items() if not name.startswith("RSGRPO")}
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "trained"


@pytest.fixture
def trained(cli: Cli, trained_once: Path, tmp_path: Path) -> Path:
    """A run of two steps, as another process left it."""
    return Path(shutil.copytree(trained_once, tmp_path / "runs" / "trained"))


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """One step: p-000001 is right once, p-000002 both times, of which one was cut off."""
    from tests import run_on_disk

    made = run_on_disk.new_run(tmp_path / "run")
    run_on_disk.write_step(made, 0)
    return made


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As outside the tests, where nobody trusts a run: a next step that lacks the --trust it needs does not work."""
    monkeypatch.delenv("RSGRPO_TRUST")


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The FUNCTIONS of the test's file as a user's own module `mine`, where `cli` runs."""
    path = tmp_path / "mine.py"
    path.write_text(request.module.FUNCTIONS)
    return path


def weights(run: str) -> bytes:
    """Those of the newest checkpoint of a run under runs/."""
    return max(Path(f"runs/{run}/checkpoints").glob("*/model.safetensors")).read_bytes()


def running(pid: int) -> bool:
    """Whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run_quietly(folder: Path, *arguments: str | Path) -> None:
    """Run `rsgrpo ARGUMENTS` in a folder, for fixtures that outlive a test; it must succeed."""
    from rsgrpo_cli.app import main

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed), redirect_stderr(printed):
        patched.chdir(folder)
        patched.delenv("RSGRPO_RUN", raising=False)
        patched.setattr(sys, "argv", ["rsgrpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code, printed.getvalue()

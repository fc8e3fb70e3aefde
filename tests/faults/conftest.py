"""Two small runs with two checkpoints and an evaluation each, which differ in their seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SMALL, run_quietly
from tests.integration.conftest import start

__all__ = ["start"]

EVAL = ("--eval-every", "2", "-n", "2", "--k", "1")


@pytest.fixture(scope="session")
def pair_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both, only copied from."""
    folder = tmp_path_factory.mktemp("pair")
    for seed, name in enumerate(("whole", "other")):
        run_quietly(folder, "train", "--run", f"runs/{name}", "--steps", "2", "--seed", str(seed), *EVAL, *SMALL)
    return folder / "runs"

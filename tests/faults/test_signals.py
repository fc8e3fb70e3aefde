"""Every signal that asks for an end, at every stage: it ends, what is done is kept, and it says how to go on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from rsgrpo_cli.pipeline.stopping import SIGNALS
from tests.conftest import SMALL, Cli
from tests.faults.damages import LONG
from tests.integration.conftest import Start

TRAIN = ["train", "--run", "runs/x", "--steps", "50", "--eval-every", "2", "-n", "1", "--k", "1", *SMALL]
STAGES = {
    "starting": "config.json",
    "preparing": "prompts.parquet",
    "rollout": "steps/000001/rollouts",
    "score": "steps/000001/rollouts/manifest.json",
    "advantage": "steps/000001/rewards/part-00000.parquet",
    "update": "steps/000001/advantages.parquet",
    "saving": "steps/000001/update_metrics.parquet",
    "evaluation": "evals/000002/toy/rollouts",
}
"""Stage -> what is there once it has begun."""


PAIRS = [
    (stage, SIGNALS[(at + half) % len(SIGNALS)]) for at, stage in enumerate(STAGES) for half in (0, len(SIGNALS) // 2)
]
"""Two signals at each stage, so that each is sent at half of them."""


@LONG
@pytest.mark.slow
@pytest.mark.parametrize(("stage", "number"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_a_signal(cli: Cli, start: Start, tmp_path: Path, stage: str, number: signal.Signals) -> None:
    process = start(*TRAIN)
    while process.poll() is None and not (tmp_path / "runs/x" / STAGES[stage]).exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped" in err
    assert "the same command again" in err.splitlines()[-1], err
    if (tmp_path / "runs/x/config.json").exists():
        assert cli("verify", "runs/x", "--no-load").code == 0
    kept = len(list((tmp_path / "runs/x/steps").glob("*/update_metrics.parquet")))
    result = cli(*TRAIN, "--steps", str(kept + 1))
    assert result.code == 0, result.err

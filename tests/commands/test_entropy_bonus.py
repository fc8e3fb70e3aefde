"""An entropy bonus in the loss: fixed, and with a weight that follows the entropy that earlier updates measured."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.schemas import UPDATE_METRICS
from tests.conftest import SMALL, Cli, weights

# The bundled model starts at about 0.4 nats a token.
RISING = ["--set", "update.entropy_target=1", "--set", "update.entropy_coef=0.01"]


def recorded(run: str, step: int) -> tuple[float, float]:
    """The weight, and what of it was in the loss."""
    outputs = read_lineage(Path(f"runs/{run}/steps/{step:06d}/update_metrics.parquet"), UPDATE_METRICS).outputs
    return float(outputs["entropy_coef"]), float(outputs["entropy_bonus"])


def test_a_bonus_keeps_the_entropy_up(cli: Cli) -> None:
    found = []
    for run, coef in (("none", "0"), ("some", "1")):
        flags = ["--set", f"update.entropy_coef={coef}", "--run", f"runs/{run}"]
        assert cli("train", "--steps", "4", *flags, *SMALL).code == 0
        found.append(pq.read_table(f"runs/{run}/metrics.parquet")["entropy"].to_pylist()[-1])
    assert found[1] > found[0]
    # Without a bonus nothing of it is in the lineage: what was made before there was one stays current.
    lineage = read_lineage(Path("runs/none/steps/000000/update_metrics.parquet"), UPDATE_METRICS)
    assert not {"entropy_coef", "entropy_target"} & lineage.config.keys()
    assert "entropy_coef" not in lineage.outputs


def test_its_weight_follows_from_the_update_before(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "4", *RISING, *SMALL).code == 0
    expected = [(0.01, 0.0), (0.015, 0.015), (0.02, 0.02), (0.025, 0.025)]
    assert [recorded("a", step) for step in range(4)] == [pytest.approx(pair) for pair in expected]
    # In two processes, of which the second has the first one's files alone; updates without a checkpoint between them.
    rarely = [*RISING, *SMALL, "--checkpoint-every", "9"]
    for steps in ("3", "4"):
        assert cli("train", "--run", "runs/b", "--steps", steps, *rarely).code == 0
    assert weights("b") == weights("a")
    assert [recorded("b", step) for step in range(4)] == [recorded("a", step) for step in range(4)]
    # Rebuilt from what the updates left, every number of theirs is compared.
    result = cli("fork", "c", "--run", "runs/b", "--step", "2")
    assert result.code == 0, result.err
    assert cli("train", "--run", "runs/c", "--steps", "4").code == 0
    assert weights("c") == weights("a")


def test_a_single_update_has_the_weight_that_train_gave_it(cli: Cli) -> None:
    assert cli("train", "--run", "runs/a", "--steps", "2", *RISING, *SMALL).code == 0
    before = weights("a")
    assert "nothing to do" in cli("update", "--run", "runs/a", "--step", "1").out
    result = cli("update", "--run", "runs/a", "--step", "1", "--force", "--json")
    assert result.code == 0, result.err
    assert (result.json["entropy_coef"], result.json["entropy_bonus"]) == pytest.approx((0.015, 0.015))
    assert weights("a") == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("update.entropy_coef=-1", "update.entropy_coef: must be at least 0, not -1"),
        ("update.entropy_target=0", "update.entropy_target: must be above 0, not 0"),
    ],
)
def test_what_does_not_fit_is_one_line(cli: Cli, flag: str, message: str) -> None:
    result = cli("train", "--run", "runs/x", "--set", flag)
    assert result.code == 2
    assert message in result.err

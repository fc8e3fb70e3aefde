"""FSDP and NCCL on the one card that there is: a rank by itself makes the update of a process without ranks."""

import json
import sys
from pathlib import Path

import pytest

from tests.gpu.conftest import HERE
from tests.gpu.one_rank import OURS
from tests.ranks.conftest import differences_of, run

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def made(device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    done = run(sys.executable, HERE / "one_rank.py", device, out, cwd=out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("case", OURS)
def test_a_rank_by_itself_is_one_process(made: Path, case: str) -> None:
    differences = differences_of(made / "plain" / case, made / "rank" / case)  # a weight moves by up to 3e-5
    limit = 1e-11 if case.startswith("float64") else 1e-6
    assert (differences > limit).float().mean() <= 1e-4
    assert differences.max() <= 10 * limit
    one, other = (json.loads((made / name / f"{case}.json").read_text()) for name in ("plain", "rank"))
    for name in one.keys() - {"micro_batches"}:
        assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-5), name

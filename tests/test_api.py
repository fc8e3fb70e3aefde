"""`open_run`: a run's tables, as docs/python.md describes them."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import rsgrpo_cli
from rsgrpo_cli import open_run
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError
from rsgrpo_cli.schemas import ADVANTAGES, KEYS, METRICS, PROMPTS, REWARDS, ROLLOUTS, UPDATE_METRICS
from tests.conftest import Cli

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def evaluated(cli: Cli, trained: Path) -> Path:
    """A run of two steps with an evaluation of its last policy."""
    settings = ["--num-samples", "4", "--k", "1,4", "--set", "score.workers=1"]
    assert cli("eval", "--run", trained, "--policy", "2", *settings).code == 0
    return trained


def test_the_tables_of_a_step(trained: Path) -> None:
    run = open_run(trained)
    assert (run.name, run.path, run.steps()) == ("trained", trained, [0, 1])
    assert run.config().rollout.group_size == 4
    tables = [run.rollouts(step=1), run.rewards(step=1), run.advantages(step=1)]
    for table, kind in zip(tables, (ROLLOUTS, REWARDS, ADVANTAGES), strict=True):
        assert table.schema.equals(kind.schema)
        assert table.num_rows == 32
        assert table.select(list(KEYS)).equals(tables[0].select(list(KEYS)))
    assert run.update_metrics(step=1).schema.equals(UPDATE_METRICS.schema)
    assert run.metrics().schema.equals(METRICS.schema)
    assert run.metrics()["step"].to_pylist() == [0, 1]
    assert run.prompts().schema.equals(PROMPTS.schema)
    # The mean that the metrics report is that of the rewards.
    means = [pc.mean(run.rewards(step)["reward"]).as_py() for step in run.steps()]
    assert run.metrics()["reward_mean"].to_pylist() == pytest.approx(means)


def test_only_some_columns(trained: Path) -> None:
    table = open_run(str(trained)).rollouts(0, columns=["sample_index", "completion"])
    assert table.column_names == ["sample_index", "completion"]
    with pytest.raises(UsageError, match="rewards have no column 'rewrad'"):
        open_run(trained).rewards(0, ["rewrad"])


def test_a_tagged_artifact_stands_beside_the_runs_own(cli: Cli, trained: Path) -> None:
    assert cli("advantage", "--run", trained, "--step", "0", "--beta", "8", "--tag", "beta8").code == 0
    run = open_run(trained)
    assert not run.advantages(0, tag="beta8")["advantage"].equals(run.advantages(0)["advantage"])


def test_what_is_stale_is_said(cli: Cli, trained: Path) -> None:
    run = open_run(trained)
    assert run.stale(step=0) == []
    assert cli("advantage", "--run", trained, "--step", "0", "--beta", "8", "--force").code == 0
    assert [problem for problem in run.stale(step=0) if "updates of step 0" in problem]


def test_an_evaluation(evaluated: Path) -> None:
    run = open_run(evaluated)
    assert run.evaluations() == [(2, "toy")]
    evaluation = run.evaluation(policy=2, benchmark="toy")
    assert evaluation.rollouts(["prompt_id"]).num_rows == evaluation.rewards().num_rows == 256 * 4
    assert evaluation.problems()["n"].to_pylist() == [4] * 256
    keys = evaluation.rollouts(KEYS)
    assert keys.equals(evaluation.rewards(KEYS))
    assert keys.equals(keys.sort_by([(name, "ascending") for name in KEYS]))
    right = pc.sum(pc.equal(evaluation.rewards()["reward"], 1)).as_py()
    assert pc.sum(evaluation.problems()["correct"]).as_py() == right
    row = next(row for row in evaluation.summary().to_pylist() if (row["metric"], row["k"]) == ("pass", 1))
    assert row["value"] == pytest.approx(right / 1024)
    with pytest.raises(MissingError, match="no evaluation of policy 0 on toy") as missing:
        run.evaluation(0, "toy")
    assert missing.value.hint == "evaluated: policy 2 on toy"


def test_samples_that_were_added_later_stand_where_they_belong(cli: Cli, trained: Path, tmp_path: Path) -> None:
    problems = tmp_path / "two.jsonl"
    problems.write_text('{"problem": "1+1=", "answer": "2"}\n{"problem": "1+2=", "answer": "3"}\n')
    settings = ["--benchmark", problems, "--k", "1", "--set", "score.workers=1"]
    for samples in (2, 70):  # a part holds up to 64 samples of a problem, so this makes three
        assert cli("eval", "--run", trained, "--num-samples", samples, *settings).code == 0
    evaluation = open_run(trained).evaluation(2, "two")
    assert evaluation.rollouts(["sample_index"])["sample_index"].to_pylist() == [*range(70), *range(70)]
    assert evaluation.rewards(KEYS).equals(evaluation.rollouts(KEYS))


def test_what_is_not_there(trained: Path, tmp_path: Path) -> None:
    run = open_run(trained)
    for method in (run.rollouts, run.rewards, run.advantages, run.update_metrics):
        with pytest.raises(MissingError, match="step 7 of run trained has no"):
            method(7)
    with pytest.raises(MissingError, match="rsgrpo eval"):
        run.evaluation(2, "toy")
    with pytest.raises(FileNotFoundError, match="no run at"):
        open_run(tmp_path / "nowhere")


def test_a_damaged_table_is_an_error(trained: Path) -> None:
    path = open_run(trained).directory.advantages(0)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="damaged or cut short"):
        open_run(trained).advantages(0)


def test_the_newest_run_without_a_name(trained: Path) -> None:
    assert open_run().name == "trained"  # the working directory is the one with runs/ in it


def test_reading_changes_nothing(evaluated: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")}
    run = open_run(evaluated)
    for table in (run.rollouts(0), run.metrics(), run.evaluation(2, "toy").summary()):
        assert table.num_rows
    assert {path: path.stat().st_mtime_ns for path in evaluated.rglob("*")} == before


def test_lineage_stays_with_a_table_of_one_file(trained: Path) -> None:
    run = open_run(trained)
    on_disk = pq.read_schema(run.directory.advantages(0)).metadata
    assert run.advantages(0).schema.metadata[b"rsgrpo"] == on_disk[b"rsgrpo"]
    assert run.rollouts(0).schema.metadata is None  # each part has its own


def test_the_page_about_it_runs(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    exec("\n".join(blocks).replace("runs/mine", str(evaluated)), names)
    assert capsys.readouterr().out.startswith("2 toy 1 0.")


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = (
        "import sys, rsgrpo_cli; assert 'open_run' in dir(rsgrpo_cli); light = set(sys.modules); "
        "rsgrpo_cli.open_run; heavy = set(sys.modules); "
        "print('pyarrow' in light, 'rsgrpo_cli.api' in heavy, 'torch' in heavy, 'transformers' in heavy)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "True", "False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'close_run'"):
        rsgrpo_cli.close_run  # noqa: B018

"""`rsgrpo advantage --compare`: what other estimators would make of saved rewards."""

import errno
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.commands.advantage import methods
from rsgrpo_cli.config import DrGrpoConfig, PkpoConfig, RsGrpoConfig, resolve
from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.pipeline import whatif
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import REWARDS
from tests.conftest import Cli

pytest.importorskip("matplotlib")


def run_with(path: Path, groups: Mapping[str, Sequence[float | None]], status: str | None = None) -> RunDir:
    """A run whose step 0 has these rewards."""
    import pyarrow as pa

    rows = [(name, index, value) for name, values in groups.items() for index, value in enumerate(values)]
    statuses = [status or ("skipped" if v is None else "ok" if v == 1 else "wrong") for _, _, v in rows]
    table = pa.table(
        {
            "group_id": [name for name, _, _ in rows],
            "sample_index": pa.array([index for _, index, _ in rows], pa.int32()),
            "reward": pa.array([value for _, _, value in rows], pa.float64()),
            "reward_breakdown": pa.array([[] for _ in rows], REWARDS.schema.field("reward_breakdown").type),
            "reward_status": statuses,
            "extracted_answer": pa.array([None for _ in rows], pa.string()),
        }
    )
    run = RunDir.create(path, resolve({}))
    write_table(run.rewards(0) / "part-00000.parquet", table, REWARDS, Lineage("score", {}, {}))
    return run


def test_the_numbers_of_two_groups(tmp_path: Path) -> None:
    run = run_with(tmp_path / "x", {"a": [1, 0, 0, 0], "b": [1, 1], "c": [None, None]})
    result = whatif.compare(run, 0, [("mean", DrGrpoConfig()), ("double", RsGrpoConfig(beta=0.0))])
    # The group without a reward does not count. a: 0.75, -0.25 three times; b: zeros.
    assert (result["completions"], result["groups"], result["binary"]) == (6, 2, True)
    assert result["constant_groups"] == 0.5
    first, second = result["methods"]
    assert first["rms"] == pytest.approx(math.sqrt((0.75**2 + 3 * 0.25**2) / 8))  # as in metrics.parquet
    assert (first["lowest"], first["highest"]) == (-0.25, 0.75)
    assert first["effective_sample_size"] == pytest.approx(1.5**2 / 0.75)
    assert first["silent_groups"] == 0.5
    assert first["share_by_difficulty"] == [0.0, 1.0, 0.0, 0.0]  # 1/4 belongs to the second fourth
    assert first["by_difficulty"] == [
        {"mean_reward": 0.25, "groups": 1, "weight": 0.375, "right": 0.75, "wrong": -0.25},
        {"mean_reward": 1.0, "groups": 1, "weight": 0.0, "right": 0.0, "wrong": None},
    ]
    assert second["by_difficulty"] == first["by_difficulty"]


def test_rewards_that_are_no_verdicts_stand_against_the_reward(tmp_path: Path) -> None:
    run = run_with(tmp_path / "x", {"a": [0.1 + 0.2, 0.5], "b": [0.3, 0.7]}, status="scored")
    result = whatif.compare(run, 0, [("mean", DrGrpoConfig())])
    assert result["binary"] is False
    # 0.1 + 0.2 and 0.3 differ in their last digit only: one point, of advantages -0.1 and -0.2.
    points = result["methods"][0]["by_reward"]
    assert [round(point["reward"], 9) for point in points] == [0.3, 0.5, 0.7]
    assert [point["completions"] for point in points] == [2, 1, 1]
    assert [point["advantage"] for point in points] == pytest.approx([-0.15, 0.1, 0.2])
    assert "right" not in result["methods"][0]["by_difficulty"][0]


def test_many_different_rewards_are_averaged_in_bins(tmp_path: Path) -> None:
    groups = {f"{i:03d}": [i / 100, i / 50, 0.0] for i in range(100)}
    result = whatif.compare(run_with(tmp_path / "x", groups, status="scored"), 0, [("mean", DrGrpoConfig())])
    points = result["methods"][0]["by_difficulty"]
    assert len(points) == whatif.FEW_POINTS
    assert sum(point["groups"] for point in points) == 100
    places = [point["mean_reward"] for point in points]
    assert places == sorted(places)


def test_what_there_is_nothing_to_say_about(tmp_path: Path) -> None:
    run = run_with(tmp_path / "x", {"a": [None]})
    with pytest.raises(DataError, match="no completion of step 0 has a reward"):
        whatif.compare(run, 0, [("mean", DrGrpoConfig())])
    run = run_with(tmp_path / "y", {"a": [0, 0], "b": [1, 1]})
    (row,) = whatif.compare(run, 0, [("mean", DrGrpoConfig())])["methods"]
    assert (row["silent_groups"], row["share_by_difficulty"]) == (1.0, [0.0] * 4)


def test_names_and_settings() -> None:
    assert methods("rs_grpo:beta=4:denominator=leave_one_out, dr_grpo,pkpo:k=2") == [
        ("rs_grpo beta=4 denominator=leave_one_out", RsGrpoConfig(beta=4.0, denominator="leave_one_out")),
        ("dr_grpo", DrGrpoConfig()),
        ("pkpo k=2", PkpoConfig(k=2)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "unknown estimator 'foo'"),
        ("rs_grpo:k=3", "k is not a setting of estimator rs_grpo"),
        ("rs_grpo:beta", "is not NAME or NAME:KEY=VALUE"),
        ("grpo,", "is not NAME or NAME:KEY=VALUE"),
        ("rs_grpo:beta=x", "beta: must be a number, not 'x'"),
        ("pkpo:variant=t", "variant: must be"),
        ("rs_grpo:schedule=linear:beta_end=4:schedule_steps=9", "takes a beta, not a schedule"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        methods(text)


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_it_prints_and_draws_and_touches_nothing(cli: Cli, trained: Path) -> None:
    before = state(trained)
    spec = "rs_grpo:beta=2,rs_grpo:beta=8,grpo,chen_passk:k=4,entropic_loo:beta=8"
    result = cli("advantage", "--run", trained, "--step", "1", "--compare", spec)
    assert result.code == 0, result.err
    assert result.out.count("rs_grpo beta=") == 2
    assert f"figure: {trained.parent / 'trained-step1-estimators.svg'}" in result.out
    assert (trained.parent / "trained-step1-estimators.svg").read_text().startswith("<?xml")
    assert state(trained) == before
    assert {path.name for path in trained.parent.iterdir()} == {"trained", "trained-step1-estimators.svg"}


def test_json_and_the_step_s_own_numbers(cli: Cli, trained: Path) -> None:
    result = cli("advantage", "--run", trained, "--compare", "rs_grpo,chen_passk", "--figure", "a.png", "--json")
    assert result.code == 0, result.err
    assert (result.json["step"], result.json["figure"]) == (1, "a.png")
    assert Path("a.png").stat().st_size > 10_000
    first = result.json["methods"][0]
    # The run was trained with rs_grpo at its default beta: these are the numbers of its own advantages.
    metrics = pq.read_table(trained / "metrics.parquet").to_pylist()[1]
    assert first["beta"] == metrics["beta"]
    for here, there in (("rms", "advantage_rms"), ("highest", "advantage_max"), ("lowest", "advantage_min")):
        assert first[here] == metrics[there]
    assert first["effective_sample_size"] == metrics["effective_sample_size"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--compare", "grpo", "--beta", "3"], 2, "--compare writes nothing"),
        (["--compare", "grpo", "--tag", "x"], 2, "--compare writes nothing"),
        (["--figure", "x.png"], 2, "--figure draws what --compare finds"),
        (["--compare", "grpo", "--figure", "x.gif"], 2, "cannot draw into x.gif"),
        (["--compare", "chen_passk:k=5"], 1, "chen_passk k=5: chen_passk needs k = 5 rewards or more a group; got 4"),
        (["--compare", "grpo", "--step", "7"], 1, "there are no rewards at"),
    ],
)
def test_what_does_not_work_is_one_line(cli: Cli, trained: Path, arguments: list[str], code: int, message: str) -> None:
    before = state(trained)
    result = cli("advantage", "--run", trained, *arguments)
    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert state(trained) == before
    assert [path.name for path in trained.parent.iterdir()] == ["trained"]


def test_without_matplotlib_there_is_a_table(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = cli("advantage", "--run", trained, "--compare", "grpo")
    assert result.code == 0
    assert "no figure: figures need matplotlib; pip install 'rsgrpo[report]'" in result.out
    assert cli("advantage", "--run", trained, "--compare", "grpo", "--figure", "a.svg").code == 1


def test_the_figure_comes_from_the_result_alone(tmp_path: Path) -> None:
    from rsgrpo_cli.studies.figures import weights

    run = run_with(tmp_path / "x", {"a": [0.3, 0.5, 0.1], "b": [0.9, 0.7, 0.2]}, status="scored")
    result = whatif.compare(run, 0, [("mean", DrGrpoConfig()), ("best of 2", PkpoConfig(k=2))])
    for name in ("one", "two"):
        weights.draw(weights.of_step(result), tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_where_nothing_can_be_written_there_is_a_table(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("rsgrpo_cli.report.figures.write_atomically", denied)
    result = cli("advantage", "--run", trained, "--compare", "grpo")
    assert (result.code, result.err) == (0, "")
    target = trained.parent / "trained-step1-estimators.svg"
    assert "silent" in result.out
    assert f"no figure: Permission denied ({target}); --figure FILE draws elsewhere" in result.out
    assert cli("advantage", "--run", trained, "--compare", "grpo", "--figure", "a.svg").code == 1

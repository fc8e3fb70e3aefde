"""bandit: its tables, its figure, what it refuses and what it does not do twice."""

from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli import schemas
from rsgrpo_cli.artifacts import read_lineage, read_table
from tests.conftest import Cli

SMALL = ["--arms", "20", "--betas", "8,0,8", "--seeds", "2,1", "--samples", "3200"]


def small(*other: str) -> list[str]:
    """SMALL, with other values of some flags or further ones."""
    flags = dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | dict(zip(other[::2], other[1::2], strict=True))
    return [word for flag in flags.items() for word in flag]


def test_tables_and_figure(cli: Cli, tmp_path: Path) -> None:
    result = cli("bandit", *SMALL, "--out", "b", "--figure", "figures/b.png", "--json")
    assert result.code == 0, result.err
    assert [row["beta"] for row in result.json["betas"]] == [0, 8]
    assert (tmp_path / "figures/b.png").read_bytes()[:4] == b"\x89PNG"
    runs = read_table(tmp_path / "b/runs.parquet", schemas.BANDIT_RUNS)
    curves = read_table(tmp_path / "b/curves.parquet", schemas.BANDIT_CURVES)
    policies = read_table(tmp_path / "b/policies.parquet", schemas.BANDIT_POLICIES)
    assert list(zip(runs["beta"].to_pylist(), runs["seed"].to_pylist(), strict=True)) == [
        (0, 1),
        (0, 2),
        (8, 1),
        (8, 2),
    ]
    # 200 updates are all recorded, and the start.
    assert (curves.num_rows, policies.num_rows) == (4 * 201, 4 * 20)
    last = curves.to_pylist()[200]
    assert (last["samples"], last["expected_reward"]) == (3200, runs["expected_reward"][0].as_py())
    expected = sum(row["probability"] * row["reward"] for row in policies.slice(0, 20).to_pylist())
    assert runs["expected_reward"][0].as_py() == pytest.approx(expected)
    lineage = read_lineage(tmp_path / "b/runs.parquet", schemas.BANDIT_RUNS)
    assert (lineage.stage, lineage.config["betas"], lineage.config["group_size"]) == ("bandit", [0, 8], 16)


def test_equal_settings_leave_equal_bytes_and_are_not_played_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("bandit", *SMALL, "--out", "a").code == 0
    assert cli("bandit", *SMALL, "--out", "b").code == 0
    for name in ("runs.parquet", "curves.parquet", "policies.parquet", "bandit.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    (tmp_path / "a/bandit.svg").unlink()
    (tmp_path / "b/curves.parquet").unlink()
    played = []
    from rsgrpo_cli.experiments import bandit

    play = bandit.play

    def counted(*arguments: Any) -> Any:
        played.append(1)
        return play(*arguments)

    monkeypatch.setattr(bandit, "play", counted)
    assert cli("bandit", *SMALL, "--out", "a").code == 0
    assert (played, (tmp_path / "a/bandit.svg").exists()) == ([], True)
    assert cli("bandit", *SMALL, "--out", "b").code == 0
    assert (played, (tmp_path / "b/curves.parquet").exists()) == ([1], True)


def test_runs_with_other_settings_are_not_lost(cli: Cli, tmp_path: Path) -> None:
    assert cli("bandit", *SMALL, "--out", "b").code == 0
    before = (tmp_path / "b/runs.parquet").read_bytes()
    result = cli("bandit", *small("--seeds", "3", "--out", "b"))
    assert result.code == 1
    assert "b holds runs with other settings: seeds 1,2" in result.err
    assert "--force" in result.err
    assert (tmp_path / "b/runs.parquet").read_bytes() == before
    assert cli("bandit", *small("--seeds", "3", "--out", "b"), "--force").code == 0
    assert read_table(tmp_path / "b/runs.parquet", schemas.BANDIT_RUNS)["seed"].to_pylist() == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--betas", "0,x"], "--betas '0,x' is not a list of numbers"),
        (["--betas", "nan"], "--betas 'nan' is not a list of numbers"),
        (["--betas", "1e7"], "--betas '1e7' is not a list of numbers up to 1e6"),
        (["--seeds", "-1"], "--seeds '-1' is not a list of whole numbers"),
        (["--seeds", "1.5"], "--seeds '1.5' is not a list of whole numbers"),
        (["--seeds", ""], "--seeds '' is not a list of whole numbers"),
        (["--arms", "1"], "--arms: must be at least 2, not '1'"),
        (["--arms", "100000000000"], "--arms 100,000,000,000 is too many at most 1,000,000"),
        (["--arms", "1e11"], "--arms: must be a whole number, not '1e11'"),
        (["--arms", "1000000", "--betas", ",".join(map(str, range(50)))], "1,000,000 arms in 100 runs are too many"),
        (["--samples", "8"], "--samples: must be at least 16, not '8'"),
        (["--samples", "1000000000000000"], "--samples 1,000,000,000,000,000 is too many"),
        (["--figure", "b.gif"], "cannot draw into b.gif"),
    ],
)
def test_bad_input(cli: Cli, tmp_path: Path, arguments: list[str], text: str) -> None:
    result = cli("bandit", *small(*arguments))
    assert (result.code, result.out) == (2, "")
    assert text in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_directory(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("precious")
    result = cli("bandit", *SMALL, "--out", "notes", "--figure", "b.svg")
    assert (result.code, "--out notes is a file" in result.err) == (2, True)
    assert (tmp_path / "notes").read_text() == "precious"


def test_without_matplotlib_it_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.commands.bandit.find_spec", lambda name: None)
    result = cli("bandit", *SMALL, "--out", "b")
    assert (result.code, "no figure: matplotlib is not installed" in result.err) == (0, True)
    assert not (tmp_path / "b/bandit.svg").exists()

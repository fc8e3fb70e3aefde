"""`rsgrpo figure`, as a user calls it."""

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import CELL_METRICS
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.figures.kinds import KINDS
from tests.conftest import Cli
from tests.studies.test_groups import keep, result

METRICS = dict.fromkeys(CELL_METRICS, 0.5)


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A base model and two methods, with two seeds each."""
    made = [result(f"base-seed{seed}", seed, [1, 1, 1, 0], steps=0) for seed in (0, 1)]
    made += [result(f"beta4-seed{seed}", seed, [4, 2, seed, 0], advantage__beta=4) for seed in (0, 1)]
    made += [result(f"beta8-seed{seed}", seed, [4, 1, seed, 2], advantage__beta=8) for seed in (0, 1)]
    trained = [
        one if one.is_base else replace(one, metrics=[METRICS | {"step": step} for step in (0, 1)]) for one in made
    ]
    return keep(tmp_path / "study", *trained)


def test_a_run_and_what_is_kept_of_it_give_the_same_figure(cli: Cli, tmp_path: Path, trained: Path) -> None:
    results.write(tmp_path / "kept.parquet", results.of_run(RunDir(trained)))
    for place, name in ((trained, "run.svg"), ("kept.parquet", "kept.svg")):
        assert cli("figure", "training", place, "--out", name).code == 0
    assert (tmp_path / "run.svg").read_bytes() == (tmp_path / "kept.svg").read_bytes()


@pytest.mark.parametrize(
    ("kind", "suffix"), [*((kind, ".svg") for kind in KINDS), ("passk", ".pdf"), ("passk", ".png")]
)
def test_equal_data_give_equal_bytes(cli: Cli, tmp_path: Path, study: str, kind: str, suffix: str) -> None:
    for name in ("one", "two"):
        drawn = cli("figure", kind, study, "--out", f"{name}{suffix}", "--json")
        assert drawn.code == 0, drawn.err
        assert drawn.json["figure"] == f"{name}{suffix}"
        assert drawn.json["caption"]
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_a_figure_that_cannot_be_written_leaves_the_old_one(cli: Cli, tmp_path: Path, study: str) -> None:
    target = tmp_path / "mine.svg"
    target.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        failed = cli("figure", "passk", study, "--out", target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (failed.code, f"cannot write {target}: a file would be larger" in failed.err) == (1, True), failed.err
    assert "ulimit -f unlimited" in failed.err
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_figure_has_a_name_unless_one_is_given(cli: Cli, tmp_path: Path, study: str) -> None:
    assert "figure: passk.svg" in cli("figure", "passk", study).out
    assert (tmp_path / "passk.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "told", "hint"),
    [
        (["pie", "study/"], "pie is not a kind of figure", "choose one of: passk, "),
        (["passk", "study/", "--out", "a.gif"], "cannot draw into a.gif", ".svg, .png or .pdf"),
        (["passk", "study/", "--smooth", "3"], "--smooth does nothing to this figure", "it is for training"),
        (["passk", "none"], "no run, sweep or results at none", "rsgrpo ls"),
        (["passk", "study/", "--k", "1,8"], "pass@8 needs 8 samples", "choose k up to 4"),
        (["frontier", "study/", "--k", "1"], "frontier draws one k against another", "--k 1,256"),
        (["transitions", "study/beta4-seed0.parquet"], "beta4-seed0 has no evaluation of it", "--baseline LABEL"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    cli: Cli, tmp_path: Path, study: str, arguments: list[str], told: str, hint: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    refused = cli("figure", *arguments)
    assert refused.code in (1, 2)
    assert told in refused.err.splitlines()[0]
    assert hint in refused.err.splitlines()[1]
    assert sorted(tmp_path.rglob("*")) == before

"""A sweep where runs are asked for."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.report.html import collect
from rsgrpo_cli.report.sweeps import each_run
from rsgrpo_cli.run.run_dir import RunDir
from tests.conftest import Cli
from tests.report.html.test_page import read
from tests.report.html.written import AFTER, ASKED, new_run, sweep_of_runs, write_evaluation


def test_a_sweep_stands_for_its_cells(cli: Cli) -> None:
    cells = sweep_of_runs(Path("runs/s"))
    assert each_run(["s", "x=runs/other@3"]) == [*(str(run.path) for run in cells), "x=runs/other@3"]
    assert each_run(["A=s@3"]) == [
        "A beta1=runs/s/beta1-seed0@3", "A beta1=runs/s/beta1-seed1@3",
        "A beta2=runs/s/beta2-seed0@3", "A beta2=runs/s/beta2-seed1@3",
    ]  # fmt: skip
    data, _ = read(collect.page(["s"]))
    assert [(arm["label"], arm["policies"]) for arm in data["arms"]] == [
        ("base model", [0, 0]), ("beta1@6, 2 seeds", [6, 6]), ("beta2@6, 2 seeds", [6, 6]),
    ]  # fmt: skip
    assert [arm["label"] for arm in read(collect.page(["A=s@3"]))[0]["arms"]] == ["base model", "A beta1", "A beta2"]


def test_a_label_is_that_of_seeds_alone(cli: Cli) -> None:
    for seed in (0, 1):
        write_evaluation(new_run(Path(f"runs/s/a-seed{seed}"), ASKED, seed=seed), 2, ASKED, AFTER)
    assert each_run(["A=s"]) == ["A=runs/s/a-seed0", "A=runs/s/a-seed1"]
    (arm,) = read(collect.page(["A=s"]))[0]["arms"]
    assert (arm["label"], arm["seeds"]) == ("A", 2)


def test_a_run_of_a_user_may_be_called_nearly_as_a_base_model(cli: Cli) -> None:
    for name in ("base-seed-test", "base-seed0-ab12"):
        write_evaluation(new_run(Path("runs/s") / name, ASKED), 0, ASKED, AFTER)
    assert each_run(["s"]) == ["runs/s/base-seed-test"]
    assert [(run["name"], run["wanted"]) for run in cli("ls", "s", "--json").json["runs"]] == [
        ("base-seed-test", 9),
        ("base-seed0-ab12", 0),
    ]


def test_a_run_that_was_forked_stays_one_of_the_folder(cli: Cli) -> None:
    trained = new_run(Path("runs/s/x"), ASKED)
    trained.checkpoint(1).mkdir(parents=True)
    (trained.checkpoint(1) / "manifest.json").write_text("{}")
    RunDir.create(Path("runs/s/y"), trained.config(), forked_from={"run": "runs/s/x", "step": 1})
    assert each_run(["s"]) == ["runs/s/x", "runs/s/y"]


def test_commands_take_a_sweep_or_name_its_runs(cli: Cli) -> None:
    sweep_of_runs(Path("runs/s"))
    assert cli("report", "s", "--html", "s.html").code == 0
    assert Path("s.html").read_bytes() == collect.page(["s"])
    table = cli("report", "A=s").out
    assert "A beta1, beta1-seed0" in table
    for words in (["status", "s"], ["diff", "s", "s/beta1-seed0"], ["show", "--run", "s"]):
        refused = cli(*words)
        assert refused.code == 1
        assert "runs/s is a sweep, not a run" in refused.err
        assert "name one of its runs: s/base-seed0-ab12, s/base-seed1-ab12, s/beta1-seed0, " in refused.err


def test_view_shows_further_cells_of_a_sweep(tmp_path: Path) -> None:
    sweep_of_runs(tmp_path / "s")
    words = [sys.executable, "-m", "rsgrpo_cli", "view", str(tmp_path / "s"), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = json.loads(server.stdout.readline())["url"]
        opened = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        assert b"beta3" not in opened(address).read()
        write_evaluation(new_run(tmp_path / "s/beta3-seed0", ASKED, advantage__beta=3.0), 6, ASKED, AFTER)
        assert b"beta3-seed0@6" in opened(address).read()
        server.terminate()
        assert server.wait(20) == 0


def test_results_without_runs_are_for_compare(cli: Cli) -> None:
    Path("kept").mkdir()
    Path("kept/a.parquet").touch()
    with pytest.raises(MissingError) as refused:
        each_run(["kept"])
    assert refused.value.hint == "the results are shown by: rsgrpo compare kept"


def test_a_long_sweep_is_named_in_part(cli: Cli) -> None:
    for number in range(10):
        new_run(Path(f"runs/s/cell{number}"), ASKED)
    assert "s/cell7 and 2 more; " in cli("status", "s").err

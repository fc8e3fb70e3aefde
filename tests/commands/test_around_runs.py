"""du, diff, recipes, doctor and demo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rsgrpo_cli.commands import demo
from rsgrpo_cli.errors import EngineError
from rsgrpo_cli.planning import checks
from rsgrpo_cli.studies import canary
from tests.conftest import SMALL, Cli


def test_du_says_what_a_run_takes_and_for_what(cli: Cli, trained: Path) -> None:
    data = cli("du", trained, "--json").json
    files = [path for path in trained.rglob("*") if path.is_file()]
    assert data["bytes"] == data["runs"][0]["bytes"] == sum(path.stat().st_size for path in files)
    assert {"checkpoints", "trainer states", "rollouts"} <= {kind["kind"] for kind in data["runs"][0]["kinds"]}
    assert "checkpoints" in cli("du", trained).out


def test_du_counts_what_forks_share_once(cli: Cli, trained: Path) -> None:
    assert cli("fork", "runs/fork", "--run", trained, "--beta", "8").code == 0
    data = cli("du", "--json").json
    assert [Path(run["run"]).name for run in data["runs"]] == ["fork", "trained"]
    each = [run["bytes"] for run in data["runs"]]
    assert max(each) < data["bytes"] < sum(each)


def test_diff_names_settings_and_results(cli: Cli, trained: Path) -> None:
    assert cli("train", "--run", "runs/other", "--steps", "1", *SMALL, "--beta", "8").code == 0
    data = cli("diff", trained, "runs/other", "--json").json
    assert data["settings"] == {"advantage.beta": [2.0, 8.0], "train.steps": [2, 1]}
    assert data["results"]["steps done"] == [2, 1]
    # Of the newest step that both have: the first one, whose samples are the same.
    assert len(set(data["results"]["reward_mean of step 0"])) == 1
    text = cli("diff", trained, "runs/other").out
    assert "advantage.beta" in text
    assert "the settings are the same" in cli("diff", trained, trained).out
    for places in ((f"{trained}@1", f"{trained}@2"), (trained, f"{trained}@2")):
        refused = cli("diff", *places)
        assert (refused.code, "diff is of whole runs" in refused.err) == (2, True)
        assert f"rsgrpo compare {places[0]} {places[1]}" in refused.err
    assert "this takes a whole run, without a policy: trained" in cli("status", "trained@2").err


def test_diff_sends_on_to_compare_where_there_are_evaluations(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "-n", "1", "--k", "1").code == 0
    data = cli("diff", trained, trained, "--json").json
    assert data["results"]["pass@1 of policy 2 on toy"][0] is not None
    command = data["notes"][-1].partition("rsgrpo ")[2].split()
    assert cli(*command).code == 0


def test_recipes_are_listed_printed_and_copied(cli: Cli) -> None:
    models = [recipe["model"] for recipe in cli("recipes", "--json").json["recipes"]]
    assert "toy" in models
    for model in models:
        assert "[rollout]" in cli("recipes", model).out
    assert cli("recipes", "toy", "--copy", "mine.toml").code == 0
    assert cli("train", "--config", "mine.toml", "--dry-run").code == 0
    again = cli("recipes", "toy", "--copy", "mine.toml")
    assert (again.code, "is there already" in again.err) == (2, True)
    unknown = cli("recipes", "nobody/nothing")
    assert (unknown.code, "rsgrpo recipes lists" in unknown.err) == (1, True)


def test_the_doctor_finds_this_installation_sound(cli: Cli) -> None:
    found = {check["name"]: check for check in cli("doctor", "--offline", "--json").json["checks"]}
    assert {
        "Python",
        "torch",
        "vllm",
        "duckdb",
        "matplotlib",
        "memory",
        "disk",
        "Hub",
        "GPU",
        "short run",
    } <= found.keys()
    assert not [check for check in found.values() if check["state"] == "problem"]
    device = "GPU" if torch.cuda.is_available() else "CPU"
    assert found["short run"]["found"].startswith(f"one step of the bundled model on the {device} in ")


def test_the_doctor_tries_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = checks._short_run()
    assert (found.state, "on the GPU in" in found.found) == ("ok", True)
    assert ran[0][ran[0].index("--device") + 1] == "auto"


def test_the_doctor_says_why_the_short_run_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "warning: the disk is slow\nerror: no space left to write steps\n  free some space\n"
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", told))
    found = checks._short_run()
    assert (found.state, found.found) == ("problem", "no space left to write steps")
    assert found.advice.startswith("free some space; the command: ")
    with pytest.raises(EngineError) as failed:
        canary.measure()
    assert failed.value.message == "the bundled model does not train: no space left to write steps"
    assert failed.value.hint == "free some space"


def test_the_doctor_compares_with_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.pinned_versions()["math-verify"]
    monkeypatch.setattr(checks, "pinned_versions", lambda: {"numpy": "2.3.5", "torch": "2.13.0"})
    for have, state in (("2.3.5", "ok"), ("2.3.5+cpu", "ok"), ("2.1.0", "ok"), ("3.0.0", "warning")):
        monkeypatch.setattr(checks, "version", lambda name, have=have: have)
        found = checks.package("numpy")
        assert (found.state, found.found) == (state, f"{have} (tested with 2.3.5)")


def test_the_doctor_does_not_call_a_package_ok_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    monkeypatch.setattr(checks, "_short_run", lambda: checks.Check("short run", "ok", ""))
    lines = cli("doctor", "--offline").out.splitlines()
    for name, extra in (("vllm", "vllm"), ("duckdb", "sql"), ("matplotlib", "report")):
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.split()[1:4] == ["-", "not", "installed;"]
        assert f"pip install 'rsgrpo[{extra}]'" in line


def test_what_is_missing_ends_with_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NEEDED", ("a-package-that-nobody-has",))
    monkeypatch.setattr(checks, "_short_run", lambda: checks.Check("short run", "ok", "not here"))
    result = cli("doctor", "--offline")
    assert (result.code, "pip install a-package-that-nobody-has" in result.err) == (1, True)
    told = json.loads(cli("doctor", "--offline", "--json").out)  # one object
    assert "pip install a-package-that-nobody-has" in told["hint"]
    assert [check["name"] for check in told["checks"] if check["state"] == "problem"] == ["a-package-that-nobody-has"]


def test_a_hub_that_cannot_be_reached_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    found = checks._hub(offline=False)
    assert (found.state, "cannot be reached" in found.found) == ("warning", True)


def test_the_demo_goes_through_its_commands(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(demo, "_run", lambda words, *, silent: ran.append(words))
    assert cli("demo", "--steps", "3", "--samples", "20").code == 0
    assert [words[1] for words in ran] == ["train", "train", "eval", "eval", "eval", "compare", "report", "report"]
    assert all(words[words.index("--k") + 1] == "1,16" for words in ran[2:6])


def test_a_demo_that_fails_says_so(cli: Cli) -> None:
    Path("runs").mkdir()
    Path("runs/demo-grpo").write_text("in the way")
    result = cli("demo", "--steps", "1", "--samples", "1")
    assert (result.code, "rsgrpo train ended with 2" in result.err) == (1, True)


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rsgrpo_cli", "demo", "--steps", "1", "--samples", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pass@1" in done.stdout
    assert done.stderr.count("$ rsgrpo ") == 8
    assert (tmp_path / "runs/demo.html").is_file()

"""What stands beside a run's own damaged: what has a tag, places on the line to a policy, lists of second graders."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, run_quietly
from tests.faults.damages import DAMAGES, LONG, cut, deleted, flipped, foreign, wrong_json
from tests.faults.test_damage import check_found, follow, kinds

BESIDE = (".x", ".lr", "at0.5", "/audit.")
TOP = ["--run", "runs/beside"]
EVAL = ["eval", *TOP, "--benchmark", "held.jsonl", "-n", "2", "--k", "1"]
COMMANDS = (
    ["rollout", *TOP, "--step", "1", "--tag", "x"],
    ["score", *TOP, "--step", "1", "--tag", "x"],
    ["advantage", *TOP, "--step", "1", "--tag", "x", "--beta", "8"],
    ["update", *TOP, "--step", "1", "--tag", "lr", "--learning-rate", "1e-4"],
    [*EVAL, "--policy", "2.lr"],
    [*EVAL, "--policy", "2", "--interpolate", "0.5"],
    [*EVAL, "--policy", "2", "--tag", "x", "--temperature", "0.7"],
    ["eval", *TOP, "--benchmark", "held.jsonl", "--policy", "2.lr", "--audit-with", "graders:never"],
    ["score", *TOP, "--step", "1", "--audit-with", "graders:never"],
)


@pytest.fixture(scope="module")
def beside_once(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two steps that has something of every kind beside its own, and what made it."""
    folder = tmp_path_factory.mktemp("beside")
    shutil.copytree(trained_once, folder / "runs" / "beside")
    (folder / "graders.py").write_text("def never(completions, **columns):\n    return [0.0 for _ in completions]\n")
    problems = [{"problem": f"What is {n} + {n}?", "answer": str(2 * n)} for n in (1, 2)]
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    for command in COMMANDS:
        run_quietly(folder, *command)
    return folder


@pytest.fixture
def beside(cli: Cli, beside_once: Path, tmp_path: Path) -> Path:
    """The run, in the folder of a test."""
    shutil.copytree(beside_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs" / "beside"


def names(run: Path) -> list[str]:
    """One file of each kind that is not the run's own."""
    return [name for name in kinds(run) if any(mark in name for mark in BESIDE)]


def restore(run: Path, beside_once: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(beside_once / "runs" / "beside", run)


def is_spared(name: str) -> bool:
    """Without these a run is as if they had never been asked for: nothing is made from them."""
    single = ("/audit.", "advantages.x", "rewards.x/", "policy_logprobs", "benchmarks/", "rollouts.x/manifest")
    return any(part in name for part in single)


def test_there_is_one_of_every_kind_and_it_is_sound(cli: Cli, beside: Path) -> None:
    found = names(beside)
    for part in (
        *("rollouts.x/part", "rewards.x/part", "advantages.x", "update_metrics.lr", "policy_logprobs.lr"),
        *("checkpoints/000002.lr/model", "evals/000002.lr/held/summary", "evals/000002at0.5/held/summary"),
        *("evals/000002/held.x/summary", "evals/000002.lr/held/audit.", "steps/000001/audit.", "benchmarks/held.x"),
    ):
        assert any(part in name for name in found), part
    result = cli("verify", beside)
    assert result.code == 0, result.out


def test_verify_finds_damage_beside_the_run(cli: Cli, beside: Path, beside_once: Path) -> None:
    damages = (flipped, cut, deleted, wrong_json)
    for number, name in enumerate(names(beside)):
        damage = damages[number % len(damages)]
        damage = cut if damage is deleted and is_spared(name) else damage
        damage(beside / name, beside)
        check_found(cli, beside, name, damage)
        restore(beside, beside_once)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("evals/000002.lr/held/summary.parquet", "evals/000002at0.5/held/summary.parquet"),
        ("evals/000002.lr/held/rollouts", "evals/000002at0.5/held/rollouts"),
        ("steps/000001/update_metrics.lr.parquet", "steps/000000/update_metrics.parquet"),
        ("steps/000001/advantages.x.parquet", "steps/000000/advantages.parquet"),
        ("steps/000001/rewards.x", "steps/000000/rewards"),
        ("steps/000001/rollouts.x", "steps/000000/rollouts"),
        ("checkpoints/000002.lr", "checkpoints/000002"),
        ("evals/000002.lr/held/audit.graders-never.parquet", "steps/000001/audit.graders-never.parquet"),
        ("steps/000001/audit.graders-never.parquet", "evals/000002.lr/held/audit.graders-never.parquet"),
        ("evals/000002/held.x/audit.graders-never.parquet", "evals/000002.lr/held/audit.graders-never.parquet"),
    ],
)
def test_verify_finds_what_is_of_something_else(cli: Cli, beside: Path, name: str, other: str) -> None:
    place = beside / name
    if place.is_dir():
        shutil.rmtree(place)
        shutil.copytree(beside / other, place)
    else:
        shutil.copyfile(beside / other, place)
    result = cli("verify", beside, "--no-load")
    assert result.code == 1, result.out
    assert "bug" not in result.out + result.err
    if "audit" in name:
        assert result.out.startswith(f"{place} is from different rewards than those beside it: move it away")
        follow_all(cli, beside)


@pytest.mark.parametrize(
    "name",
    [
        *("benchmarks/held.x.parquet", "evals/000002/held.x/rollouts/part-00000-00002-00000.parquet"),
        *("evals/000002at0.5/held/problems.parquet", "evals/000002.lr/held/summary.parquet"),
        *("evals/000002.lr/held/audit.graders-never.parquet", "checkpoints/000002.lr/model.safetensors"),
        *("steps/000001/update_metrics.lr.parquet", "steps/000001/rollouts.x/part-00000.parquet"),
    ],
)
def test_the_way_out_of_damage_beside_the_run_works(cli: Cli, beside: Path, name: str) -> None:
    flipped(beside / name, beside)
    follow_all(cli, beside)


@pytest.mark.parametrize("name", ["evals/000002.lr/held", "evals/000002at0.5/held", "evals/000002/held.x"])
def test_a_whole_evaluation_that_is_gone_is_missed(cli: Cli, beside: Path, name: str) -> None:
    shutil.rmtree(beside / name)
    (finding,) = cli("verify", beside, "--no-load", "--json").json["runs"][0]["findings"]
    assert finding["what"].startswith(f"{beside / name} is gone")
    log = beside / "events.jsonl"
    assert f"or take its line out of {log}: rsgrpo eval" in finding["hint"]
    kept = log.read_text()
    lines = [line for line in kept.splitlines() if not _is_of(json.loads(line), name)]
    log.write_text("\n".join(lines) + "\n")
    assert cli("verify", beside, "--no-load").code == 0
    log.write_text(kept)
    follow_all(cli, beside)
    assert (beside / name / "summary.parquet").is_file()


def _is_of(event: dict[str, Any], name: str) -> bool:
    """Whether a line of the log is of an evaluation, by what is said in the name of its directory."""
    _, place, benchmark = name.split("/")
    told = (event.get("benchmark"), event.get("interpolation"), event.get("tag"))
    tag = "lr" if ".lr" in place else "x" if benchmark.endswith(".x") else None
    return event["stage"] == "eval" and told == (benchmark, "0.5" if "at0.5" in place else None, tag)


def test_an_evaluation_without_its_tables_is_summed_up_again(cli: Cli, beside: Path) -> None:
    folder = beside / "evals/000002.lr/held"
    for path in folder.glob("*.parquet"):
        path.unlink()
    (finding,) = cli("verify", beside, "--no-load", "--json").json["runs"][0]["findings"]
    assert finding["what"] == f"{folder}/summary.parquet is gone"
    assert finding["hint"].startswith("sum it up again: rsgrpo eval")
    follow_all(cli, beside)


@pytest.mark.parametrize("names", [["summary.parquet"], ["summary.parquet", "problems.parquet"]])
def test_to_sum_up_again_nothing_is_sampled(cli: Cli, beside: Path, names: list[str]) -> None:
    folder = beside / "evals/000002.lr/held"
    for name in names:
        (folder / name).unlink()
    (finding,) = cli("verify", beside, "--no-load", "--json").json["runs"][0]["findings"]
    assert "--num-samples 2" in finding["hint"]
    assert ("--k 1" in finding["hint"]) == (len(names) == 1)  # the samples alone do not tell which k was asked for
    result = cli(*shlex.split(finding["hint"].rpartition("rsgrpo ")[2]))
    assert (result.code, "sampling" in result.err, "0 completions sampled" in result.out) == (0, False, True)


def test_a_copy_that_a_user_made_of_a_part_is_none_of_ours(cli: Cli, beside: Path) -> None:
    parts = beside / "evals/000002.lr/held/rollouts"
    shutil.copyfile(next(parts.glob("*.parquet")), parts / "part-backup.parquet")
    assert cli("verify", beside, "--no-load").code == 0


def test_the_file_of_an_evaluation_that_is_gone_is_in_the_log(cli: Cli, beside: Path) -> None:
    shutil.rmtree(beside / "evals")
    hints = [one["hint"] for one in cli("verify", beside, "--no-load", "--json").json["runs"][0]["findings"]]
    assert hints
    assert all("--benchmark held.jsonl" in hint for hint in hints if "held" in hint), hints


@pytest.mark.parametrize(
    "event",
    [
        {"policy": 9, "benchmark": "held"},
        {"policy": True, "benchmark": "held"},
        {"policy": 2, "benchmark": "../held"},
        {"policy": 2, "benchmark": 5},
        {"benchmark": "held"},
        {"policy": 2, "benchmark": "held", "interpolation": "nan"},
        {"policy": 2, "benchmark": "held", "interpolation": []},
        {"policy": 2, "benchmark": "held", "tag": "no-such"},
        {"policy": 2, "benchmark": "held", "tag": []},
    ],
)
def test_an_odd_line_of_the_log_is_no_evaluation_that_is_gone(cli: Cli, beside: Path, event: dict[str, Any]) -> None:
    with open(beside / "events.jsonl", "a") as file:
        file.write(json.dumps({"stage": "eval", "seconds": 1.0, **event}) + "\n")
    assert cli("verify", beside, "--no-load").code == 0


def test_a_fork_misses_no_evaluation_of_its_source(cli: Cli, beside: Path) -> None:
    shutil.rmtree(beside / "evals/000002at0.5")
    assert cli("fork", "branch", "--run", beside, "--step", "2").code == 0
    assert cli("verify", "branch", "--no-load").code == 0


def test_a_command_on_a_damaged_evaluation_names_the_way_out(cli: Cli, beside: Path) -> None:
    report = ["report", f"{beside}@2.lr", "--benchmark", "held"]
    problems = beside / "evals/000002.lr/held/problems.parquet"
    flipped(problems, beside)
    refused = cli(*report)
    assert refused.code == 1
    assert f"{problems} is damaged" in refused.err
    assert f"rsgrpo verify {beside}" in refused.err
    problems.unlink()
    gone = cli(*report)
    assert gone.code == 1
    follow(cli, beside, " ".join(gone.err.splitlines()))
    assert cli(*report).code == 0


def follow_all(cli: Cli, run: Path) -> None:
    """Do what the first finding says until there is none."""
    for _ in range(4):
        result = cli("verify", run, "--no-load")
        if result.code == 0:
            return
        follow(cli, run, result.out.splitlines()[0])
    assert cli("verify", run, "--no-load").code == 0, result.out


@LONG
@pytest.mark.slow
def test_every_way_out_beside_the_run_works(cli: Cli, beside: Path, beside_once: Path) -> None:
    for name in names(beside):
        for damage in DAMAGES:
            if damage is foreign or (damage is deleted and is_spared(name)):
                continue
            damage(beside / name, beside)
            check_found(cli, beside, name, damage)
            follow_all(cli, beside)
            restore(beside, beside_once)

"""`rsgrpo ls` and `rsgrpo rm`, as a user calls them."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsgrpo_cli import disk
from rsgrpo_cli.config import resolve
from rsgrpo_cli.pipeline.policy_files import TRANSIENT
from rsgrpo_cli.pipeline.ranks.together import PLACE
from rsgrpo_cli.pipeline.spread.ray_ranks import NAME as RAY
from rsgrpo_cli.run import layout
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import CELL_METRICS
from rsgrpo_cli.studies import removal
from rsgrpo_cli.studies.results import Result
from rsgrpo_cli.studies.sweep import Sweep
from tests.conftest import Cli
from tests.run_on_disk import new_run, write_step
from tests.studies.test_groups import keep, result


@pytest.fixture
def sweep(cli: Cli, tmp_path: Path) -> Path:
    """A sweep with a base model, two cells and a log; the first cell has a step."""
    place = tmp_path / "runs" / "s"
    RunDir.create(place / "base-seed0-1a2b", resolve({"seed": 0}))
    for beta in (2, 4):
        write_step(new_run(place / f"beta{beta}-seed0", advantage__beta=beta, train__steps=3), 0)
    (place / "logs").mkdir()
    (place / "logs" / "beta2-seed0.log").write_text("step 0\n")
    return place


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_runs_are_listed_with_the_settings_in_which_they_differ(cli: Cli, sweep: Path) -> None:
    listed = cli("ls", "s", "--json").json
    assert [run["name"] for run in listed["runs"]] == ["base-seed0-1a2b", "beta2-seed0", "beta4-seed0"]
    assert [run["settings"] for run in listed["runs"][1:]] == [{"advantage.beta": 2}, {"advantage.beta": 4}]
    assert [(run["steps"], run["wanted"]) for run in listed["runs"]] == [(0, 0), (0, 3), (0, 3)]
    assert "beta4-seed0" in cli("ls", "s").out
    assert "sweep runs/s: 3 runs" in cli("ls").out


def test_beta_has_a_column_however_many_settings_differ(cli: Cli, tmp_path: Path) -> None:
    others: dict[str, Any] = {"prepare__dataset": "sums", "rollout__group_size": 4, "rollout__prompts_per_step": 4}
    new_run(tmp_path / "runs/a", advantage__beta=2)
    new_run(tmp_path / "runs/b", advantage__beta=4, model__dtype="bfloat16", **others)
    headings = cli("ls").out.splitlines()[1].split()
    assert headings.index("beta") < headings.index("dataset")


def test_no_two_columns_are_called_alike(cli: Cli, tmp_path: Path) -> None:
    new_run(tmp_path / "runs/a", score__reward="math", model__name="toy-hard")
    new_run(tmp_path / "runs/b", score__reward="auto")
    headings = cli("ls").out.splitlines()[1].split()
    assert headings[:3] == ["run", "steps", "reward"]
    assert {"model.name", "score.reward"} <= set(headings[3:])
    order = [row["name"] for row in cli("ls", "--sort", "score.reward", "--json").json["runs"]]
    assert order == ["b", "a"]


def test_a_run_has_its_last_reward_and_its_newest_evaluation(cli: Cli, trained: Path) -> None:
    (row,) = cli("ls", "--json").json["runs"]
    metrics = cli("status", "--run", trained, "--json").json
    assert (row["steps"], row["wanted"], row["holder"]) == (metrics["steps_done"], metrics["steps_wanted"], "")
    assert 0 <= row["reward"] <= 1
    assert row["passed"] == {}
    with RunDir(trained).lock(print):
        assert "trained *" in (held := cli("ls").out)
        assert "* trained is in use by process" in held


def test_small_results_are_listed_and_sorted(cli: Cli, tmp_path: Path) -> None:
    made = [result(f"beta{beta}-seed0", 0, right, advantage__beta=beta) for beta, right in ((2, [1, 0]), (4, [4, 1]))]
    keep(tmp_path / "kept", *made, result("base-seed0-1a2b", 0, [2, 1], steps=0))

    def order(column: str) -> list[str]:
        return [run["name"][:5] for run in cli("ls", "./kept", "--sort", column, "--json").json["runs"]]

    assert order("name") == ["base-", "beta2", "beta4"]
    assert order("pass@1") == ["beta4", "base-", "beta2"]  # .625, .375, .125
    assert order("beta") == order("advantage.beta") == ["beta2", "beta4", "base-"]
    assert [run["passed"] for run in cli("ls", "./kept", "--json").json["runs"]][1]["1"] == pytest.approx(0.125)
    refused = cli("ls", "./kept", "--sort", "colour")
    assert (refused.code, "no column is called colour" in refused.err) == (2, True)
    assert "columns: name, steps, reward, pass@1, pass@2, pass@4, beta\n" in cli("ls", "./kept", "--sort", "pass@5").err
    assert "no run was evaluated for pass@5" in cli("ls", "./kept", "--k", "1,5").out


def test_grades_are_listed_by_their_mean_reward(cli: Cli, tmp_path: Path) -> None:
    def measured(name: str, means: list[float] | None, *metrics: dict[str, Any], **how: Any) -> Result:
        one = result(name, 0, [0, 0], advantage__beta=len(name))
        rewards = how | {"reward_M": None if means is None else np.array(means)}
        return replace(one, metrics=[*metrics], evaluations=[replace(each, **rewards) for each in one.evaluations])

    empty = dict.fromkeys(CELL_METRICS)
    kept = [measured("low", [0.25, np.nan], graded=True), measured("high", [0.5, 0.75], graded=True)]
    fell = measured("collapsed", [0.0, 0.0], empty | {"step": 0, "reward_mean": 0.5})
    failed = measured("failed", [0.0, 0.0], empty | {"step": 0, "reward_mean": 0.5, "pass@1": 0.5})
    keep(tmp_path / "grades", *kept, fell, measured("zero", [0.0, 0.0]))
    listed = cli("ls", "./grades", "--sort", "eval_reward", "--json").json["runs"]
    assert [(run["name"], run["eval_reward"], run["passed"]) for run in listed] == [
        *(("high", 0.625, {}), ("low", 0.25, {}), ("collapsed", 0.0, {}), ("zero", 0.0, {}))
    ]
    assert "pass@" not in (shown := cli("ls", "./grades").out)
    assert "eval_reward is on toy\n" in shown
    keep(tmp_path / "both", kept[1], failed, measured("judged", None))
    listed = cli("ls", "./both", "--json").json["runs"]
    assert [(run["eval_reward"], run["passed"].get("1")) for run in listed] == [(None, 0.0), (0.625, None), (None, 0.0)]
    assert "eval_reward and pass@k are on toy\n" in cli("ls", "./both").out
    keep(tmp_path / "verdicts", failed)
    refused = cli("ls", "./verdicts", "--sort", "eval_reward")
    assert (refused.code, "no run in verdicts was evaluated for eval_reward" in refused.err) == (2, True)


@pytest.mark.parametrize("column", ["pass@16", "colour"])
def test_a_folder_of_sweeps_has_no_columns_to_sort_by(cli: Cli, sweep: Path, column: str) -> None:
    refused = cli("ls", "--sort", column)
    assert (refused.code, refused.err.splitlines()[-1]) == (2, "  list one of the sweeps in it: rsgrpo ls runs/s")
    assert "columns: name, steps, reward, beta\n" in cli("ls", "s", "--sort", column).err


def test_what_is_not_there_is_not_to_be_started(cli: Cli, sweep: Path) -> None:
    refused = cli("ls", "nowhere")
    assert (refused.code, "rsgrpo ls lists the runs here" in refused.err) == (1, True)


def test_a_damaged_run_hides_no_other(cli: Cli, sweep: Path) -> None:
    (sweep / "beta2-seed0" / "config.json").write_text("{")
    shown = cli("ls", "s")
    assert shown.code == 0
    assert "beta2-seed0 cannot be read: " in shown.out
    assert re.search(r"beta2-seed0 +\?", shown.out)  # nothing says that it is a base model
    assert "beta4-seed0" in shown.out


def test_a_row_shows_the_same_k_whatever_stands_beside_it(cli: Cli, trained: Path) -> None:
    def row() -> list[str]:
        found = next(line for line in cli("ls").out.splitlines() if line.strip().startswith("trained"))
        return re.findall(r"[0-9.]+ \(k=\d+\)", found)

    assert cli("eval", "--run", trained, "-n", "4", "--k", "1,4").code == 0
    before = row()
    assert [one.partition(" ")[2] for one in before] == ["(k=4)"]
    assert cli("fork", "runs/fewer", "--run", trained, "--beta", "8").code == 0
    assert cli("eval", "--run", "runs/fewer", "--policy", "0", "-n", "2", "--k", "1,2").code == 0
    assert row() == before
    assert "(k=" not in cli("ls", "--k", "2").out
    assert "pass@4" in cli("ls", "--sort", "pass@4").out


def test_a_linked_run_goes_by_the_name_of_the_link(cli: Cli, trained: Path) -> None:
    (trained.parent / "linked").symlink_to(trained.absolute())
    assert [row["name"] for row in cli("ls", "--json").json["runs"]] == ["linked", "trained"]


def test_a_folder_here_is_not_looked_for_and_its_runs_are_named(cli: Cli, tmp_path: Path, trained: Path) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copytree(trained, tmp_path / "mine/first")
    for command in (["rm", "-y"], ["status"]):
        refused = cli(*command, "mine")
        assert (refused.code, "mine is a folder here, with runs in it; name one: mine/first" in refused.err) == (
            1,
            True,
        )
    assert cli("status", "mine/first").code == 0


def test_where_nothing_is_ls_says_how_to_start(cli: Cli, tmp_path: Path) -> None:
    assert "no runs here yet" in cli("ls").err
    (tmp_path / "empty").mkdir()
    assert "has no runs and no results" in cli("ls", "./empty").err


def test_a_sweep_goes_whole_and_a_run_alone(cli: Cli, sweep: Path) -> None:
    gone = cli("rm", "runs/s/beta2-seed0", "--yes")
    assert (gone.code, "removed 1 run (" in gone.out) == (0, True)
    assert everything(sweep)[0].startswith("base-seed0")
    assert not (sweep / "beta2-seed0").exists()
    told = cli("rm", "s", "--yes", "--json").json
    assert told["removed"] == ["runs/s/base-seed0-1a2b", "runs/s/beta4-seed0", "runs/s"]
    assert not sweep.exists()


def test_nobody_to_ask_is_a_refusal(cli: Cli, sweep: Path) -> None:
    before = everything(sweep)
    refused = cli("rm", "s")
    assert refused.code == 2
    assert "this would remove 3 runs (" in refused.err
    assert "--yes" in refused.err
    assert everything(sweep) == before


def test_nothing_of_a_sweep_at_work_is_removed(cli: Cli, sweep: Path) -> None:
    # Between two commands on a run nobody holds it, and the sweep goes on with it.
    with Sweep(sweep, []).at_work(), Sweep(sweep, []).at_work():
        for place in ("runs/s", "runs/s/beta4-seed0"):
            refused = cli("rm", "-y", place)
            assert (refused.code, "error: sweep s is at work; nothing was removed" in refused.err) == (1, True)
        assert RunDir.is_there(sweep / "beta4-seed0")
    assert (cli("rm", "-y", "runs/s").code, sweep.exists()) == (0, False)


def test_a_run_at_work_is_not_removed_and_neither_is_its_sweep(cli: Cli, sweep: Path) -> None:
    with RunDir(sweep / "beta4-seed0").lock(print):
        before = everything(sweep)
        refused = cli("rm", "s", "--yes")
        assert refused.code == 1
        assert "run beta4-seed0 is in use by process" in refused.err
        assert everything(sweep) == before
    run = RunDir(sweep / "beta2-seed0")
    with run.lock(print, evaluating=1):
        assert "beta2-seed0 is in use" in cli("rm", str(run.path), "--yes").err


def test_what_a_sampler_of_its_own_leaves_goes_too(cli: Cli, sweep: Path) -> None:
    run = next(path.parent for path in sorted(sweep.glob("*/config.json")))
    for name in ("vllm.log", "base_probe.0123456789abcdef.json"):
        (run / name).write_text("{}")
    assert cli("rm", run, "--yes").code == 0
    assert not run.exists()


@pytest.mark.parametrize("place", [TRANSIENT, PLACE, RAY, "checkpoints/000003", "exports/000002-merged"])
def test_what_a_killed_process_was_building_goes_too_and_no_sooner(cli: Cli, trained: Path, place: str) -> None:
    with disk.workshop(trained / place) as folder:
        (folder / "model.safetensors").write_text("half")
        refused = cli("rm", trained, "--yes")
        assert (refused.code, "trained is in use by another process; nothing was removed" in refused.err) == (1, True)
        left = folder.rename(folder.with_name("kept"))
    left.rename(folder)
    assert f"{layout.UNFINISHED} " in cli("du", trained).out
    assert cli("rm", trained, "--yes", "--json").json["kept"] == []
    assert not trained.exists()


def test_exports_in_the_folder_of_a_run_go_with_it(cli: Cli, trained: Path) -> None:
    assert cli("export", trained).code == 0
    assert cli("export", trained, "--interpolate", "0.5").code == 0
    assert "exports " in cli("du", trained).out
    assert cli("rm", trained, "--yes", "--json").json["kept"] == []
    assert not trained.exists()


def test_what_is_not_ours_stays(cli: Cli, sweep: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "part-00000.parquet").write_text("mine")
    (sweep / "beta2-seed0" / "notes.txt").write_text("mine")
    (sweep / "beta2-seed0" / "steps" / "000001").symlink_to(outside, target_is_directory=True)
    (sweep / "beta4-seed0" / "metrics.parquet").symlink_to(outside / "part-00000.parquet")
    (sweep / "linked-seed1").symlink_to(sweep / "beta4-seed0", target_is_directory=True)
    (sweep / "mine").mkdir()
    told = cli("rm", "s", "--yes", "--json").json
    left = ["beta2-seed0/notes.txt", "beta2-seed0/steps/000001", "beta4-seed0/metrics.parquet", "linked-seed1", "mine"]
    assert sorted(told["kept"]) == [f"runs/s/{name}" for name in left]
    assert set(left) <= set(everything(sweep))
    assert not (sweep / "beta2-seed0" / "config.json").exists()
    assert (outside / "part-00000.parquet").read_text() == "mine"


def test_a_run_that_is_no_cell_stays_and_is_called_a_run(cli: Cli, sweep: Path) -> None:
    shutil.copytree(sweep / "beta2-seed0", sweep / "renamed")
    told = cli("rm", "s", "--yes").out
    assert "kept runs/s/renamed, a run, but no cell of the sweep; to remove it: rsgrpo rm runs/s/renamed" in told
    assert cli("rm", "runs/s/renamed", "--yes").code == 0


def test_a_name_that_nothing_has_is_told_what_there_is(cli: Cli, sweep: Path) -> None:
    result = cli("rm", "none", "--yes")
    assert result.err.splitlines()[-1] == "  sweeps here: s; rsgrpo ls s lists the runs of s"  # and may go whole
    assert cli("status").err.splitlines()[-1] == "  name one: rsgrpo ls s lists the runs of s"


@pytest.mark.parametrize(
    ("place", "told", "hint"),
    [
        ("none", "no run at runs/none", "runs here: single; sweeps: s"),
        ("beta2-seed0", "no run at runs/beta2-seed0", "name it with its sweep: s/beta2-seed0"),
        ("runs/", "runs/ is neither a run nor a sweep", "rsgrpo ls runs/ lists the runs in it; name these"),
        ("./other", "./other is neither a run nor a sweep", "only these are removed; rsgrpo ls lists what is there"),
        ("other/thesis.tex", "other/thesis.tex is neither a run nor a sweep", "only these are removed"),
        ("s/beta2-seed0/steps", "s/beta2-seed0/steps is a part of run beta2-seed0", "rsgrpo rm runs/s/beta2-seed0;"),
        ("./link", "link is a symbolic link", "name what it points to"),
    ],
)
def test_what_is_no_run_and_no_sweep_is_refused(
    cli: Cli, sweep: Path, tmp_path: Path, place: str, told: str, hint: str
) -> None:
    shutil.copytree(sweep / "beta2-seed0", tmp_path / "runs" / "single")
    (tmp_path / "runs" / "logs").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    (tmp_path / "link").symlink_to(sweep, target_is_directory=True)
    before = everything(tmp_path)
    refused = cli("rm", place, "--yes")
    assert refused.code in (1, 2)
    assert told in refused.err
    assert hint in refused.err
    assert everything(tmp_path) == before


def test_a_fork_stays_whole(cli: Cli, trained: Path) -> None:
    assert cli("fork", "branch", "--run", trained, "--step", "1").code == 0
    before = {path: path.read_bytes() for path in (trained.parent / "branch").rglob("*") if path.is_file()}
    planned = removal.plan([str(trained)])
    assert 0 < planned.freed < planned.size
    assert "stay in other runs" in cli("rm", trained, "--yes").out
    assert {path: path.read_bytes() for path in before} == before
    assert not trained.exists()
    assert cli("status", "--run", "branch").code == 0


def test_du_counts_the_runs_of_sweeps(cli: Cli, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "runs/some-sweep/cell")
    found = cli("du", "--json").json["runs"]
    assert sorted(run["run"] for run in found) == ["runs/some-sweep/cell", "runs/trained"]
    assert [run["run"] for run in cli("du", "some-sweep", "--json").json["runs"]] == ["runs/some-sweep/cell"]


def test_steps_since_the_newest_checkpoint_are_done_too(cli: Cli, trained: Path) -> None:
    newest = max(int(path.name) for path in (trained / "checkpoints").iterdir())
    shutil.rmtree(trained / f"checkpoints/{newest:06d}")
    printed = cli("status", trained).out
    assert f"{newest} of {newest} steps done; checkpoints" in printed
    assert "has rollouts" not in printed


def test_a_policy_is_exported_by_its_place(cli: Cli, trained: Path, tmp_path: Path) -> None:
    assert cli("export", f"{trained}@1", "--out", "by-place").code == 0
    assert cli("export", trained, "--policy", "1", "--out", "by-flag").code == 0
    same = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("by-place", "by-flag")]
    assert same[0] == same[1]
    refused = cli("export", f"{trained}@1", "--policy", "0")
    assert (refused.code, "two policies are named: 1 and 0" in refused.err) == (2, True)

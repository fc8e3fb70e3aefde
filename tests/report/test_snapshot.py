"""A run as it is this moment, from its files alone."""

import os
from datetime import datetime
from pathlib import Path

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.report.samples import pair
from rsgrpo_cli.report.snapshot import Reader
from rsgrpo_cli.report.usage import by_kind, bytes_used
from rsgrpo_cli.run.locks import holder
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import METRICS, SUMMARY
from tests import run_on_disk
from tests.conftest import Cli
from tests.tables import table_of

NO_LINEAGE = Lineage("train", {}, {})


def write_metrics(run: RunDir, *rewards: float) -> None:
    rows = [{"step": step, "reward_mean": value, "seconds_step": 2.0} for step, value in enumerate(rewards)]
    write_table(run.metrics, table_of(METRICS, rows), METRICS, NO_LINEAGE)


def test_a_stopped_run_says_since_when(run: RunDir) -> None:
    assert Reader(run).read().state == "stopped"  # nobody was ever at work
    lock = run.path / "lock"
    lock.touch()
    now = datetime.now()
    for at, told in ((now, f"{now:%H:%M}"), (datetime(2026, 3, 4, 5, 6), "2026-03-04 05:06")):
        os.utime(lock, (at.timestamp(), at.timestamp()))
        assert Reader(run).read().state == f"stopped since {told}"


def test_a_run_without_steps(tmp_path: Path) -> None:
    seen = Reader(run_on_disk.new_run(tmp_path / "run")).read()
    assert (seen.done, seen.last, seen.curves, seen.measured, seen.right, seen.problem) == (0, {}, {}, None, None, "")
    assert seen.state == "stopped"


def test_what_is_new_is_read_again(run: RunDir) -> None:
    reader = Reader(run)
    write_metrics(run, 0.1)
    assert reader.read().curves["reward_mean"] == [0.1]
    write_metrics(run, 0.1, 0.3)
    seen = reader.read()
    assert (seen.curves["reward_mean"], seen.last["step"], seen.first["step"]) == ([0.1, 0.3], 1, 0)
    assert [row["step"] for row in reader.whole_rows(1)] == [1]


def test_two_completions_of_a_group_in_which_they_differ(run: RunDir) -> None:
    right, wrong = pair(run, 0)
    assert right is not None
    assert wrong is not None
    assert (right.prompt_id, right.reward, right.status) == ("p-000001", 1.0, "ok")
    assert (wrong.prompt_id, wrong.reward, wrong.status, wrong.completion) == ("p-000001", 0.0, "wrong", "xx")


def test_where_all_are_right_there_is_none_wrong(run: RunDir) -> None:
    run_on_disk.write_rewards(run, 0, {"p-000001": [1, 1], "p-000002": [1, 1]})
    right, wrong = pair(run, 0)
    assert (right is not None, wrong) == (True, None)


def test_what_is_damaged_is_left_out_and_said(run: RunDir) -> None:
    run.metrics.write_bytes(b"PAR1")
    seen = Reader(run).read()
    assert "metrics.parquet" in seen.problem
    assert seen.recent == ()


def test_who_holds_a_run_and_what_he_does(run: RunDir) -> None:
    assert run.holder() is None
    write_metrics(run, 0.1)
    with run.lock(print) as note:
        note({"stack": [{"what": "update of step 1", "done": 0, "total": 0, "unit": "", "seconds": 1.0}]})
        seen = Reader(run).read()
        assert seen.holder is not None
        assert seen.holder.owner.startswith("process ")
        assert seen.progress is not None
        assert (seen.progress.what, seen.done) == ("update of step 1", 1)
        assert seen.seconds_left is not None
        with run.lock(print, evaluating=3):
            assert run.evaluator() is not None
    assert run.evaluator() is None
    assert run.holder() is None  # the file is there still


def test_a_strangers_lock_file_is_no_program(run: RunDir, tmp_path: Path) -> None:
    with run.lock(print):
        for text in ("x\n[1]", "x\n{", "x\n" + "[" * 9000, "\xff"):
            (run.path / "lock").write_text(text)
            seen = Reader(run).read()
            assert (seen.holder is not None, seen.progress) == (True, None)
    (tmp_path / "link").symlink_to(run.path / "lock")
    assert holder(tmp_path / "link") is None


def test_the_newest_evaluation_against_the_earliest(cli: Cli, trained: Path) -> None:
    for policy in ("0", "2"):
        assert cli("eval", "--run", trained, "--policy", policy, "-n", "2", "--k", "1,2").code == 0
    measured = Reader(RunDir.open(str(trained))).read().measured
    assert measured is not None
    assert (measured.policy, measured.against, measured.benchmark) == (2, 0, "toy")
    assert [name for name, *_ in measured.values] == ["pass@1", "pass@2"]
    found = cli("compare", f"{trained}@0", f"{trained}@2", "--json").json["differences"]
    assert [row[1:] for row in measured.differences] == [
        (row["difference"], row["ci_low"], row["ci_high"]) for row in found
    ]


def test_a_graded_evaluation_is_shown_by_its_reward(run: RunDir) -> None:
    rows = [{"metric": "reward", "value": 0.5, "n_problems": 2, "n_samples": 2}]
    folder = run.evaluation(3, "own")
    write_table(folder / "summary.parquet", table_of(SUMMARY, rows), SUMMARY, NO_LINEAGE)
    measured = Reader(run).read().measured
    assert measured is not None
    assert list(measured.values) == [("reward", 0.5, None, None)]


def test_what_it_takes_on_the_disk(run: RunDir) -> None:
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert bytes_used(run) == sum(path.stat().st_size for path in files)
    kinds = by_kind(run)
    assert sum(count for count, _ in kinds.values()) == len(files)
    assert {"rollouts", "rewards", "advantages", "update metrics", "problems"} <= kinds.keys()

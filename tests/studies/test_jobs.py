"""Jobs are real commands; one that fails stops no other."""

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.jobs import Job, Jobs, Process, start_here

FINE, WRONG = [["--version"]], [["status", "--run", "there-is-none"]]


def run(jobs: list[Job], slots: int = 2) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    Jobs(jobs, slots, {}, lambda job: told.append((job.name, job.state))).run()
    return told


def test_a_job_that_fails_stops_only_what_needs_it(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "log"
    base = Job("base", WRONG, log)
    jobs = [base, Job("needs it", FINE, log, after=base), Job("another", FINE, log)]
    run(jobs)
    assert [job.state for job in jobs] == ["failed", "skipped", "done"]
    assert base.why == "no run at runs/there-is-none"
    assert "rsgrpo" in base.hint
    assert jobs[1].why == "base failed: no run at runs/there-is-none"


def test_an_error_of_an_earlier_command_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("error: run cell is in use by process 7 on here\n")
    job = Job("killed", [["doctor"]], log)

    def kill() -> None:
        if job._process is not None:
            job._process.send_signal(signal.SIGKILL)

    Jobs([job], 1, {}, lambda _: None).run(kill)
    assert job.state == "failed"
    assert job.why.startswith("it was ended by signal 9 (")
    assert job.why.endswith("), as the system does when memory runs out")


def test_the_warnings_of_a_job_are_those_of_all_its_commands(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("warning: of another day\n")
    started: list[Sequence[str]] = []

    def start(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
        with open(log, "a") as file:
            file.write(f"warning: {words[0]}\nno warning: x\nwarning: both\nerror: no\n")
        started.append(words)
        return start_here(FINE[0], log, environment)

    job = Job("cell", [["first"], ["second"]], log)
    Jobs([job], 1, {}, lambda _: None, start).run()
    assert (job.state, job.warnings) == ("done", ["first", "both", "second", "both"])


def test_what_comes_first_is_done_first(tmp_path: Path) -> None:
    base = Job("base", FINE, tmp_path / "log")
    told = run([Job("cell", FINE, tmp_path / "log", after=base), base])
    assert told == [("base", "running"), ("base", "done"), ("cell", "running"), ("cell", "done")]


def test_never_more_at_a_time_than_slots(tmp_path: Path) -> None:
    jobs = [Job(str(number), FINE, tmp_path / "log") for number in range(3)]
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, sum(job.state == "running" for job in jobs))

    Jobs(jobs, 2, {}, lambda _: None).run(look)
    assert most == 2
    assert {job.state for job in jobs} == {"done"}


def test_an_error_at_the_beginning_or_the_end_is_the_jobs_own(tmp_path: Path) -> None:
    def refuse() -> None:
        raise UsageError("not so", "but so")

    jobs = [Job("a", FINE, tmp_path / "log", begin=refuse), Job("b", FINE, tmp_path / "log", end=refuse)]
    run(jobs)
    assert [(job.state, job.why, job.hint) for job in jobs] == [("failed", "not so", "but so")] * 2


def test_what_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    asked = iter(["process 7 on here", ""])
    jobs = [Job("held", FINE, tmp_path / "log", busy=lambda: next(asked)), Job("free", FINE, tmp_path / "log")]
    told = run(jobs, slots=1)
    assert told[:2] == [("held", "waiting"), ("free", "running")]
    assert [job.state for job in jobs] == ["done", "done"]


def test_what_another_process_takes_just_before_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.studies.jobs.BUSY_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)
    cell = RunDir.create(tmp_path / "runs/cell", resolve({}))
    job = Job("cell", [["prepare", "--run", "runs/cell"]], tmp_path / "log")  # `busy` saw nobody
    told: list[tuple[str, str]] = []
    with ExitStack() as held:
        held.enter_context(cell.lock(print))

        def say(job: Job) -> None:
            told.append((job.state, job.why))
            if job.state == "waiting":
                held.close()

        Jobs([job], 1, {}, say).run()
    assert [state for state, _ in told] == ["running", "waiting", "running", "done"]
    assert told[1][1] == f"in use by process {os.getpid()} on {socket.gethostname()}"


def test_a_ctrl_c_stops_what_is_at_work_and_starts_no_more(tmp_path: Path) -> None:
    jobs = [Job(str(number), [["bandit"]], tmp_path / "log") for number in range(3)]

    def interrupt() -> None:
        while not any(job.state == "running" for job in jobs):
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    runner = Jobs(jobs, 1, {}, lambda _: None)
    runner.run()
    assert runner.stopping
    assert [job.state for job in jobs[1:]] == ["waiting", "waiting"]
    assert jobs[0].state == "stopped"


class _PoliteCommand:
    """A stand-in for a command that ends well when it is asked to stop, as it had its last part at work."""

    why, lost = "", False

    def __init__(self) -> None:
        self.polls_left: int | None = None

    def poll(self) -> int | None:
        if self.polls_left is None:
            return None
        self.polls_left -= 1
        return 0 if self.polls_left < 0 else None

    def send_signal(self, number: int) -> None:
        self.polls_left = 1

    def terminate(self) -> None:
        self.polls_left = 0


def test_after_a_ctrl_c_no_further_command_of_a_job_is_started(tmp_path: Path) -> None:
    started: list[Sequence[str]] = []
    told: list[list[str]] = []

    def start(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
        started.append(words)
        return _PoliteCommand()

    def stop() -> None:
        if started and not runner.stopping:
            os.kill(os.getpid(), signal.SIGINT)

    job = Job("base", [["rollout"], ["eval"]], tmp_path / "log")
    runner = Jobs([job], 1, {}, lambda _: None, start, lambda jobs: told.append([each.name for each in jobs]))
    runner.run(stop)
    assert (job.state, started, told) == ("stopped", [["rollout"]], [["base"]])

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.workers.pool import Died, Done, Raised, TimedOut, WorkerPool

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool("tests.workers.handlers:behave", workers=2, deadline=2.0) as shared:
        yield shared


def test_outcomes_come_in_the_order_of_the_jobs(pool: WorkerPool) -> None:
    assert pool.map([("echo", number) for number in range(500)]) == [Done(number) for number in range(500)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text() | st.integers(-(2**53), 2**53) | st.none() | st.booleans(), max_size=40))
def test_values_survive_the_journey(pool: WorkerPool, values: list[object]) -> None:
    assert pool.map([("echo", value) for value in values]) == [Done(value) for value in values]


def test_no_jobs_start_no_worker() -> None:
    with WorkerPool("no_such_module:f", workers=2, deadline=1.0) as empty:
        assert empty.map([]) == []


def test_every_way_to_fail_is_one_outcome_and_harms_no_other_job(pool: WorkerPool) -> None:
    jobs = [
        ("echo", 0),
        ("hang",),
        ("leave", 7),
        ("crash",),
        ("fail",),
        ("interrupt",),
        ("hog",),
        ("leave_politely",),
        ("hang_in_c",),  # no Python signal handler gets its turn in there
        *[("echo", number) for number in range(60)],
    ]
    outcomes = pool.map(jobs)
    assert outcomes[:9] == [
        Done(0),
        TimedOut(2.0),
        Died(7),
        Died(-signal.SIGSEGV),
        Raised("KeyError", "'missing'"),
        Raised("Interruption", "an alarm"),
        Raised("MemoryError", ""),
        Raised("SystemExit", "3"),
        TimedOut(2.0),
    ]
    assert outcomes[9:] == [Done(number) for number in range(60)]


def test_a_worker_that_ended_is_replaced(pool: WorkerPool) -> None:
    before = processes_of(pool)
    assert pool.map([("leave", 1)] * 4) == [Died(1)] * 4
    after = processes_of(pool)
    assert len(before) == len(after) == 2
    assert not before & after


def test_an_interrupted_worker_is_replaced_and_one_that_raised_is_not() -> None:
    with WorkerPool("tests.workers.handlers:behave", workers=1, deadline=5.0) as single:
        first, _, second, _, third = single.map([("process",), ("fail",), ("process",), ("interrupt",), ("process",)])
    assert first == second != third


def test_workers_stay_between_maps_and_die_idle_unnoticed(pool: WorkerPool) -> None:
    first, second = (processes_of(pool) for _ in range(2))
    assert first == second
    for process in first:
        os.kill(process, signal.SIGKILL)
    _wait_for_the_end_of(first)
    assert pool.map([("echo", number) for number in range(20)]) == [Done(number) for number in range(20)]


def test_a_death_is_blamed_on_no_job_before_it_was_tried_again(tmp_path: Path) -> None:
    with WorkerPool("tests.workers.handlers:behave", workers=1, deadline=5.0) as single:
        outcomes = single.map([("once", str(tmp_path), "a"), *[("once", str(tmp_path), "b")] * 9])
    assert outcomes == [Done("a"), *[Done("b")] * 9]


def strike(pool: WorkerPool, number: signal.Signals, *, times: int, after: float = 0.0) -> threading.Thread:
    """Send a signal to all workers of a pool, from a thread, once there are any; `times` times."""

    def work() -> None:
        for _ in range(times):
            until = time.monotonic() + 20
            while not pool._workers and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(after)
            for worker in list(pool._workers):
                worker.process.send_signal(number)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_what_a_batch_system_sends_to_all_processes_disturbs_no_job(number: signal.Signals) -> None:
    with WorkerPool("tests.workers.handlers:behave", workers=2, deadline=20.0) as pool:
        before = pool.map([("process",)] * 8)
        thread = strike(pool, number, times=5, after=0.1)
        assert pool.map([("nap", 0.8)] * 2) == [Done("rested")] * 2
        thread.join()
        assert set(pool.map([("process",)] * 8)) <= set(before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_while_a_worker_is_loading_is_no_reason_to_give_up(number: signal.Signals) -> None:
    handler = "tests.workers.handlers:slow_to_load"
    with WorkerPool(handler, workers=1, deadline=20.0, setup=(0.5,)) as pool:
        thread = strike(pool, number, times=1 if number == signal.SIGKILL else 200)
        assert pool.map([(0.01,)] * 3) == [Done("rested")] * 3
        thread.join()


def test_a_job_whose_worker_was_killed_from_outside_is_run_again() -> None:
    with WorkerPool("tests.workers.handlers:behave", workers=2, deadline=20.0) as pool:
        pool.map([("process",)] * 8)
        thread = strike(pool, signal.SIGKILL, times=1, after=0.3)
        assert pool.map([("nap", 1.0)] * 2) == [Done("rested")] * 2
        thread.join()


def test_what_a_handler_starts_can_be_terminated() -> None:
    with WorkerPool("tests.workers.handlers:behave", workers=1, deadline=60.0) as pool:
        assert pool.map([("signal_children",)]) == [Done([-signal.SIGTERM, -signal.SIGTERM])]


def test_what_cannot_be_sent_back_is_an_error_of_the_job(pool: WorkerPool) -> None:
    (outcome,) = pool.map([("not_json",)])
    assert isinstance(outcome, Raised)
    assert outcome.kind == "TypeError"


def test_prints_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with WorkerPool("tests.workers.handlers:behave", workers=1, deadline=5.0) as loud:
        assert loud.map([("speak",)]) == [Done("spoken")]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines() == ["from print", "from descriptor 1"]


def test_a_worker_imports_little_and_no_torch(pool: WorkerPool) -> None:
    (outcome,) = pool.map([("modules",)])
    assert isinstance(outcome, Done)
    assert not {"torch", "numpy", "pytest", "transformers", "pyarrow"} & set(outcome.value)


def test_hashes_are_the_same_in_every_worker(pool: WorkerPool) -> None:
    pool.map([("leave", 1)])
    assert len({outcome.value for outcome in pool.map([("hash_seed",)] * 20) if isinstance(outcome, Done)}) == 1


def test_a_handler_can_be_made_once_per_worker() -> None:
    with WorkerPool("tests.workers.handlers:adder", workers=1, deadline=5.0, setup=(40,)) as adder:
        assert adder.map([(1,), (2,)]) == [Done(41), Done(42)]


@pytest.mark.parametrize(
    ("handler", "what"),
    [
        ("no_such_module:f", "ModuleNotFoundError"),
        ("tests.workers.handlers:no_such_function", "AttributeError"),
        ("tests.workers.handlers:HERE", "AttributeError"),
        ("tests.workers.handlers", "ValueError"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_one_error_that_names_it(handler: str, what: str) -> None:
    with WorkerPool(handler, workers=2, deadline=1.0) as broken, pytest.raises(UsageError, match=what) as caught:
        broken.map([(1,)] * 10)
    assert handler in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("body", "code"),
    [("import os; os._exit(5)", "5"), ("import sys; sys.exit(5)", "5"), ("import os; os.kill(os.getpid(), 9)", "-9")],
)
def test_a_module_that_ends_the_process_on_import_is_one_error(
    body: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_module.py").write_text(body)
    monkeypatch.syspath_prepend(str(tmp_path))
    with WorkerPool("deadly_module:f", workers=2, deadline=1.0) as broken, pytest.raises(UsageError, match=code):
        broken.map([(1,)] * 10)


@pytest.mark.parametrize("arguments", [{"workers": 0, "deadline": 1.0}, {"workers": 1, "deadline": float("nan")}])
def test_senseless_settings_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        WorkerPool("tests.workers.handlers:echo", **arguments)  # type: ignore[arg-type]


def test_close_ends_the_workers_and_may_be_repeated() -> None:
    pool = WorkerPool("tests.workers.handlers:behave", workers=1, deadline=5.0)
    (outcome,) = pool.map([("process",)])
    pool.close()
    pool.close()
    assert isinstance(outcome, Done)
    assert not _alive(outcome.value)
    with pytest.raises(RuntimeError, match="closed"):
        pool.map([("echo", 1)])


# A shell starts what it runs in the background deaf to Ctrl-C, and its children with it.
HEARS_CTRL_C = textwrap.dedent("""
    import signal
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
""")
PARENT = textwrap.dedent("""
    from rsgrpo_cli.workers.pool import WorkerPool
    pool = WorkerPool("tests.workers.handlers:behave", workers=2, deadline=60.0)
    workers = {outcome.value for outcome in pool.map([("process",)] * 12)}
    try:
        print(*workers, flush=True)
        pool.map([("hang",)] * 2)
    except KeyboardInterrupt:
        print("interrupted", len(pool.map([("echo", 1)] * 5)), flush=True)
""")


def _parent(script: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A process that maps without a `__main__` guard, and the process ids of its workers."""
    parent = subprocess.Popen(
        [sys.executable, "-c", HEARS_CTRL_C + script],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    assert parent.stdout is not None
    workers = [int(word) for word in parent.stdout.readline().split()]
    assert len(workers) == 2
    time.sleep(0.3)  # let the workers take up the jobs that hang
    return parent, workers


def test_ctrl_c_reaches_the_parent_only_and_the_pool_stays_usable() -> None:
    parent, workers = _parent(PARENT)
    os.killpg(parent.pid, signal.SIGINT)
    out, _ = parent.communicate(timeout=120)
    assert out.split() == ["interrupted", "5"]
    assert not any(map(_alive, workers))


@pytest.mark.parametrize("from_thread", [False, True])
def test_workers_end_when_the_parent_is_killed(from_thread: bool) -> None:
    script = PARENT
    if from_thread:  # the kernel's death signal follows the thread that started a worker, so it is not used there
        body = textwrap.indent(PARENT, "    ")
        script = f"import threading\ndef work():\n{body}\nthreading.Thread(target=work).start()"
    parent, workers = _parent(script)
    parent.kill()
    parent.communicate(timeout=120)
    _wait_for_the_end_of(workers)


def test_a_program_read_from_stdin_can_use_a_pool() -> None:
    program = textwrap.dedent("""
        from rsgrpo_cli.workers.pool import WorkerPool
        pool = WorkerPool("tests.workers.handlers:echo", workers=2, deadline=9.0)
        print([outcome.value for outcome in pool.map([(1,)])])
    """)
    done = subprocess.run([sys.executable, "-"], input=program, text=True, capture_output=True, env=ENVIRONMENT)
    assert (done.stdout, done.stderr, done.returncode) == ("[1]\n", "", 0)


def processes_of(pool: WorkerPool) -> set[int]:
    outcomes = pool.map([("process",)] * 12)
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    return {outcome.value for outcome in outcomes if isinstance(outcome, Done)}


def _wait_for_the_end_of(processes: Iterable[int]) -> None:
    until = time.monotonic() + 20
    while any(map(_alive, processes)):
        assert time.monotonic() < until
        time.sleep(0.02)


def _alive(process: int) -> bool:
    """Whether a process runs; a zombie that nobody waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""The queue of parts, with workers that say what they are told to."""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli.activity import Doing
from rsgrpo_cli.errors import DataError, EngineError, RsgrpoError
from rsgrpo_cli.pipeline.spread.jobs import Answer, Died, Done, Failed, Hello, Job, Rest
from rsgrpo_cli.pipeline.spread.queue import Queue, Worker, told_speeds
from rsgrpo_cli.pipeline.spread.ray_actors import connect, left_beside, left_by_ranks, require_room

OPENING: Any = None
SILENT = object()


@dataclass(eq=False)
class Scripted:
    """A worker whose parts end as its source says."""

    number: int
    log: Path
    source: "Source"
    job: Any = None
    killed: bool = False

    def ask(self, job: Job) -> None:
        self.job = job

    def kill(self) -> None:
        self.killed = True


@dataclass
class Source:
    """Where they come from; `script` has what becomes of a part, try after try, in the end a success."""

    count: int
    log: Path
    script: dict[str, deque[Any]] = field(default_factory=dict)
    with_gpus: bool = False
    started: list[Scripted] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    def start(self, number: int, opening: Any) -> Scripted:
        self.started.append(Scripted(number, self.log, self))
        return self.started[-1]

    def wait(self, busy: Sequence[Worker], seconds: float) -> list[tuple[Worker, Answer | Died]]:
        heard: list[tuple[Worker, Answer | Died]] = []
        for worker in busy:
            assert isinstance(worker, Scripted)
            assert not worker.killed
            self.asked.append(worker.job)
            outcomes = self.script.get(str(worker.job))
            made = Done("here") if isinstance(worker.job, Hello) else Done("here", rows=4, tokens=100, seconds=0.5)
            answer = outcomes.popleft() if outcomes else made
            if answer is not SILENT:
                heard.append((worker, answer))
        return heard

    def close(self) -> None:
        pass


def run(
    source: Source, names: str, *, timeout: float = 0.0, stopped: Any = lambda: False
) -> tuple[list[str], list[str]]:
    """The parts in the order in which they were made, and what was said."""
    said: list[str] = []
    jobs: Any = {name: name for name in names}
    queue = Queue(source, OPENING, timeout, said.append)
    return [name for name, _ in queue.run(jobs, stopped, Doing("x"))], said


def test_every_part_is_made_once_by_no_more_workers_than_there_are_parts(tmp_path: Path) -> None:
    source = Source(8, tmp_path / "log")
    assert sorted(run(source, "abc")[0]) == ["a", "b", "c"]
    assert [worker.number for worker in source.started] == [0, 1, 2]
    assert isinstance(source.asked[0], Hello)


def test_the_part_of_a_dead_worker_goes_to_another(tmp_path: Path) -> None:
    source = Source(1, tmp_path / "log", {"a": deque([Died("it was ended by SIGKILL")])})
    made, said = run(source, "ab")
    assert made == ["a", "b"]
    assert [worker.killed for worker in source.started] == [True, False]
    assert said == ["a failed on worker 0 and is tried again: it was ended by SIGKILL"]


def test_a_part_that_fails_three_times_stops_the_run_with_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    log.write_text("first\n" + "x\n" * 20 + "CUDA out of memory\n")
    failures = [Failed("here", EngineError("no memory"), False)] * 3
    with pytest.raises(EngineError, match="b failed 3 times; the last time on worker 0: no memory") as raised:
        run(Source(1, log, {"b": deque(failures)}), "abc")
    assert "CUDA out of memory" in raised.value.hint
    assert "first" not in raised.value.hint


def test_what_another_try_would_not_mend_is_not_tried_again(tmp_path: Path) -> None:
    source = Source(2, tmp_path / "log", {"a": deque([Failed("here", DataError("prompt 3 is empty"), True)])})
    with pytest.raises(DataError, match="prompt 3 is empty"):
        run(source, "ab")


def test_a_worker_that_hangs_is_killed_and_its_part_made_by_another(tmp_path: Path) -> None:
    source = Source(1, tmp_path / "log", {"a": deque([SILENT])})
    made, said = run(source, "a", timeout=1e-9)
    assert made == ["a"]
    assert source.started[0].killed
    assert "took longer than --part-timeout" in said[0]


def test_workers_that_do_not_start_stop_the_run(tmp_path: Path) -> None:
    source = Source(1, tmp_path / "log", {str(Hello()): deque([Died("no such module")] * 3)})
    with pytest.raises(EngineError, match=r"starting a worker failed 3 times.*no such module"):
        run(source, "a")


def test_after_a_stop_nothing_is_begun_and_what_is_in_hand_is_finished(tmp_path: Path) -> None:
    source = Source(2, tmp_path / "log")
    made: list[str] = []
    jobs: Any = {name: name for name in "abcdef"}
    for name, _ in Queue(source, OPENING, 0, print).run(jobs, lambda: bool(made), Doing("x")):
        made.append(name)
    assert made == ["a", "b"]


def test_whoever_leaves_the_queue_ends_the_workers_that_are_at_a_part(tmp_path: Path) -> None:
    source = Source(2, tmp_path / "log", {"b": deque([SILENT, SILENT])})
    jobs: Any = {name: name for name in "ab"}
    made: Any = Queue(source, OPENING, 0, print).run(jobs, lambda: False, bar := Doing("x"))
    assert next(made)[0] == "a"
    assert bar.detail == "2 of 2 workers, 2 parts in flight"
    made.close()
    assert [worker.killed for worker in source.started] == [False, True]
    assert bar.detail == ""


@dataclass
class Beside:
    beside_trainer: bool


def test_only_workers_with_gpus_beside_a_trainer_rest(tmp_path: Path) -> None:
    for with_gpus, beside in [(True, True), (True, False), (False, True)]:
        source = Source(1, tmp_path / "log", with_gpus=with_gpus)
        opening: Any = Beside(beside)
        queue = Queue(source, opening, 0, print)
        jobs: Any = {"a": "a"}
        list(queue.run(jobs, lambda: False, Doing("x")))
        queue.rest()
        assert any(isinstance(job, Rest) for job in source.asked) == (with_gpus and beside)


def test_speeds_are_told_as_one_number_or_as_a_range() -> None:
    assert told_speeds([1234.4]) == "1,234 tokens/s"
    assert told_speeds([10.2, 99.9, 50.0]) == "10 to 100 tokens/s"


NODES: Any = [{"CPU": 4, "GPU": 3}, {"CPU": 1, "GPU": 8}, {"CPU": 2}]


def test_a_worker_has_its_gpus_on_one_node() -> None:
    assert require_room(NODES, 0, gpus=0) == 7  # a CPU each
    assert require_room(NODES, 0, gpus=1) == 3 + 1
    assert require_room(NODES, 0, gpus=2) == 1 + 1
    assert require_room(NODES, 2, gpus=2) == 2
    with pytest.raises(ValueError, match="has room for 2 workers of 2 GPUs and a CPU each, not for 3"):
        require_room(NODES, 3, gpus=2)
    with pytest.raises(ValueError, match="no node of the Ray cluster has 16 free GPUs"):
        require_room(NODES, 0, gpus=16)


def test_workers_find_room_beside_the_ranks_of_updates() -> None:
    """Three ranks take the GPUs of the first node, a fourth one of the second; without GPUs they take CPUs alone."""
    assert require_room(NODES, 0, gpus=1, ranks=3) == 0 + 1
    assert require_room(NODES, 0, gpus=0, ranks=5) == 7 - 5
    assert left_by_ranks(NODES, 4, gpus=True) == [{"CPU": 1, "GPU": 0}, {"CPU": 0, "GPU": 7}, {"CPU": 2, "GPU": 0}]
    with pytest.raises(ValueError, match="has room for 3 ranks beside a worker, not for 4"):
        require_room(NODES, 0, gpus=1, ranks=4)
    with pytest.raises(ValueError, match="has room for 4 ranks with a GPU and a CPU each, not for 5"):
        left_by_ranks(NODES, 5, gpus=True)


def test_graders_get_the_cpus_that_samplers_with_gpus_leave() -> None:
    assert left_beside(NODES, 1) == [4 - 3, 1 - 1, 2]
    assert left_beside(NODES, 2) == [4 - 1, 1 - 1, 2]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize(
    ("asked", "named", "told"),
    [
        ("127.0.0.1:9", "", "no Ray cluster answers at 127.0.0.1:9: Connection refused"),
        ("auto", "127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9: Connection refused"),
        ("nonsense", "", "--ray 'nonsense' is not an address"),
        ("auto", "ray://127.0.0.1:9", "RAY_ADDRESS 'ray://127.0.0.1:9' is not an address"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_at_once(
    asked: str, named: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", named)
    with pytest.raises(RsgrpoError, match=re.escape(told)):
        connect(asked)

"""What the process that holds a run and its workers say to each other. No rows of a table are among it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.engines.types import Weights
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.pipeline.grading import Rules, ToGrade
from rsgrpo_cli.pipeline.parts import Draw
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.stages.rollout import Part


@dataclass(frozen=True, slots=True)
class Opening:
    """What a worker needs to open the run; the first thing that it gets.

    Args:
        run: The run; its path is absolute.
        config: The settings of the command at work.
        config_id: Hash of the run's `config.json`, as `worker.config_id` has it here.
        folder: Where the command was started: relative names of models are meant from there.
        versions: Packages that can change a result, as they are here.
        threads: How many threads torch uses here; more or fewer round differently.
        beside_trainer: Whether the policy is trained on the same GPUs.
        trust: As of `Session`.
        asked: The same.
        accept_changes: The same.
    """

    run: RunDir
    config: RunConfig
    config_id: str
    folder: Path
    versions: Mapping[str, str]
    threads: int
    beside_trainer: bool
    trust: bool
    asked: Collection[str] = ()
    accept_changes: bool = False


@dataclass(frozen=True, slots=True)
class Hello:
    """The first job of every worker: compare versions, look whether the run is there."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Give the GPU to the trainer."""


@dataclass(frozen=True, slots=True)
class SamplePart:
    """Sample a part and write its file.

    Args:
        path: The file.
        part: What is in it.
        draw: How it is drawn.
        at: Where on the line from the base model to the policy the weights are.
        weights: The policy's files, where no checkpoint has them.
        trains: Whether the driver has the policy open for training; see `PartWorker`.
    """

    path: Path
    part: Part
    draw: Draw
    at: float
    weights: Weights | None
    trains: bool


@dataclass(frozen=True, slots=True)
class GradePart:
    """Grade a part and write its rewards.

    Args:
        part: Which.
        path: Where its rewards are written to.
        rules: By what.
        workers: Verifier processes.
    """

    part: ToGrade
    path: Path
    rules: Rules
    workers: int


Job = Hello | Rest | SamplePart | GradePart


@dataclass(frozen=True, slots=True)
class Done:
    """A job is done.

    Args:
        worker: Where: the machine's name and the process.
        id: Of the file that was written.
        rows: In it.
        tokens: Sampled; 0 for what samples nothing.
        seconds: It took.
    """

    worker: str
    id: str = ""
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A job was not done, and the worker lives on.

    Args:
        worker: As of `Done`.
        error: What it raised, where that is one of ours; else an EngineError that says what it was.
        final: Whether another try would fail for the same reason.
    """

    worker: str
    error: RsgrpoError
    final: bool


@dataclass(frozen=True, slots=True)
class Died:
    """A worker is gone.

    Args:
        why: What is known of that.
    """

    why: str


Answer = Done | Failed

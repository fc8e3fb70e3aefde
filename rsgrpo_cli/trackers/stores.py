"""The trackers: each opens the run's series, or continues it, and takes steps and evaluations.

Their packages are imported when a store is opened. Names of projects, places and modes are those that each tracker
takes from its own environment variables.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rsgrpo_cli.trackers.csv_files import CsvFiles
from rsgrpo_cli.trackers.values import Evaluation, step_values

PROJECT = "rsgrpo"


@dataclass(frozen=True, slots=True)
class Opening:
    """What a store is opened with.

    Args:
        name: The run's.
        id: Of the series: the same whenever the run goes on.
        folder: Where a tracker that writes files here writes them.
        settings: The run's, by dotted names.
        newest: The last step that the series has.
    """

    name: str
    id: str
    folder: Path
    settings: Mapping[str, Any]
    newest: int = 0


class Store(Protocol):
    """A tracker with the run's series open. Every method may raise whatever the tracker raises."""

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        """Take a step's row of metrics."""

    def evaluation(self, found: Evaluation) -> None:
        """Take an evaluation."""

    def close(self) -> None:
        """Wait until all of it is written or sent."""


class Wandb:
    """Weights & Biases; `WANDB_MODE=offline` writes below the run, for `wandb sync`."""

    def __init__(self, opening: Opening) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=opening.name,
            id=opening.id,
            resume="allow",
            dir=os.environ.get("WANDB_DIR", str(opening.folder.parent)),  # to which it adds wandb/
            config=dict(opening.settings),
        )
        # A policy may be evaluated long after it was trained: what is drawn over it is its version, not the time.
        self._run.define_metric("policy")
        self._run.define_metric("eval/*", step_metric="policy")
        self._newest = opening.newest
        self._teardown = wandb.teardown

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        self._newest = step
        self._run.log(step_values(row), step=step)

    def evaluation(self, found: Evaluation) -> None:
        self._newest = max(self._newest, found.policy)
        self._run.log({**found.values, "policy": found.policy}, step=self._newest)

    def close(self) -> None:
        self._run.finish()
        self._teardown()  # its own process writes the file, and may still be at it when finish returns


class TensorBoard:
    """Event files; `tensorboard --logdir runs` finds them."""

    def __init__(self, opening: Opening) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        new = not any(opening.folder.glob("events.*"))
        self._writer = EventFileWriter(str(opening.folder))
        if new:
            from tensorboard.plugins.text.summary_v2 import text_pb

            rows = [f"| {name} | {value} |" for name, value in opening.settings.items()]
            self._write(text_pb("settings", "\n".join(["| setting | value |", "|---|---|", *rows])), 0)

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        self._scalars(step_values(row), step)

    def evaluation(self, found: Evaluation) -> None:
        self._scalars(found.values, found.policy)

    def close(self) -> None:
        self._writer.close()

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for name, value in values.items():
            self._write(scalar_pb(name, value), step)
        self._writer.flush()

    def _write(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


class Trackio:
    """Trackio's own store on this machine, or a Space where `TRACKIO_SPACE_ID` names one."""

    def __init__(self, opening: Opening) -> None:
        import trackio

        self._run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{opening.name}-{opening.id}",  # which is all that it knows a run by
            resume="allow",
            config=dict(opening.settings),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        self._run.log(step_values(row), step=step)

    def evaluation(self, found: Evaluation) -> None:
        self._run.log(found.values, step=found.policy)

    def close(self) -> None:
        self._run.finish()


class Mlflow:
    """MLflow, where `MLFLOW_TRACKING_URI` says; without it, in MLflow's own place."""

    def __init__(self, opening: Opening) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        there = self._client.search_runs([experiment], f"tags.`{PROJECT}.id` = '{opening.id}'")
        if there:
            self._run = there[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        made = self._client.create_run(experiment, run_name=opening.name, tags={f"{PROJECT}.id": opening.id})
        self._run = made.info.run_id
        for setting, value in opening.settings.items():
            self._client.log_param(self._run, setting, value)

    def step(self, step: int, row: Mapping[str, Any]) -> None:
        self._log(step_values(row), step)

    def evaluation(self, found: Evaluation) -> None:
        self._log(found.values, found.policy)

    def close(self) -> None:
        self._client.set_terminated(self._run)

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        # Of signs it knows few: pass@8 is pass_at_8.
        names = {name: re.sub(r"[^\w. /-]", "_at_" if "@" in name else "_", name) for name in values}
        self._client.log_batch(self._run, [Metric(names[name], value, now, step) for name, value in values.items()])


OPENERS: Mapping[str, Callable[[Opening], Store]] = {
    "wandb": Wandb,
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "mlflow": Mlflow,
    "csv": lambda opening: CsvFiles(opening.folder),
}
"""Name -> what opens a store."""

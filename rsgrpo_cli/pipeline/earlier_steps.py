"""What a step's estimator may know of the steps before it: `history.parquet`, made from their files alone.

steps/00000k/history.parquet is what the steps before k came to. It is made from that of step k - 1 and from the rewards
and the update of step k - 1, so that it costs the same at every step, and a stage that is run again alone, a resumed
run and a fork all have the same. It is written beside the advantages that were made with it, whose lineage names it.
Where the step before has none (the run used another estimator so far), the steps are gone through from the last one
that has, or from the first.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, table_id, write_table
from rsgrpo_cli.core.history import (
    DISCOUNT,
    RUNNING_ENTROPY,
    RUNNING_SOLVE_RATE,
    START_SOLVE_RATE,
    WINDOW,
    History,
)
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.pipeline import history_table
from rsgrpo_cli.pipeline.metrics import mean_over_tokens
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import history_inputs, is_sound_history
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import HISTORY

_RULES = {
    "window": WINDOW,
    "discount": DISCOUNT,
    "running_solve_rate": RUNNING_SOLVE_RATE,
    "running_entropy": RUNNING_ENTROPY,
    "start_solve_rate": START_SOLVE_RATE,
}
"""What decides a history beside the steps."""


@dataclass(frozen=True, slots=True)
class Known:
    """A history, its table, and what its file has for a lineage, id included."""

    history: History
    table: pa.Table
    lineage: Lineage

    @property
    def id(self) -> str:
        """The id that its file has, or would have."""
        return self.lineage.id


def known_before(run: RunDir, step: int, *, checked: int = -1) -> Known:
    """What the steps before `step` came to, by their files; nothing is written.

    Args:
        run: The run.
        step: From 0.
        checked: The last step whose history was found to be that of the steps as they are.

    Raises:
        MissingError: If a step is gone that has to be gone through.
        ArtifactError: If one is damaged.
        DataError: If its rewards do not say what is right.
    """
    start = _last_sound(run, step, checked)
    known = _named(History(), {}) if start is None else _read(run, start)
    while known.history.step < step:
        known = _after(run, known)
    return known


def write(run: RunDir, known: Known) -> None:
    """Save a history, unless its file is there."""
    path = run.history(known.history.step)
    if not path.is_file() or read_lineage(path, HISTORY).id != known.id:
        write_table(path, known.table, HISTORY, known.lineage)


def _last_sound(run: RunDir, step: int, checked: int) -> int | None:
    """The last step up to `step` that has a history which is that of the steps before it as they are now."""
    found = None
    for number in range(max(checked, 0), step + 1):
        if not run.history(number).is_file():
            continue
        if number > checked and not (is_sound_history(run, number) and _rules_of(run, number) == _RULES):
            break
        found = number
    return found


def _rules_of(run: RunDir, step: int) -> dict[str, object]:
    return dict(read_lineage(run.history(step), HISTORY).config)


def _read(run: RunDir, step: int) -> Known:
    path = run.history(step)
    lineage = read_lineage(path, HISTORY)
    table = read_table(path, HISTORY)
    try:
        history = history_table.from_table(table, lineage.outputs)
    except (KeyError, ValueError) as error:
        hint = "remove it: it is made again from the steps before"
        raise ArtifactError(f"{path} is damaged: it does not hold what its step needs", hint) from error
    return Known(history, table, lineage)


def _after(run: RunDir, known: Known) -> Known:
    """The history of the next step."""
    step = Step(run, known.history.step)
    try:
        inputs = history_inputs(step)
        entropy = mean_over_tokens(step.updates.table(), "entropy")
        outcome = history_table.outcome(step.rewards.table(history_table.REWARD_COLUMNS), entropy)
    except MissingError as error:
        fork = shlex.join(["rsgrpo", "fork", "NEW", "--run", str(run.path), "--estimator", "rs_grpo"])
        raise MissingError(
            f"an estimator that looks at earlier steps needs step {step.number}, and {error.message}",
            f"copy that step's files back, or go on with another estimator: {fork}",
        ) from error
    return _named(known.history.after(outcome), inputs | {"history": known.id})


def _named(history: History, inputs: dict[str, str]) -> Known:
    outputs, table = history_table.means(history), history_table.to_table(history)
    lineage = Lineage("advantage", _RULES, inputs, policy_version=history.step, outputs=outputs)
    return Known(history, table, lineage.with_id(table_id(table, HISTORY, lineage)))

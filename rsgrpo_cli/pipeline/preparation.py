"""`prepare` on files: a dataset as prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli.artifacts import Lineage, count_rows, hash_json, read_lineage, write_table
from rsgrpo_cli.config import PrepareConfig, ScoreConfig
from rsgrpo_cli.errors import MissingError, StaleError
from rsgrpo_cli.pipeline import columns, odd_prompts, prompt_checks
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import Outcome, run_stage
from rsgrpo_cli.rewards.types import Wants
from rsgrpo_cli.run.staleness import freshness
from rsgrpo_cli.schemas import PROMPTS
from rsgrpo_cli.stages import prepare as prepare_stage
from rsgrpo_cli.tasks.phrasing import Phrasing
from rsgrpo_cli.tasks.registry import Split
from rsgrpo_cli.tasks.sources import Source, load_source, source_name, split_of

SPARE_ROWS, MORE_ROWS = 1000, 4
"""Rows of a file that are read beyond a limit at first; and how many times as many where too few can be used."""

COUNTED = (
    *("too_long", "in_benchmarks", "without_problem", "with_images"),
    *("answers_left_out", "worked_solutions", "without_box", "other_form", "answers_shown"),
)
"""Counts of `stages.prepare.Preparation` that are said where they are not 0."""


def prepare(session: Session, cfg: PrepareConfig, *, force: bool = False, score: ScoreConfig | None = None) -> Outcome:
    """The run's training problems, with the columns that a reward takes: that of `score`, or the session's."""
    dependents = [session.run.path / "steps"]
    path = session.run.prompts
    outcome = prepare_prompts(session, cfg, "train", path, dependents=dependents, force=force, score=score)
    session.__dict__.pop("prompts", None)
    return outcome


def require_columns(session: Session, cfg: ScoreConfig) -> None:
    """Load a reward and give the training problems the columns of their data set that it takes.

    Raises:
        UsageError: If it cannot be loaded, or needs a column that the data set does not have.
        StaleError: If the data set is another one by now, and the function needs a column of it.
    """
    give_columns(session, cfg, session.run.prompts, lambda: prepare(session, session.run.config().prepare, score=cfg))


def give_columns(session: Session, cfg: ScoreConfig, path: Path, prepare_again: Callable[[], object]) -> None:
    """Load a reward and give problems that are there the columns that it takes; raises as `require_columns` does.

    Args:
        session: The run.
        cfg: The reward.
        path: The problems.
        prepare_again: Prepares them with the columns of this reward.
    """
    session.require_reward(cfg)
    wants = session.wants(cfg)
    if wants is None or not path.is_file() or columns.are_there(path, wants):
        return
    try:
        prepare_again()
    except StaleError as error:
        if columns.lacks(path, wants):
            raise
        session.out.warn(f"{error.message}; {cfg.reward} gets no other columns of the data set")


def prepare_prompts(
    session: Session,
    cfg: PrepareConfig,
    split: Split,
    path: Path,
    *,
    dependents: list[Path],
    force: bool,
    score: ScoreConfig | None = None,
    tagged: bool = False,
    tag: str | None = None,
) -> Outcome:
    """A dataset as prompts, at `path`, with the columns that the reward takes.

    What was prepared before, with the same settings, will do where the dataset cannot be had any more.

    Args:
        session: The run.
        cfg: Which problems, and how they are put.
        split: Of the dataset.
        path: Where they go.
        dependents: What is made from them.
        force: Replace them whatever depends on them.
        score: Whose reward takes columns of the dataset; the session's unless given.
        tagged: Whether a tag keeps others beside them, as with an evaluation's.
        tag: That tag, if there is one.
    """
    score = score or session.config.score
    wants = session.wants(score)
    settings = _settings(session, cfg, split_of(cfg.dataset, split))
    try:
        task = _open(session, cfg, split, path, settings, wants, score.reward)
    except MissingError as error:
        if force or not _will_do(path, settings, wants):
            raise
        session.out.warn(f"{error.message}; using the problems prepared before")
        return Outcome("prepare", path, True, 0.0, {"prompts": count_rows(path)})
    return run_stage(
        session,
        "prepare",
        path,
        freshness(path, PROMPTS, task.lineage),
        task.make,
        dependents=dependents,
        force=force,
        tagged=tagged,
        done=task.kept,
        where={"dataset": task.source.name, "split": task.source.split} | ({"tag": tag} if tag else {}),
    )


def _settings(session: Session, cfg: PrepareConfig, split: Split) -> dict[str, Any]:
    """What of the settings decides the prompts."""
    settings = cfg.decisive() | {"dataset": source_name(cfg.dataset), "split": split}
    return settings | ({"tokenizer": session.config.model.name} if cfg.max_prompt_tokens else {})


@dataclass(frozen=True, slots=True)
class _Task:
    """Problems to be prepared.

    Args:
        session: The run.
        cfg: Which problems, and how they are put.
        path: Where they go.
        source: They themselves, as far as they have been read.
        read: Reads them again, so many rows of them.
        dropped: Benchmarks whose problems are left out.
        phrasing: How they are put.
        wants: The columns that the reward takes.
        lineage: What they are made from.
    """

    session: Session
    cfg: PrepareConfig
    path: Path
    source: Source
    read: Callable[[int], Source]
    dropped: list[Source]
    phrasing: Phrasing
    wants: Wants | None
    lineage: Lineage

    def make(self) -> dict[str, Any]:
        """Prepare, check and write them; returns the facts of the outcome."""
        session, cfg, path = self.session, self.cfg, self.path
        against = self.dropped or (_benchmarks(session, cfg) if cfg.decontaminate == "report" else [])
        made, source = self._enough(against)
        _check_if_possible(session, cfg, made.prompts, "rollout" if path == session.run.prompts else "eval")
        prompts, notes = made.prompts, dict[str, Any]()
        if self.wants is not None:
            prompts, notes = columns.with_columns(made.prompts, source, self.wants)
        outputs = {**self.lineage.outputs, **_overlap_notes(cfg, made)}
        write_table(path, prompts, PROMPTS, replace(self.lineage, outputs=outputs), notes)
        facts = _facts(made)
        for line in odd_prompts.told(session, cfg, source, made):
            session.out.warn(line)
        if path != session.run.prompts and (left_out := odd_prompts.left_out(facts)):
            session.out.warn(f"{source.name}: {left_out}")
        return facts

    def _enough(self, against: list[Source]) -> tuple[prepare_stage.Preparation, Source]:
        """Prepare as many problems as are wanted, from little more rows than they need; with them the rows."""
        source = self.source
        while True:
            try:
                made = _make(self.session, self.cfg, source, self.phrasing, against)
                if not source.goes_on or len(made.prompts) == self.cfg.limit:
                    return made, source
            except prepare_stage.NothingLeftError:
                if not source.goes_on:
                    raise
            source = self.read(MORE_ROWS * len(source.problems))

    def kept(self) -> dict[str, Any]:
        """Give prompts that are there the columns that they lack; returns the facts of the outcome."""
        if self.wants is not None and not columns.are_there(self.path, self.wants):
            columns.add_columns(self.path, self.source, self.wants)
        return {"prompts": count_rows(self.path)}


def _open(
    session: Session,
    cfg: PrepareConfig,
    split: Split,
    path: Path,
    settings: Mapping[str, Any],
    wants: Wants | None,
    reward: str,
) -> _Task:
    """Read the dataset, and the benchmarks whose problems are dropped.

    Raises:
        MissingError: If one of them cannot be had.
        UsageError: If the reward needs a column that the dataset does not have.
    """

    def read(rows: int | None) -> Source:
        return _load(cfg.dataset, split_of(cfg.dataset, split), cfg, session.config.prepare, rows)

    source = read(cfg.limit + SPARE_ROWS if cfg.limit else None)
    dropped = _benchmarks(session, cfg) if cfg.decontaminate == "drop" else []
    if wants is not None:
        columns.check_source(reward, wants, source)
    # As the run was created: another reward for a single stage changes no prompt.
    phrasing = Phrasing(cfg, source, graded_as_math=":" not in session.run.config().score.reward)
    inputs = {"dataset": source.content_id} | {f"benchmark {other.name}": other.content_id for other in dropped}
    outputs = {"phrasing": phrasing.id, "instruction": phrasing.instruction}
    lineage = Lineage("prepare", settings, inputs, outputs=outputs)
    return _Task(session, cfg, path, source, read, dropped, phrasing, wants, lineage)


def _will_do(path: Path, settings: Mapping[str, Any], wants: Wants | None) -> bool:
    """Whether what was prepared before can be used without the dataset: same settings, all columns."""
    if not path.is_file() or read_lineage(path, PROMPTS).config_hash != hash_json(settings):
        return False
    return wants is None or not columns.lacks(path, wants)


def _make(
    session: Session, cfg: PrepareConfig, source: Source, phrasing: Phrasing, against: list[Source]
) -> prepare_stage.Preparation:
    score, name = session.config.score, session.config.score.reward
    name = source.task if name == "auto" else name
    # Answers are checked by what will grade them; a user's own function has no such check.
    reward = None if ":" in name else session.reward(name, workers=score.workers, timeout=score.timeout)
    counter: prepare_stage.CountTokens | None = None
    if cfg.max_prompt_tokens:
        encode = prompt_checks.encoder(session)
        counter = lambda messages: len(encode(messages))  # noqa: E731
    return prepare_stage.prepare(source, reward, cfg, phrasing=phrasing, benchmarks=against, count_tokens=counter)


def _load(dataset: str, split: Split, cfg: PrepareConfig, training: PrepareConfig, most: int | None) -> Source:
    return load_source(
        dataset,
        split,
        prompt_column=cfg.prompt_column,
        answer_column=cfg.answer_column,
        data_dir=cfg.data_dir,
        first=(training.prompt_column, training.answer_column),
        most=most,
    )


def _benchmarks(session: Session, cfg: PrepareConfig) -> list[Source]:
    """The benchmarks to compare with; when only a report is wanted, one that cannot be had is no reason to stop."""
    found: list[Source] = []
    for name in session.config.eval.benchmarks:
        try:
            columns = (cfg.prompt_column, cfg.answer_column)
            found.append(load_source(name, "test", data_dir=cfg.data_dir, first=columns))
        except MissingError as error:
            if cfg.decontaminate == "drop":
                raise
            session.out.warn(f"not compared with {name} and the benchmarks after it: {error.message}")
            break
    return found


def _check_if_possible(session: Session, cfg: PrepareConfig, prompts: pa.Table, section: str) -> None:
    """Problems can be prepared where the model is not; what samples from them checks again."""
    try:
        prompt_checks.check_prompts(session, cfg, prompts, f"{section}.max_tokens")
    except MissingError as error:
        session.warn_once(f"the prompts are not checked against the model: {error.message}")


def _overlap_notes(cfg: PrepareConfig, made: prepare_stage.Preparation) -> dict[str, str]:
    """For the lineage: what an evaluation on these benchmarks has to say about the training."""
    if cfg.decontaminate == "drop":
        return {}
    return {f"overlap {found.benchmark}": f"{len(found.rows)} of {found.of}" for found in made.overlaps if found.rows}


def _facts(made: prepare_stage.Preparation) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "prompts": len(made.prompts),
        "without_answer": made.without_answer,
        "duplicates": made.duplicates,
        "conflicting": made.conflicting,
    }
    if made.overlaps:
        facts |= {"overlap": {overlap.benchmark: len(overlap.rows) for overlap in made.overlaps if overlap.rows}}
    return facts | {name: n for name in COUNTED if (n := getattr(made, name))}

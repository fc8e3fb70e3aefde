"""Rewards of part files, for a training step and for an evaluation alike."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.config import ScoreConfig
from rsgrpo_cli.errors import ArtifactError
from rsgrpo_cli.pipeline.parts import discard
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import again
from rsgrpo_cli.rewards.rules import rules_for, same_rules
from rsgrpo_cli.rewards.shaping import Shaping
from rsgrpo_cli.rewards.types import RewardFn
from rsgrpo_cli.run.staleness import Freshness, freshness
from rsgrpo_cli.run.step_dir import Parts, Step, part_files, rewards_of
from rsgrpo_cli.schemas import REWARDS, ROLLOUTS
from rsgrpo_cli.stages import rollout as rollout_stage
from rsgrpo_cli.stages import score as score_stage


@dataclass(frozen=True, slots=True)
class Rules:
    """By what completions are graded, as another process can open it.

    Args:
        score: The settings.
        problems: File of `schemas.PROMPTS` with all prompts of the parts.
        lenient: As of `Session.reward`.
        shaping: What is added to the rewards, if anything.
    """

    score: ScoreConfig
    problems: Path
    lenient: bool = False
    shaping: Shaping | None = None

    def open(self, session: Session, workers: int) -> RewardFn:
        """The verifier, with this many processes."""
        cfg = self.score
        return session.reward(cfg.reward, workers=workers, timeout=cfg.timeout, lenient=self.lenient)


@dataclass(frozen=True, slots=True)
class Grading:
    """How part files are graded.

    Args:
        rules: By what.
        reward: The verifier.
        settings: What the lineage of the rewards says of it, beside its identity.
        prompts: Table of `schemas.PROMPTS`, that of the rules.
        prompts_id: Its id.
        policy_version: Of the policy that was sampled, where the lineage is to say so.
        recorded: The identity of the run's other rewards, if there are any.
    """

    rules: Rules
    reward: RewardFn
    settings: Mapping[str, Any]
    prompts: pa.Table
    prompts_id: str
    policy_version: int | None = None
    recorded: str = ""

    @property
    def identity(self) -> str:
        """By what rules: those of the tasks that the prompts have.

        A run that an older version made goes on to name all: rewards that are made again are then the same.
        """
        tasks = {*self.prompts["task"].unique().to_pylist()}
        identity = rules_for(self.reward.identity, tasks)
        return self.recorded if rules_for(self.recorded, tasks) == identity else identity

    def lineage(self, rollouts_id: str) -> Lineage:
        """The lineage of the rewards of the rollouts with an id."""
        inputs = {"rollouts": rollouts_id, "prompts": self.prompts_id}
        settings = {**self.settings, "identity": self.identity}
        return Lineage("score", settings, inputs, policy_version=self.policy_version)

    def grade(self, part: Path, chosen: pa.ChunkedArray | None = None) -> pa.Table:
        """The rewards of one part of the rollouts, or of its chosen rows, a table of `schemas.REWARDS`."""
        return grade(part, self.prompts, self.reward, self.rules.shaping, chosen)


def grade(
    part: Path, prompts: pa.Table, reward: RewardFn, shaping: Shaping | None, chosen: pa.ChunkedArray | None = None
) -> pa.Table:
    """The rewards of one part of the rollouts.

    Args:
        part: The file.
        prompts: Table of `schemas.PROMPTS` with all of its prompts.
        reward: The verifier.
        shaping: What is added to the rewards, if anything.
        chosen: Which rows, a column of booleans; all unless given.

    Returns:
        Table of `schemas.REWARDS`.

    Raises:
        DataError: As of `stages.score.score`.
    """
    in_thought = rollout_stage.prompts_in_thought(read_lineage(part, ROLLOUTS).outputs)
    rollouts = read_table(part, ROLLOUTS, list(score_stage.columns_read(reward, shaping)))
    wanted = rollouts if chosen is None else rollouts.filter(chosen)
    return score_stage.score(wanted, prompts, reward, shaping, in_thought, among=len(rollouts))


@dataclass(frozen=True, slots=True)
class ToGrade:
    """A part that is to be graded.

    Args:
        source: The file of its completions.
        path: Where its rewards go.
        lineage: Of these.
    """

    source: Path
    path: Path
    lineage: Lineage


def grade_parts(
    session: Session,
    grading: Grading,
    parts: Sequence[ToGrade],
    *,
    old: Collection[Path] = (),
    title: tuple[str, str],
) -> None:
    """Grade parts and write the rewards of each, here or on the session's workers.

    Args:
        session: The run.
        grading: How.
        parts: Which.
        old: What is there and goes, once the first part is graded: not before it is known that it can be.
        title: What is said to be done, and what the parts are of in the message of a stop.

    Raises:
        Interrupted: If a stop is asked for; what is graded by then is kept.
        DataError: As of `grade`.
    """
    with activity.doing(title[0], len(parts), "parts") as bar:
        workers = session.spread if session.spread is not None and session.spread.grades else None
        made = workers.grade(session, grading, parts, old, bar) if workers else _grade_here(grading, parts, old)
        done = 0
        for done, _ in enumerate(made, start=1):
            bar.advance()
            if workers is None and done < len(parts):
                session.stop.check(f"part {done} of {len(parts)} of {title[1]}", again(session))
        if done < len(parts):  # workers finish what they have in hand first
            session.stop.check(f"part {done} of {len(parts)} of {title[1]}", again(session))


def _grade_here(grading: Grading, parts: Sequence[ToGrade], old: Collection[Path]) -> Iterator[Path]:
    for at, part in enumerate(parts):
        rewards = grading.grade(part.source)
        if at == 0:
            for path in old:
                discard(path, REWARDS)
        write_table(part.path, rewards, REWARDS, part.lineage)
        yield part.path


# -- a step -----------------------------------------------------------------------------------------------------------


def grading_of(session: Session, step: Step, cfg: ScoreConfig) -> Grading:
    """How a step's completions are graded with these settings."""
    shaping = Shaping(step.sampled.config["max_tokens"], cfg.overlong_buffer, cfg.format_weight)
    rules = Rules(cfg, session.run.prompts, shaping=shaping)
    reward = rules.open(session, cfg.workers)
    recorded = _recorded(step, cfg.reward)
    return Grading(rules, reward, cfg.decisive(), session.prompts, session.prompts_id, step.number, recorded)


def _recorded(step: Step, name: str) -> str:
    """The identity that the run's rewards of this name have, of this step or the nearest; "" where there are none."""
    for number in sorted(step.run.steps(), key=lambda number: abs(number - step.number)):
        for path in rewards_of(step.run, number).paths[:1]:
            with suppress(ArtifactError):  # a damaged one is named where it is used
                made = read_lineage(path, REWARDS).config
                if made.get("reward") == name:
                    return str(made.get("identity"))
    return ""


def freshness_of_rewards(path: Path, wanted: Lineage) -> Freshness:
    """`freshness` of a file of rewards: what rules it names of further tasks makes no difference."""
    state = freshness(path, REWARDS, wanted)
    if state != Freshness.OTHER_SETTINGS:
        return state
    made = dict(read_lineage(path, REWARDS).config)
    alike = same_rules(str(made.get("identity")), wanted.config["identity"])
    same = made | {"identity": wanted.config["identity"]} == dict(wanted.config)
    return Freshness.CURRENT if alike and same else state


def rewards_state(step: Step, made: Parts, grading: Grading, rollouts_id: str) -> Freshness:
    """How the rewards that are there relate to those of all rollouts: missing as long as a part of these has none."""
    if made.single:
        grown = 0 < step.scored < len(step.rollouts.paths)
        return Freshness.MISSING if grown else freshness_of_rewards(made.place, grading.lineage(rollouts_id))
    states = {freshness_of_rewards(part.path, part.lineage) for part in _wanted(step, made.place, grading)}
    order = (Freshness.STALE, Freshness.OTHER_SETTINGS, Freshness.MISSING)
    return next((state for state in order if state in states), Freshness.CURRENT)


def _wanted(step: Step, folder: Path, grading: Grading) -> list[ToGrade]:
    """Every part of the rollouts, with the file of its rewards and the lineage that these should have."""
    files = ((f"{name}.parquet", made) for name, made in step.rollouts.ids.items())
    return [ToGrade(step.folder / name, folder / name, grading.lineage(made)) for name, made in files]


def grade_step(session: Session, step: Step, folder: Path, grading: Grading, *, force: bool) -> None:
    """Grade the parts that have no rewards of these settings yet; what is there goes once the first one is graded."""
    wanted = _wanted(step, folder, grading)
    missing = [part for part in wanted if force or freshness_of_rewards(part.path, part.lineage) != Freshness.CURRENT]
    keep = {part.path for part in wanted} - {part.path for part in missing}
    old = [path for path in [*part_files(folder), folder.with_name(f"{folder.name}.parquet")] if path not in keep]
    title = (f"score of step {step.number}", f"the rewards of step {step.number}")
    grade_parts(session, grading, missing, old=old, title=title)

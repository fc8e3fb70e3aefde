"""Part files of completions: sampling them, for a training step and for an evaluation alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from rsgrpo_cli import activity, disk
from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.engines.types import Engine, Sampling
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import again
from rsgrpo_cli.schemas import PROMPTS, ROLLOUTS, ArtifactSchema
from rsgrpo_cli.stages import rollout as rollout_stage


@dataclass(frozen=True, slots=True)
class Draw:
    """What completions are drawn: of which prompts, from which policy, and how.

    Args:
        prompts: File of `schemas.PROMPTS`.
        engine: What samples.
        sampling: How to draw.
        lineage: Of every part; `policy_version` goes into its rows.
        seed_parts: As `stages.rollout.rollout`.
        group_prefix: As there.
    """

    prompts: Path
    engine: str
    sampling: Sampling
    lineage: Lineage
    seed_parts: tuple[int | str, ...]
    group_prefix: str

    @property
    def version(self) -> int:
        """The policy that is sampled."""
        assert self.lineage.policy_version is not None  # whoever samples knows from which policy
        return self.lineage.policy_version

    def tables(
        self, prompts: pa.Table, parts: Sequence[rollout_stage.Part], engine: Engine
    ) -> Iterator[tuple[rollout_stage.Part, pa.Table]]:
        """As `stages.rollout.rollout`, with these settings."""
        return rollout_stage.rollout(
            prompts,
            parts,
            engine,
            self.sampling,
            seed_parts=self.seed_parts,
            group_prefix=self.group_prefix,
            policy_version=self.version,
        )

    def write(self, path: Path, table: pa.Table) -> str:
        """Write a part, whole or not at all; its id."""
        return write_table(path, table, ROLLOUTS, replace(self.lineage, outputs=rollout_stage.notes(table)))


def sample_parts(
    session: Session,
    folder: Path,
    draw: Draw,
    parts: Sequence[rollout_stage.Part],
    *,
    title: tuple[str, str],
) -> Iterator[tuple[Path, int]]:
    """Sample parts and write each, here or on the session's workers; a polite stop ends it between two of them.

    Args:
        session: The run.
        folder: Where the part files go.
        draw: What is drawn.
        parts: Which to make.
        title: What is said to be done, and what the parts are of in the message of a stop.

    Yields:
        Each part's file, once it is written, and its rows: in the order of the plan, or as workers finish them.
    """
    with activity.doing(title[0], len(parts), "parts") as bar:
        if session.spread is not None:
            made = session.spread.sample(session, folder, draw, parts, bar)
        else:
            made = _sample_here(session, folder, draw, parts)
        done = 0
        for done, (path, rows) in enumerate(made, start=1):
            yield path, rows
            bar.advance()
            if session.spread is None and done < len(parts):
                session.stop.check(_so_far(done, parts, title), again(session))
        if done < len(parts):  # workers finish what they have in hand first
            session.stop.check(_so_far(done, parts, title), again(session))


def _so_far(done: int, parts: Sequence[rollout_stage.Part], title: tuple[str, str]) -> str:
    return f"part {done} of {len(parts)} of {title[1]}"


def _sample_here(
    session: Session, folder: Path, draw: Draw, parts: Sequence[rollout_stage.Part]
) -> Iterator[tuple[Path, int]]:
    """Sample parts in this process."""
    engine = session.engine(draw.engine, draw.version)
    for part, table in draw.tables(read_table(draw.prompts, PROMPTS), parts, engine):
        path = folder / f"{part.name}.parquet"
        draw.write(path, table)
        yield path, len(table)


def discard(path: Path, kind: ArtifactSchema) -> None:
    """Remove an artifact that is to be made again; what is not one of ours is set aside."""
    try:
        read_lineage(path, kind)
    except MissingError:
        return
    except ArtifactError:
        disk.set_aside(path)
    else:
        path.unlink()

"""The files behind the views of `rsgrpo sql`: which files of which runs, as lazy Arrow datasets.

A dataset knows of each file which run, step or evaluation it belongs to, so that a query on one step opens only the
files of that step. Nothing but footers is read before a query asks for rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import GRADED, SAMPLED, evaluation_parts, evaluations, why_stale
from rsgrpo_cli.run.step_dir import Parts, Step, part_files, rewards_of
from rsgrpo_cli.schemas import (
    ADVANTAGES,
    METRICS,
    PROBLEMS,
    PROMPTS,
    REWARDS,
    ROLLOUTS,
    SUMMARY,
    UPDATE_METRICS,
    ArtifactSchema,
)

Values = dict[str, Any]

_RUN = {"run": pa.string()}
_STEP = _RUN | {"tag": pa.string(), "step": pa.int32()}
_EVALUATION = _RUN | {
    "tag": pa.string(),
    "policy": pa.int32(),
    "interpolation": pa.float64(),
    "benchmark": pa.string(),
    "stale": pa.string(),
}
OWN = ""
"""The tag of what is the run's own."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file.

    Args:
        path: Where it is.
        kind: What it holds.
        values: Of the columns that say where it belongs.
    """

    path: Path
    kind: ArtifactSchema
    values: Values


@dataclass(frozen=True, slots=True)
class Source:
    """One kind of file.

    Args:
        kind: What the files hold.
        keys: Columns that say where a file belongs, which the file itself has not got.
    """

    kind: ArtifactSchema
    keys: Mapping[str, pa.DataType]

    @property
    def schema(self) -> pa.Schema:
        """The keys and the columns of the files; a file may lack optional ones."""
        keys = [pa.field(name, kind) for name, kind in self.keys.items()]
        return pa.schema([*keys, *(field.with_nullable(True) for field in self.kind.schema)])

    def dataset(self, pieces: Sequence[Piece]) -> ds.Dataset:
        """All rows of some files, to be read when they are asked for."""
        options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        return ds.FileSystemDataset.from_paths(
            [str(piece.path.absolute()) for piece in pieces],
            schema=self.schema,
            format=ds.ParquetFileFormat(default_fragment_scan_options=options),
            filesystem=pyarrow.fs.LocalFileSystem(),
            partitions=[self._place(piece.values) for piece in pieces],
        )

    def _place(self, values: Values) -> ds.Expression:
        terms = [
            ds.field(name).is_null() if values[name] is None else ds.field(name) == pa.scalar(values[name], kind)
            for name, kind in self.keys.items()
        ]
        return reduce(and_, terms)


SOURCES = {
    "_prompts": Source(PROMPTS, _RUN),
    "_metrics": Source(METRICS, _RUN),
    "_rollouts": Source(ROLLOUTS, _STEP),
    "_rewards": Source(REWARDS, _STEP),
    "_advantages": Source(ADVANTAGES, _STEP),
    "_updates": Source(UPDATE_METRICS, _STEP),
    "_problems": Source(PROBLEMS, _EVALUATION),
    "_summary": Source(SUMMARY, _EVALUATION),
    "_samples": Source(ROLLOUTS, _EVALUATION),
    "_verdicts": Source(REWARDS, _EVALUATION),
    "_benchmarks": Source(PROMPTS, _RUN | {"benchmark": pa.string()}),
}
_OF_STEPS = {"_rollouts", "_rewards", "_advantages", "_updates"}
_OF_EVALUATIONS = {"_problems", "_summary", "_samples", "_verdicts", "_benchmarks"}


class Files:
    """The files of some runs, looked for when a view needs them.

    Args:
        runs: Name -> run.
        tags: What was made with these tags is there too.
    """

    def __init__(self, runs: Mapping[str, RunDir], tags: Sequence[str] = ()) -> None:
        self.runs, self.tags = runs, tags
        self._found: dict[str, list[Piece]] = {}

    def dataset(self, source: str) -> ds.Dataset:
        """One of SOURCES; every file's footer is checked.

        Raises:
            ArtifactError: If a file is foreign or cut short.
        """
        for piece in self.pieces(source):
            read_lineage(piece.path, piece.kind)
        return SOURCES[source].dataset(self.pieces(source))

    def pieces(self, source: str) -> list[Piece]:
        """The files of one of SOURCES."""
        if source not in self._found:
            group = next((one for one in (_OF_STEPS, _OF_EVALUATIONS) if source in one), {source})
            self._found |= {name: [] for name in group}
            for name, run in self.runs.items():
                for found, piece in self._collect(source, run, {"run": name}):
                    self._found[found].append(piece)
        return self._found[source]

    def check(self, source: str) -> None:
        """Read every file of one of SOURCES, to find what is wrong with it.

        Raises:
            ArtifactError: Naming the first file that is damaged.
        """
        for piece in self.pieces(source):
            read_table(piece.path, piece.kind)

    def _collect(self, source: str, run: RunDir, where: Values) -> Iterator[tuple[str, Piece]]:
        if source in _OF_STEPS:
            for step in run.steps():
                yield from _own_step(run, step, where | {"tag": OWN, "step": step})
                for tag in self.tags:
                    yield from _tagged_step(run, step, tag, where | {"tag": tag, "step": step})
        elif source in _OF_EVALUATIONS:
            yield from _evaluations(run, self.tags, where)
        else:
            path = run.prompts if source == "_prompts" else run.metrics
            yield from _if_there(source, path, where)

    def require_tags(self) -> None:
        """Make sure that there is something with every tag.

        Raises:
            MissingError: If no run has anything with one of them.
        """
        for tag in self.tags:
            sources = (*_OF_STEPS, "_problems")
            if not any(piece.values["tag"] == tag for name in sources for piece in self.pieces(name)):
                raise MissingError(f"no run has anything with the tag {tag}", "rsgrpo advantage --tag NAME makes some")


def table_of_runs(runs: Mapping[str, RunDir]) -> pa.Table:
    """One row per run: its settings."""
    return pa.Table.from_pylist([_settings(name, run) for name, run in runs.items()], schema=RUNS)


RUNS = pa.schema(
    [
        *((name, pa.string()) for name in ("run", "path", "model", "dataset", "estimator")),
        *((name, pa.float64()) for name in ("beta", "learning_rate")),
        *((name, pa.int64()) for name in ("seed", "group_size")),
        ("forked_from", pa.string()),
        ("forked_at", pa.int64()),
        ("settings", pa.string()),
    ]
)


def _settings(name: str, run: RunDir) -> dict[str, Any]:
    config = run.config()
    settings = flat(config.model_dump(mode="json"))
    origin = run.origin() or {}
    beta = settings.get("advantage.beta")
    return {
        "run": name,
        "path": str(run.path),
        "model": config.model.name,
        "dataset": config.prepare.dataset,
        "estimator": config.advantage.estimator,
        "beta": beta if isinstance(beta, int | float) else None,
        "learning_rate": config.update.learning_rate,
        "seed": config.seed,
        "group_size": config.rollout.group_size,
        "forked_from": origin.get("run"),
        "forked_at": origin.get("step"),
        "settings": json.dumps(settings),
    }


# -- steps ------------------------------------------------------------------------------------------------------------


def _own_step(run: RunDir, number: int, where: Values) -> Iterator[tuple[str, Piece]]:
    step = Step(run, number)
    rewards = step.rewards
    yield from _all("_rollouts", step.rollouts.paths, where)
    for path in _without_rollouts(step, rewards):
        yield "_rollouts", Piece(path, REWARDS, where)
    yield from _all("_rewards", rewards.paths, where)
    yield from _all("_advantages", step.advantages.paths, where)
    yield from _if_there("_updates", run.update_metrics(number), where)


def _without_rollouts(step: Step, rewards: Parts) -> list[Path]:
    """Rewards of completions that were removed to save space: the rows stay, without a text."""
    if not step.lost_rollouts:
        return []
    kept = {*step.rollouts.names}
    if rewards.single:
        return [] if kept else rewards.paths
    return [path for path in rewards.paths if path.stem not in kept]


def _tagged_step(run: RunDir, number: int, tag: str, where: Values) -> Iterator[tuple[str, Piece]]:
    """Prefers what was made with a tag to the step's own, as `show --tag` does."""
    step = Step(run, number)
    drawn, rewards = part_files(run.rollouts(number, tag)), rewards_of(run, number, tag)
    advantages = run.advantages(number, tag)
    if drawn or rewards or advantages.is_file():
        yield from _all("_rollouts", drawn or step.rollouts.paths, where)
    if not drawn and (rewards or advantages.is_file()):  # those of the step's own completions
        yield from _all("_rewards", (rewards or step.rewards).paths, where)
        yield from _all("_advantages", [advantages] if advantages.is_file() else step.advantages.paths, where)
    yield from _if_there("_updates", run.with_update(number, tag).update_metrics(number), where)


# -- evaluations ------------------------------------------------------------------------------------------------------


def _evaluations(run: RunDir, tags: Sequence[str], where: Values) -> Iterator[tuple[str, Piece]]:
    """The files of every evaluation that was summed up, those on the line from the base model among them."""
    found = [(run, OWN, version, WHOLE, name) for version, name in evaluations(run)]
    found += [(run, OWN, version, at, name) for version, at, name in run.interpolated()]
    for tag in tags:
        for step in run.steps():
            seen = run.with_update(step, tag)
            found += [(seen, tag, step + 1, WHOLE, name) for name in seen.benchmarks_of(step + 1)]
    for seen, tag, version, at, name in found:
        place = {"tag": tag, "policy": version, "interpolation": at, "benchmark": name}
        stale = why_stale(seen, version, name, at)
        yield from _evaluation(seen.evaluation(version, name, at), where | place | {"stale": stale})
    for name in sorted({name for *_, name in found}):
        yield from _if_there("_benchmarks", run.benchmark(name), where | {"benchmark": name})


def _evaluation(folder: Path, where: Values) -> Iterator[tuple[str, Piece]]:
    summary = folder / "summary.parquet"
    samples = read_lineage(summary, SUMMARY).config["num_samples"]
    yield from _all("_summary", [summary], where)
    yield from _if_there("_problems", folder / "problems.parquet", where)
    yield from _all("_samples", evaluation_parts(folder / SAMPLED, samples), where)
    yield from _all("_verdicts", evaluation_parts(folder / GRADED, samples), where)


def _all(source: str, paths: Sequence[Path], where: Values) -> Iterator[tuple[str, Piece]]:
    return ((source, Piece(path, SOURCES[source].kind, where)) for path in paths)


def _if_there(source: str, path: Path, where: Values) -> Iterator[tuple[str, Piece]]:
    return _all(source, [path] if path.is_file() else [], where)

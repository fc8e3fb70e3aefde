"""Evaluations: sample what is missing, grade what is ungraded, and sum up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rsgrpo_cli import activity
from rsgrpo_cli.artifacts import Lineage, combined_id, read_lineage, read_table, write_table
from rsgrpo_cli.config import EvalConfig, PrepareConfig, ScoreConfig
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.errors import StaleError, UsageError
from rsgrpo_cli.modeling.prompt_tokens import chat_template_id
from rsgrpo_cli.pipeline import prompt_checks
from rsgrpo_cli.pipeline.base_model import accepted
from rsgrpo_cli.pipeline.grading import Grading, Rules, ToGrade, freshness_of_rewards, grade_parts
from rsgrpo_cli.pipeline.identity import check_reward
from rsgrpo_cli.pipeline.parts import Draw, discard, sample_parts
from rsgrpo_cli.pipeline.preparation import prepare_prompts
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import Outcome, carry_out
from rsgrpo_cli.pipeline.waiting import waiting_for
from rsgrpo_cli.run.run_commands import benchmark_flags, command, eval_command
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.staleness import GRADED, SAMPLED, Freshness, evaluation_parts, freshness, place_flags, policy_at
from rsgrpo_cli.schemas import KEYS, PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY
from rsgrpo_cli.stages import evaluate as evaluate_stage
from rsgrpo_cli.stages import rollout as rollout_stage
from rsgrpo_cli.tasks.files import is_data_file
from rsgrpo_cli.tasks.sample_counts import check_names, for_benchmark
from rsgrpo_cli.tasks.sources import has_held_out_problems, is_known_by_name, source_name
from rsgrpo_cli.wording import plural


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate on and how, apart from the settings.

    Args:
        benchmark: A bundled dataset or a file.
        prompt_column: Of a file; the usual ones are tried unless given.
        answer_column: Of a file.
        tag: Keeps this evaluation apart from others of the same policy and benchmark.
        rescore: Grade stored samples again.
        force: Throw away what was made with other settings.
    """

    benchmark: str
    prompt_column: str | None = None
    answer_column: str | None = None
    tag: str | None = None
    rescore: bool = False
    force: bool = False

    @property
    def name(self) -> str:
        """What the evaluation's directory is called."""
        name = source_name(self.benchmark)
        return f"{name}.{self.tag}" if self.tag else name


def benchmarks_of(session: Session, named: Iterable[str] = ()) -> tuple[str, ...]:
    """The benchmarks of a run; of one that names none, the held-out problems of its own dataset.

    Args:
        session: The run.
        named: Those that were given a number of samples of their own.

    Raises:
        UsageError: If its dataset has none, two benchmarks have the same short name, or a number is for another one.
    """
    dataset = session.config.prepare.dataset
    names = session.config.benchmarks
    if dataset in names and not has_held_out_problems(dataset):
        raise UsageError(
            f"{dataset} was trained on and has no held-out problems",
            "name others: --benchmark math500,aime24 or a FILE",
        )
    short = [source_name(name) for name in names]
    twice = next((name for name in short if short.count(name) > 1), None)
    if twice:
        raise UsageError(f"two benchmarks are called {twice}", "give each file a name of its own")
    check_names(names, named)
    return names


def _refuse_short(run: RunDir, name: str) -> None:
    """Refuse the name of evaluations on a file or on a dataset of the Hub: tell what it is short for."""
    if is_known_by_name(name) or Path(name).exists() or is_data_file(Path(name)):
        return
    version = next((version for version in reversed(run.evaluated()) if name in run.benchmarks_of(version)), None)
    flags = benchmark_flags(run, version, name) if version is not None else []
    if flags and flags[1] != name:
        raise UsageError(
            f"{name} is what the evaluations on {flags[1]} are called", f"give that: {command(run, 'eval', *flags)}"
        )


def columns_for(
    names: Sequence[str], prompt: str | None, answer: str | None
) -> dict[str, tuple[str | None, str | None]]:
    """Benchmark -> the columns that were given, for those that need them; a benchmark known by name has its own.

    Where all are known by name, they are left to be refused.
    """
    need = {name for name in names if not is_known_by_name(name)} or set(names)
    return {name: (prompt, answer) if name in need else (None, None) for name in names}


def warn_of_overlap(session: Session, version: int, requests: Iterable[Request]) -> None:
    """Say which benchmarks were found among the problems that a policy was trained on."""
    if version == 0 or not session.run.prompts.is_file():
        return
    notes = read_lineage(session.run.prompts, PROMPTS).outputs
    for request in requests:
        note = notes.get(f"overlap {source_name(request.benchmark)}")
        if note:
            session.out.warn(f"{note} problems of {request.name} are in the training data of this run")


def evaluate(session: Session, version: int, cfg: EvalConfig, request: Request) -> Outcome:
    """Measure pass@k of a policy on a benchmark.

    Raises:
        StaleError: If samples are there that were drawn with other settings.
    """
    cfg = for_benchmark(cfg, request.benchmark)
    prompts = benchmark_prompts(session, request)
    folder = session.run.evaluation(version, request.name, session.at)
    settings = session.sampling_settings(session.config.rollout.engine)
    settings |= {} if session.at == WHOLE else {"interpolation": session.at}
    settings |= {"seed": session.config.seed, "chat_template": chat_template_id(session.base)}
    settings |= cfg.model_dump(mode="json", include={"temperature", "top_p", "max_tokens"})
    inputs = {"prompts": _prompts_id(session, request), "policy": session.policy_id(version)}
    inputs |= accepted(session.run) | session.inexactness(version)
    lineage = Lineage("eval", settings, inputs, policy_version=version)
    _check_parts(session, version, request, folder, lineage)

    def work() -> dict[str, Any]:
        facts = _make_parts(session, version, cfg, request, folder, prompts, lineage)
        facts |= {"num_samples": _sum_up(cfg, request, folder, prompts)}
        summary = read_table(folder / "summary.parquet", SUMMARY).to_pylist()
        asked = [row for row in summary if row["metric"] == "pass" and row["k"] in cfg.k]
        graded = [row["value"] for row in summary if row["metric"] == "reward"]
        facts |= {"reward": graded[0]} if graded else {}
        return facts | {f"pass@{row['k']}": row["value"] for row in asked}

    where: dict[str, int | str] = {"policy": version, "benchmark": request.name}
    where |= {} if session.at == WHOLE else {"interpolation": f"{session.at:g}"}
    tag = request.tag or (session.run.policy_name(version).partition(".")[2])
    where |= {"tag": tag} if tag else {}
    where |= {"given": request.benchmark} if source_name(request.benchmark) != request.benchmark else {}
    return carry_out(session, "eval", folder / "summary.parquet", work, where)


def prepare_benchmarks(session: Session, requests: Iterable[Request]) -> None:
    """Get the problems of all benchmarks, so that what is wrong with one comes out before anything is sampled.

    Raises:
        EngineError, DataError, UsageError: If the model cannot read them, or not answer in full; or if a benchmark is
            named as its evaluations are, and cannot be read by that name.
    """
    for request in requests:
        _refuse_short(session.run, request.benchmark)
        prompts = benchmark_prompts(session, request)
        prompt_checks.check_prompts(session, session.config.prepare, prompts, "eval.max_tokens")


def benchmark_prompts(session: Session, request: Request, score: ScoreConfig | None = None) -> pa.Table:
    """All problems of the benchmark, phrased as those of the training, with the columns that a reward takes.

    Args:
        session: The run.
        request: Which benchmark.
        score: The reward; the run's unless given.
    """
    cfg = session.config.prepare.model_copy(
        update={
            "dataset": request.benchmark,
            "prompt_column": request.prompt_column,
            "answer_column": request.answer_column,
            **{name: PrepareConfig.model_fields[name].default for name in ("limit", "max_prompt_tokens")},
            "decontaminate": "off",
        }
    )
    path = session.run.benchmark(request.name)
    folders = sorted((session.run.path / "evals").glob("*"))
    made = [found for folder in folders if (found := folder / request.name) and (found / "summary.parquet").is_file()]
    with waiting_for(session, lambda: session.run.lock_benchmarks(session.out.warn)):
        beside: dict[str, Any] = {"tagged": True, "tag": request.tag}
        prepare_prompts(session, cfg, "test", path, dependents=made, force=request.force, score=score, **beside)
    return read_table(path, PROMPTS)


def _prompts_id(session: Session, request: Request) -> str:
    return read_lineage(session.run.benchmark(request.name), PROMPTS).id


def _check_parts(session: Session, version: int, request: Request, folder: Path, wanted: Lineage) -> None:
    """Samples of different settings must not be mixed."""
    other = [
        path for path in evaluation_parts(folder / SAMPLED) if freshness(path, ROLLOUTS, wanted) != Freshness.CURRENT
    ]
    if other and not request.force:
        replace_it = eval_command(session.run, version, request.name, *place_flags(session.at), "--force")
        raise StaleError(
            f"the samples in {folder} were drawn {_how_else(read_lineage(other[0], ROLLOUTS), wanted)}",
            f"keep both: --tag NAME; replace them: {replace_it}",
        )
    if other and version:
        session.policy(version)  # nothing goes before others can be sampled
    for path in other:
        discard(path, ROLLOUTS)
        discard(folder / GRADED / path.name, REWARDS)


def _how_else(made: Lineage, wanted: Lineage) -> str:
    changed = [role for role, current in wanted.inputs.items() if made.inputs.get(role) != current]
    if "policy" in changed:
        return f"from another policy {wanted.policy_version}, which has been replaced since"
    if "prompts" in changed:
        return "from different problems, or from the same ones worded differently"
    if made.inputs.get("rebuilt") != wanted.inputs.get("rebuilt"):
        exactly = "not " if "rebuilt" in made.inputs else ""
        return f"from a policy that was {exactly}the same bit for bit"
    if dict(made.inputs) != dict(wanted.inputs):
        return "before the base model was changed"
    names = [name for name, value in wanted.config.items() if made.config.get(name) != value]
    return f"with other settings ({', '.join(f'{name} {made.config.get(name)}' for name in names)})"


def _make_parts(
    session: Session,
    version: int,
    cfg: EvalConfig,
    request: Request,
    folder: Path,
    prompts: pa.Table,
    lineage: Lineage,
) -> dict[str, Any]:
    """Grade what is sampled, then sample and grade what is missing: a part at a time, or all of it by workers."""
    there = evaluation_parts(folder / SAMPLED)
    covered = rollout_stage.covered_samples(path.stem for path in there)
    parts = rollout_stage.evaluation_parts(len(prompts), covered, cfg.samples)
    grader = _Grader(session, request, prompts, _prompts_id(session, request))
    flips = grader.grade(there)
    sampled, waiting = 0, list[Path]()
    if parts:
        missing = sum((part.last_sample - part.first_sample) * len(part.rows) for part in parts)
        session.out.info(
            f"sampling {missing:,} {plural(missing, 'completion')} of {len(prompts):,} "
            f"{plural(len(prompts), 'problem')} of {request.name}, for {cfg.samples:,} of each (--num-samples)"
        )
        draw = _draw(session, cfg, request, lineage)
        title = (f"eval of {policy_at(session.run, version, session.at)} on {request.name}", "the evaluation")
        for path, rows in sample_parts(session, folder / SAMPLED, draw, parts, title=title):
            sampled += rows
            waiting.append(path)
            if not grader.by_workers:
                grader.grade([waiting.pop()])
        grader.grade(waiting)
    return {"sampled": sampled, "changed_verdicts": flips}


def _draw(session: Session, cfg: EvalConfig, request: Request, lineage: Lineage) -> Draw:
    assert cfg.max_tokens is not None  # resolved with the configuration
    return Draw(
        session.run.benchmark(request.name),
        session.config.rollout.engine,
        Sampling(cfg.temperature, cfg.top_p, cfg.max_tokens),
        lineage,
        seed_parts=(session.config.seed, "eval"),
        group_prefix="",
    )


class _Grader:
    """Grades part files; leaves those alone that this verifier has graded."""

    def __init__(self, session: Session, request: Request, prompts: pa.Table, prompts_id: str) -> None:
        score = session.config.score
        rules = Rules(score, session.run.benchmark(request.name), lenient=True)
        reward = rules.open(session, score.workers)
        # An evaluation asks what is right: rewards are not shaped there.
        verifier = score.model_dump(mode="json", include={"reward", "timeout"})
        self.session, self.request = session, request
        self.grading = Grading(rules, reward, verifier | {"lenient": True}, prompts, prompts_id)
        if not request.rescore:
            check_reward(session, score.reward, self.grading.identity, benchmark=request.name)

    @property
    def by_workers(self) -> bool:
        """Whether several parts are better graded at once."""
        return self.session.spread is not None and self.session.spread.grades

    def grade(self, sources: Sequence[Path]) -> int:
        """Grade parts; how many verdicts differ from those that were there."""
        parts = [part for source in sources if (part := self._to_grade(source))]
        before = {part.path: _statuses(part.path) for part in parts if part.path.is_file()}
        if parts:
            title = f"verdicts on {self.request.name}" if len(parts) > 1 else ""
            grade_parts(self.session, self.grading, parts, title=(title, f"the verdicts on {self.request.name}"))
        changed = 0
        for path, statuses in before.items():
            pairs = zip(statuses, _statuses(path), strict=True)
            changed += sum((old == "ok") != (new == "ok") for old, new in pairs)
        return changed

    def _to_grade(self, source: Path) -> ToGrade | None:
        """A part whose verdicts are not there, or are to be given again."""
        target = source.parent.with_name(GRADED) / source.name
        wanted = self.grading.lineage(read_lineage(source, ROLLOUTS).id)
        state = freshness_of_rewards(target, wanted)
        if state == Freshness.CURRENT and not self.request.rescore:
            return None
        if state == Freshness.OTHER_SETTINGS and not (self.request.rescore or self.request.force):
            raise StaleError(f"{target} was graded by another verifier", "grade the stored samples again: --rescore")
        return ToGrade(source, target, wanted)


def _statuses(path: Path) -> list[str]:
    found: list[str] = read_table(path, REWARDS, ["reward_status"])["reward_status"].to_pylist()
    return found


def _sum_up(cfg: EvalConfig, request: Request, folder: Path, prompts: pa.Table) -> int:
    """Problems and summary of all samples that every problem has; how many these are.

    What was asked for before stays in: a summary only grows. The problems are written first, and count with the
    summary that has the same lineage only.
    """
    covered = rollout_stage.covered_samples(path.stem for path in evaluation_parts(folder / SAMPLED))
    samples = min(covered.values())
    used = [path.name for path in evaluation_parts(folder / SAMPLED, samples)]
    first = read_lineage(folder / SAMPLED / used[0], ROLLOUTS)
    inputs = {
        SAMPLED: combined_id(read_lineage(folder / SAMPLED / name, ROLLOUTS).id for name in used),
        GRADED: combined_id(read_lineage(folder / GRADED / name, REWARDS).id for name in used),
    }
    grown = cfg.model_copy(update={"num_samples": samples, "k": _all_ks(folder, cfg, samples)})
    settings = grown.decisive()
    given = {"benchmark": request.benchmark}
    lineage = Lineage("eval", settings, inputs, policy_version=first.policy_version, outputs=given)
    if _is_current(folder, lineage):
        return samples
    rollouts = _concatenated(folder / SAMPLED, used, ROLLOUTS, list(evaluate_stage.ROLLOUT_COLUMNS))
    rewards = _concatenated(folder / GRADED, used, REWARDS, None)
    with activity.doing(f"pass@k of {len(rollouts):,} {plural(len(rollouts), 'completion')}"):
        problems, summary = evaluate_stage.evaluate(rollouts, rewards, prompts, grown.k, samples)
    write_table(folder / "problems.parquet", problems, PROBLEMS, lineage)
    write_table(folder / "summary.parquet", summary, SUMMARY, lineage)
    return samples


def _all_ks(folder: Path, cfg: EvalConfig, samples: int) -> tuple[int, ...]:
    """The values of k asked for, now or before."""
    path = folder / "summary.parquet"
    before = read_lineage(path, SUMMARY).config["k"] if path.is_file() else ()
    known = [k for k in before if type(k) is int and 1 <= k <= samples] if isinstance(before, list) else []
    return tuple(sorted({*cfg.k, *known}))


def _is_current(folder: Path, wanted: Lineage) -> bool:
    tables = ((folder / "problems.parquet", PROBLEMS), (folder / "summary.parquet", SUMMARY))
    return all(freshness(path, kind, wanted) == Freshness.CURRENT for path, kind in tables)


def _concatenated(folder: Path, names: list[str], kind: Any, columns: list[str] | None) -> pa.Table:
    tables = [read_table(folder / name, kind, columns) for name in names]
    return pa.concat_tables(tables).sort_by([(key, "ascending") for key in KEYS])

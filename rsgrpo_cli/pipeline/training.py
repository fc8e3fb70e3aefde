"""The loop over steps, and how a run is started, resumed and forked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsgrpo_cli.config import Overrides, RunConfig, changed_fields, decides_training, override, override_afresh
from rsgrpo_cli.errors import Interrupted, MissingError, UsageError
from rsgrpo_cli.pipeline import evaluation, preparation, steps
from rsgrpo_cli.pipeline.history import History, check_history
from rsgrpo_cli.pipeline.keeping import prune
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.run_dir import RunDir, numbered

Report = Callable[[dict[str, Any]], None]
"""Called with each step's row of metrics."""


# -- starting, resuming -----------------------------------------------------------------------------------------------


def resume_config(run: RunDir, overrides: Overrides) -> RunConfig:
    """The configuration to go on with: the run's own, with what may change changed; all of it while nothing was made.

    Raises:
        UsageError: If a flag contradicts what the run was created with.
    """
    stored = run.config()
    if not run.has_results():
        return override_afresh(stored, overrides)
    wanted = override(stored, overrides)
    for name, (old, new) in changed_fields(stored, wanted).items():
        decides_problems = name == "eval.benchmark" and stored.prepare.decontaminate == "drop"
        if decides_training(name) or decides_problems:
            flag = name.removesuffix(".name").split(".")[-1].replace("_", "-")
            raise UsageError(
                f"run {run.name} was created with {flag} {old}, not {new}",
                f"leave the flag out to go on with it, branch off: rsgrpo fork --run {run.path}, or name a new --run",
            )
    return wanted


def train(session: Session, report: Report) -> None:
    """Run the remaining steps; with what is finished skipped, this is also how a run is resumed.

    Raises:
        StaleError: If an earlier step was changed by hand since.
        Interrupted: If asked to stop.
    """
    settle(session)
    total = session.config.train.steps
    if session.run.newest_version() < total:
        preparation.prepare(session, session.config.prepare)
        _check_resources(session)
    if session.config.train.eval_every:
        requests = [evaluation.Request(name) for name in evaluation.benchmarks_of(session)]
        evaluation.prepare_benchmarks(session, requests)
    training = Training(session)
    with _kept_when_stopped(session):
        for step in range(training.start, total):
            report(training.step(step))
            if step + 1 < total:
                session.stop.check(f"step {step}", steps.again(session))


@contextmanager
def _kept_when_stopped(session: Session) -> Iterator[None]:
    """On a polite stop, save the newest policy first where no checkpoint has it: resuming then repeats no update."""
    try:
        yield
    except Interrupted as stopped:
        saved = steps.save_policy(session)
        if saved is None:
            raise
        raise Interrupted(f"{stopped.message}; policy {saved} is saved", stopped.hint) from stopped


def settle(session: Session) -> None:
    """Give a run in which nothing was made the settings of this session."""
    run = session.run
    if not run.has_results() and run.config() != session.config:
        run.change_config(session.config)


def _check_resources(session: Session) -> None:
    """Find out what is not there or cannot be loaded before anything is sampled for it."""
    score = session.config.score
    session.require_engine(session.config.rollout.engine)
    session.require_reward(score.reward, workers=score.workers, timeout=score.timeout)


class Training:
    """A run's steps, from where it stands; whatever the next step needs is on disk when one ends.

    Args:
        session: The run, with its problems prepared.

    Raises:
        StaleError: If an earlier step was changed by hand since.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.start = session.run.newest_version()
        check_history(session, self.start)
        self.history = History(session, upto=self.start)
        if self.start < session.config.train.steps:
            session.policy(self.start, train=True)
        if self.start:
            # The run may have been stopped between its last update and the end of that step.
            _maybe_evaluate(session, self.start, again=False)
            self._prune()

    def step(self, step: int) -> dict[str, Any]:
        """Do a step: the four stages, its row of metrics (returned), an evaluation if one is due.

        Raises:
            Interrupted: If asked to stop.
        """
        session, config = self.session, self.session.config
        self._sample(step)
        steps.advantage(session, step, config.advantage)
        save = self._is_due(step + 1)
        steps.update(session, step, config.update, save=save)
        row = self.history.add(step, write=save)
        if save:
            _maybe_evaluate(session, step + 1)
            self._prune()
        return row

    def _sample(self, step: int) -> None:
        """Rollouts and rewards; with `zero_variance = "resample"` in as many rounds as it takes."""
        session, config = self.session, self.session.config
        more = True
        while more:
            steps.rollout(session, step, config.rollout)
            session.stop.check(f"the rollouts of step {step}", steps.again(session))
            scored = steps.score(session, step, config.score)
            session.stop.check(f"the rewards of step {step}", steps.again(session))
            more = "prompts_to_draw" in scored.facts

    def _prune(self) -> None:
        prune(self.session.run, keep=self.session.config.train.keep_checkpoints, warn=self.session.out.warn)

    def _is_due(self, version: int) -> bool:
        """Whether a policy is to be saved: by its number, as the last, to be evaluated, or because of a Ctrl-C."""
        cfg = self.session.config.train
        by_number = version % cfg.checkpoint_every == 0 or version == cfg.steps
        return by_number or _evaluation_is_due(self.session, version) or self.session.stop.requested


def _evaluation_is_due(session: Session, version: int) -> bool:
    cfg = session.config.train
    return cfg.eval_every > 0 and (version % cfg.eval_every == 0 or version == cfg.steps)


def _maybe_evaluate(session: Session, version: int, *, again: bool = True) -> None:
    if not _evaluation_is_due(session, version):
        return
    for name in evaluation.benchmarks_of(session):
        request = evaluation.Request(name)
        if again or request.name not in session.run.benchmarks_of(version):
            facts = evaluation.evaluate(session, version, session.config.eval, request).facts
            values = "  ".join(f"{name} {value:.3f}" for name, value in facts.items() if name.startswith("pass@"))
            session.out.info(f"policy {version} on {request.name}: {values}")


# -- branching --------------------------------------------------------------------------------------------------------


def fork(source: RunDir, step: int, target: Path, overrides: Overrides) -> RunDir:
    """A new run that shares everything before step `step`, and goes on with other settings.

    That step's rollouts and rewards are shared as well, unless sampling is what changes.

    Files are hard-linked: an artifact is only ever replaced, never written into, so neither run can change the other's.

    Args:
        source: The run to branch off.
        step: The first step that the new run does itself.
        target: Where the new run goes.
        overrides: Its other settings.

    Raises:
        MissingError: If the policy of that step is not there (any more).
        UsageError: If there is something at `target`, or the policy of that step is of another model, or learned
            from other problems, than wanted.
    """
    if step > 0 and step not in source.versions():
        have = ", ".join(map(str, source.versions())) or "none"
        raise MissingError(f"run {source.name} has no checkpoint {step} to fork from", f"checkpoints: {have}, or 0")
    config = override(source.config(), overrides)
    changed = changed_fields(source.config(), config)
    if step > 0:
        _require_same_past(changed, f"policy {step} of run {source.name}")
    run = RunDir.create(target, config, forked_from={"run": source.name, "step": step})
    shared = [source.prompts, *(source.path / "benchmarks").glob("*.parquet")]
    shared += [source.step(earlier) for earlier in range(step)]
    shared += [source.rollouts(step), source.rewards(step)] if _samples_alike(changed) else []
    shared += [source.checkpoint(version) for version in source.versions() if version <= step]
    shared += [source.evaluations(version) for version in numbered(source.path / "evals") if version <= step]
    for path in shared:
        _link(path, run.path / path.relative_to(source.path))
    return run


def _require_same_past(changed: Mapping[str, tuple[Any, Any]], policy: str) -> None:
    """Refuse a fork of a trained policy that would need another past: another model or other problems."""
    for name, (was, wanted) in changed.items():
        problems = name.startswith("prepare.") and decides_training(name)
        if problems or name in ("model.name", "model.lora_rank", "model.lora_alpha"):
            raise UsageError(
                f"{policy} was trained with {name} {was}, not {wanted}",
                "only a fork of the base model can change that: --step 0",
            )


def _samples_alike(changed: Mapping[str, tuple[Any, Any]]) -> bool:
    """Whether a step would sample as it did before some settings were changed.

    Rollouts that were resampled have more groups than any other mode would make of them; the others can be added to.
    """
    deciding = {name for name in changed if decides_training(name)}
    if changed.get("rollout.zero_variance", ("keep",))[0] != "resample":
        deciding.discard("rollout.zero_variance")
    return not any(name.partition(".")[0] in ("seed", "model", "prepare", "rollout", "vllm") for name in deciding)


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        for path in sorted(source.iterdir()):
            _link(path, target / path.name)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)

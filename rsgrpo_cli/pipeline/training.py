"""The loop over steps, and how a run is started and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rsgrpo_cli import activity, health
from rsgrpo_cli.config import (
    Overrides,
    RunConfig,
    changed_fields,
    decides_training,
    difference,
    override,
    override_afresh,
)
from rsgrpo_cli.errors import DivergedError, Interrupted, UsageError
from rsgrpo_cli.pipeline import evaluation, preparation, prompt_checks, steps
from rsgrpo_cli.pipeline.history import History, check_history
from rsgrpo_cli.pipeline.identity import check_estimator, check_reward
from rsgrpo_cli.pipeline.keeping import prune
from rsgrpo_cli.pipeline.own_estimator import completed
from rsgrpo_cli.pipeline.resampling import prompts_to_draw
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.stage import again
from rsgrpo_cli.pipeline.waiting import waiting_for
from rsgrpo_cli.rewards.rules import rules_for
from rsgrpo_cli.run.identity import read_identity
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import why_stale
from rsgrpo_cli.wording import counts_told

Report = Callable[[dict[str, Any]], None]
"""Called with each step's row of metrics."""


# -- starting, resuming -----------------------------------------------------------------------------------------------


def resume_config(run: RunDir, overrides: Overrides) -> RunConfig:
    """The configuration to resume with: the run's own, with what may change changed; all of it while nothing was made.

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
                f"run {run.name} was created with {difference(flag, old, new)}",
                "leave it out (flag or --config) to resume the run as it is; or branch off with it: "
                f"rsgrpo fork NEW --run {run.path}",
            )
    return wanted


def train(session: Session, report: Report) -> None:
    """Run the remaining steps; with what is finished skipped, this is also how a run is resumed.

    Raises:
        StaleError: If an earlier step was changed by hand since.
        Interrupted: If asked to stop.
    """
    own = session.own_estimator(session.config.advantage)
    if own is not None:  # before its settings, which may have changed with it
        check_estimator(session, session.config.advantage.estimator, own.identity)
    settle(session)
    total = session.config.train.steps
    unfinished = session.run.newest_version() < total
    if unfinished or read_identity(session.run.path) is None:
        session.check_base()
    if unfinished:
        with activity.doing("preparing the problems"):
            _prepare(session)
        _check_resources(session)
        prompt_checks.check_prompts(session, session.config.prepare, session.prompts, "rollout.max_tokens")
    if session.config.train.eval_every:
        requests = [evaluation.Request(name) for name in evaluation.benchmarks_of(session)]
        evaluation.prepare_benchmarks(session, requests)
    training = Training(session)
    with _kept_when_stopped(session):
        for step in range(training.start, total):
            report(training.step(step))
            if step + 1 < total:
                session.stop.check(f"step {step}", again(session))


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


def _prepare(session: Session) -> None:
    """Prepare the problems; say how many there are where some were left out."""
    outcome = preparation.prepare(session, session.config.prepare)
    told = counts_told(outcome.facts)
    if not outcome.skipped and len(told) > 1:
        session.out.info(f"prepare: {', '.join(told.values())}")


@contextmanager
def _way_back(run: RunDir, last_sound: int) -> Iterator[None]:
    """Where an update has ruined a policy, name the newest checkpoint up to `last_sound` to branch off from."""
    try:
        yield
    except DivergedError as error:
        good = max((version for version in run.versions() if version <= last_sound), default=0)
        hint = f"branch off before it with a lower learning rate: rsgrpo fork NEW --run {run.path} --step {good} --lr"
        raise DivergedError(error.message, f"{hint} LOWER") from error


def settle(session: Session) -> None:
    """Complete the settings of a user's estimator; a run without results takes over the session's settings.

    Raises:
        UsageError: If the estimator is a user's that cannot be loaded, or does not have these settings.
    """
    run, cfg = session.run, session.config.advantage
    try:
        whole = completed(cfg, session.own_estimator(cfg))
    except UsageError as error:
        if not run.has_results():
            raise
        branch = f"rsgrpo fork NEW --run {run.path} --estimator {cfg.estimator}"
        raise UsageError(error.message, f"{error.hint}; if the function has changed since: {branch}") from error
    session.config = session.config.model_copy(update={"advantage": whole})
    if not run.has_results() and run.config() != session.config:
        run.change_config(session.config)


def _remember_steps(session: Session) -> None:
    """Have a run that is to go on for more steps know so: interrupted, and resumed without --steps, it does."""
    stored, wanted = session.run.config(), session.config.train.steps
    if wanted > stored.train.steps:
        train = stored.train.model_copy(update={"steps": wanted})
        session.run.change_config(stored.model_copy(update={"train": train}))


def _check_resources(session: Session) -> None:
    """Find out what is not there or cannot be loaded before anything is sampled for it."""
    session.require_engine(session.config.rollout.engine)
    if session.config.update.ranks > 1:
        from rsgrpo_cli.pipeline.ranks import together

        here = session.launcher is None
        together.check(session.config, here=here)
        if here and (crowded := together.crowded(session.config.update.ranks, session.config.model.device)):
            session.warn_once(crowded)
    score = session.config.score
    with activity.starting(f"loading the reward {score.reward}"):
        tasks = {*session.prompts["task"].unique().to_pylist()}
        check_reward(session, score.reward, rules_for(session.require_reward(score), tasks))


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
        self._warned: set[str] = set()
        self.history = History(session, upto=self.start, checked=check_history(session, self.start))
        _remember_steps(session)  # nothing is refused from here on
        self._first: dict[str, Any] | None = next(iter(self.history.metrics.slice(0, 1).to_pylist()), None)
        if self.start < session.config.train.steps and session.config.update.ranks == 1:
            session.policy(self.start, train=True)
        # The base model is what all others are compared with. A run that is resumed may have been stopped between its
        # last update and the end of that step.
        _maybe_evaluate(session, self.start, again=False)
        self._prune()

    def step(self, step: int) -> dict[str, Any]:
        """Do a step: the four stages, its row of metrics (returned), an evaluation if one is due.

        Raises:
            Interrupted: If asked to stop.
        """
        session, config = self.session, self.session.config
        with _way_back(session.run, step - 1):
            self._sample(step)
        steps.advantage(session, step, config.advantage)
        save = self._is_due(step + 1)
        with _way_back(session.run, step):
            steps.update(session, step, config.update, save=save)
        row = self.history.add(step, write=save)
        self._warn(row)
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
            session.stop.check(f"the rollouts of step {step}", again(session))
            steps.score(session, step, config.score)
            session.stop.check(f"the rewards of step {step}", again(session))
            more = prompts_to_draw(session, step) > 0

    def _warn(self, row: dict[str, Any]) -> None:
        """Say, once each, what is wrong with a step: its metrics alone are easily overlooked."""
        self._first = self._first or row
        for warned in health.warnings(row, self._first):
            if warned.about not in self._warned:
                self._warned.add(warned.about)
                self.session.out.warn(warned.text)

    def _prune(self) -> None:
        prune(self.session.run, keep=self.session.config.train.keep_checkpoints, warn=self.session.out.warn)

    def _is_due(self, version: int) -> bool:
        """Whether a policy is to be saved now: as it is due, or because of a Ctrl-C.

        One that several ranks have made always is: it is nowhere else.
        """
        config = self.session.config
        return config.update.ranks > 1 or config.train.saves(version) or self.session.stop.requested


def _maybe_evaluate(session: Session, version: int, *, again: bool = True) -> None:
    if not session.config.train.evaluates(version):
        return
    for name in evaluation.benchmarks_of(session):
        request = evaluation.Request(name)
        done = request.name in session.run.benchmarks_of(version)
        if again or not done or why_stale(session.run, version, request.name):
            with waiting_for(session, lambda: session.run.lock(session.out.warn, evaluating=version)):
                facts = evaluation.evaluate(session, version, session.config.eval, request).facts
            found = {name: value for name, value in facts.items() if name == "reward" or name.startswith("pass@")}
            values = "  ".join(f"{name} {value:z.3f}" for name, value in found.items())
            session.out.info(f"policy {version} on {request.name}: {values}")

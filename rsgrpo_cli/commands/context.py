"""What every command does around its call: find or start the run, hold it, listen for Ctrl-C, say what was made."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli import activity
from rsgrpo_cli.commands.live import shown
from rsgrpo_cli.commands.spreading import Spreading, spread
from rsgrpo_cli.config import Overrides, RunConfig, changed_fields, decides_training, difference, override, resolve
from rsgrpo_cli.config.typed import as_typed
from rsgrpo_cli.console import Output, duration
from rsgrpo_cli.errors import ArtifactError, Interrupted, LockedError, RsgrpoError, UsageError
from rsgrpo_cli.run import events
from rsgrpo_cli.wording import AGAIN, again, counted, counts_told, fact, raised

if TYPE_CHECKING:
    from rsgrpo_cli.pipeline.session import Session
    from rsgrpo_cli.pipeline.stage import Outcome
    from rsgrpo_cli.run.run_dir import RunDir


@contextmanager
def at_work(
    run: RunDir,
    config: RunConfig,
    out: Output,
    overrides: Overrides | None = None,
    *,
    trust: bool = False,
    own: str | None = None,
    evaluating: int | None = None,
    screen: bool = False,
    spreading: Spreading | None = None,
) -> Iterator[Session]:
    """A session on a run that no other process can use in the block.

    One that only evaluates a policy goes beside a train, which does not remove that policy meanwhile.

    What is said goes into the run's log too, and what is done is shown: on one screen where `screen` asks for it.

    The user's own functions that the run's configuration names are called only with `trust`, or where they are named
    again in `overrides` or by `own`, or in a run that this command created. The same goes for links out of the run.

    A run that this command created and that fails before it has sampled anything is removed again, so that the same
    command with another flag starts again. Only what this process wrote goes; a run that was there is left as it is.
    """
    trust = trust or run.made_since is not None
    if not trust:
        _refuse_links(run)
    try:
        with activity.doing("starting"):
            from rsgrpo_cli.pipeline.session import Session
            from rsgrpo_cli.pipeline.stopping import StopSignal
            from rsgrpo_cli.run import manifests
            from rsgrpo_cli.run.locks import in_use

        stop = StopSignal()
        asked = {value for name, value in (overrides or {}).items() if name in ("score.reward", "advantage.estimator")}
        asked |= {own} if own else set()
        with (
            run.lock(out.warn, evaluating=evaluating) as note,
            nullcontext() if evaluating is None else in_use(run.checkpoint(evaluating) / manifests.NAME),
            _logged(out, run),
            shown(out, note, run if screen else None),
            stop.installed(out.info),
            Session(run, config, out, stop, asked, trust=trust) as session,
            spread(session, spreading),
        ):
            yield session
    except (Interrupted, LockedError):  # what a polite stop leaves is to be gone on with; the other's is not ours
        raise
    except BaseException as error:
        if _is_taken_back(run, out):
            raise
        if isinstance(error, RsgrpoError):
            error.hint = _with_the_run(error.hint, run)
        elif isinstance(error, KeyboardInterrupt):  # a second Ctrl-C
            to_resume = f"to resume: run {again(run.path)}"
            raise Interrupted("stopped at once; what was finished is kept", to_resume) from error
        raise


@contextmanager
def begun(run: RunDir, out: Output) -> Iterator[None]:
    """What comes after a run was created and before the work on it: if it fails, the run is removed again."""
    try:
        yield
    except RsgrpoError:
        _is_taken_back(run, out)
        raise


def _is_taken_back(run: RunDir, out: Output) -> bool:
    taken = run.take_back()
    if taken:
        out.info(f"nothing was sampled, so {run.path} was removed again")
    return taken


def _refuse_links(run: RunDir) -> None:
    """Write nothing through a link that a stranger may have put into a run.

    Raises:
        ArtifactError: If one leads out of it, or nowhere.
    """
    from rsgrpo_cli.disk import about_link, links_out

    for path in links_out(run.path):
        raise ArtifactError(*about_link(path))


@contextmanager
def _logged(out: Output, run: RunDir) -> Iterator[None]:
    """Write all that is said into the run's log, with the command and how it ended."""
    command = shlex.join(["rsgrpo", *sys.argv[1:]])

    def log(text: str) -> None:
        events.write_line(run.log, text)

    out.log = log
    out.note(command)
    try:
        yield
        out.note("done")
    except BaseException as error:
        out.note(f"ended: {error if isinstance(error, RsgrpoError) else raised(type(error).__name__, error)}")
        raise
    finally:
        out.log = None


def _with_the_run(hint: str, run: RunDir) -> str:
    """A next step that reaches this run: without `--run`, the same command would start another."""
    if "--run" in hint:
        return hint
    if AGAIN in hint:
        return hint.replace(AGAIN, again(run.path))
    created = run.made_since is not None
    return f"{hint}{'; ' if hint else ''}{run.path} is kept: continue with --run {run.path}" if created else hint


def open_run(name: str | None, overrides: Overrides) -> tuple[RunDir, RunConfig]:
    """An existing run and its configuration with a single stage's own settings.

    Raises:
        UsageError: If another model is asked for than the run's, or the same one computing otherwise: artifacts know a
            policy by what it was trained from, and would not say so.
    """
    from rsgrpo_cli.pipeline.base_model import without_moved
    from rsgrpo_cli.pipeline.forking import require_whole
    from rsgrpo_cli.run.run_dir import RunDir

    run = RunDir.open(name)
    require_whole(run)
    overrides, stored = without_moved(run, overrides), run.config()
    model = overrides.get("model.name")
    if model is not None and model != stored.model.name:
        raise UsageError(
            f"run {run.name} trains {stored.model.name}, not {model}",
            "leave --model out, or name another run with --run",
        )
    wanted = override(stored, overrides)
    for field, (old, new) in changed_fields(stored, wanted).items():
        if field.startswith("model.") and decides_training(field):
            raise UsageError(
                f"run {run.name} has {difference(field, old, new)}",
                f"a single stage cannot change it; name another run, or branch off: rsgrpo fork NEW --run {run.path}",
            )
    return run, wanted


def say_departures(out: Output, run: RunDir, config: RunConfig, section: str, *, tag: str | None = None) -> None:
    """Say that a single stage is run with other settings than the run's own, and what becomes of that.

    Args:
        out: The way to the user.
        run: The run.
        config: With the stage's own settings.
        section: The stage's, in the configuration.
        tag: What it makes stands beside the run's own, if there is one.
    """
    changed = changed_fields(run.config(), config)
    own = {name: was for name, was in changed.items() if name.startswith(f"{section}.") and decides_training(name)}
    if tag is not None or not own:
        return
    # Another estimator does not have all settings of the run's own, and has some of its own.
    there = {name: values for name, values in own.items() if values[1] is not None}
    told = ", ".join(
        f"{name} {new}" + ("" if was is None else f", not the run's own {was}") for name, (was, new) in there.items()
    )
    flags = shlex.join(word for name, (_, new) in there.items() for word in ("--set", f"{name}={as_typed(new)}"))
    out.warn(
        f"{told}: for this command only. train uses the run's own setting: it will make this again, or refuse if "
        f"something was made from it; to change it from here on: rsgrpo fork NEW --run {run.path} {flags}"
    )


def new_run(name: str | None, overrides: Overrides, config_file: Path | None, out: Output) -> tuple[RunDir, RunConfig]:
    """Start a run, under runs/ unless named.

    Raises:
        UsageError: If a setting does not fit.
        DependencyError: If the package of a tracker is not installed.
    """
    from rsgrpo_cli.run.run_dir import RunDir
    from rsgrpo_cli.trackers.registry import require

    config = resolve(overrides, config_file)
    require(config.train.tracker)
    run = RunDir.create(RunDir.locate(name) if name else None, config)
    out.info(f"new run {run.path}")
    return run, config


def say_ks(out: Output, config: RunConfig, overrides: Overrides) -> None:
    """Say which values of k are measured where they follow from the number of samples alone."""
    ks = config.eval.k
    if "eval.num_samples" in overrides and "eval.k" not in overrides and max(ks) == config.eval.samples:
        out.info(
            f"k is {', '.join(map(str, ks))}: no more than the {counted(max(ks), 'sample')} per "
            f"problem; --k chooses others"
        )


def exists(name: str | None) -> bool:
    """Whether `--run` names a run that is there."""
    from rsgrpo_cli.run.run_dir import RunDir

    return name is not None and RunDir.is_there(RunDir.locate(name))


def say(out: Output, outcome: Outcome, more: Mapping[str, Any] | None = None) -> None:
    """Print what a stage made: one line, or JSON, which has `more` besides."""
    facts = {name: value for name, value in outcome.facts.items() if value not in (None, {})}
    data = {"stage": outcome.stage, "path": str(outcome.path), "skipped": outcome.skipped, **facts, **(more or {})}
    if outcome.skipped and "tried_again" in facts:
        line = (
            f"{outcome.stage}: {_told(facts) or '0 tried again'}, and no verdict changes; {outcome.path} stays as it is"
        )
    elif outcome.skipped:
        line = f"{outcome.stage}: nothing to do, {outcome.path} is up to date"
    else:
        line = f"{outcome.stage}: {_told(facts)} in {duration(outcome.seconds)} -> {outcome.path}"
    out.result(data, lines=[line])


def _told(facts: Mapping[str, Any]) -> str:
    """Facts as one text: "128 completions (100 wrong, 28 correct), 3 tried again"."""
    words: list[str] = []
    counts = counts_told(facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            parts = "(" + ", ".join(f"{count} {part}" for part, count in value.items()) + ")"
            is_of_last = name == "statuses" and words
            words = [*words[:-1], f"{words[-1]} {parts}"] if is_of_last else [*words, f"{parts} {fact(name, value)}"]
        elif type(value) is int:
            words += [counts[name]] if name in counts else []
        elif value:
            words.append(f"{_rounded(value)} {fact(name, value)}")
    return ", ".join(words)


def _rounded(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

"""`rsgrpo advantage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.commands.context import at_work, open_run, say, say_departures
from rsgrpo_cli.config import ESTIMATORS, AdvantageConfig, Overrides, RsGrpoConfig, estimator_config
from rsgrpo_cli.config.typed import value
from rsgrpo_cli.console import Output
from rsgrpo_cli.errors import ArtifactError, DependencyError, RsgrpoError, UsageError
from rsgrpo_cli.helping import ListOf

Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar=ListOf("NAME[:KEY=VALUE...],..."),
        help="Only show what these make of the step's rewards, for example rs_grpo:beta=8,grpo,pkpo:k=4,mine:f:q=0.5.",
    ),
]
Figure = Annotated[
    Path | None, typer.Option("--figure", metavar="FILE", help="Where --compare draws: .svg, .png, .pdf.")
]


@options.settings("advantage", defaults=False)
def advantage(
    run: options.RunOption = None,
    step: options.StepOption = None,
    tag: options.TagOption = None,
    force: options.ForceOption = False,
    accept_changes: options.AcceptOption = False,
    trust: options.TrustOption = False,
    compare: Compare = None,
    figure: Figure = None,
    as_json: options.JsonOption = False,
    *,
    overrides: Overrides,
) -> None:
    """Turn a step's rewards into advantages, group by group; or compare what estimators make of them.

    An estimator of your own has the signature f(rewards, *, setting=1.0) -> advantages.
    """
    out = Output(as_json=as_json)
    if compare is not None:
        if overrides or tag or force:
            raise UsageError("--compare writes nothing and takes its settings with the names", f"--compare {_EXAMPLE}")
        return _compare(run, step, methods(compare), figure, out)
    if figure is not None:
        raise UsageError("--figure draws what --compare finds", f"--compare {_EXAMPLE}")
    from rsgrpo_cli.pipeline import steps
    from rsgrpo_cli.run.step_dir import newest_step, rewards_of

    target, resolved = open_run(run, overrides)
    say_departures(out, target, resolved, "advantage", tag=tag)
    with at_work(target, resolved, out, overrides, trust=trust) as session:
        session.accept_changes = accept_changes
        number = newest_step(target, "rewards") if step is None else step
        outcome = steps.advantage(session, number, resolved.advantage, tag=tag, force=force)
    say(out, outcome)
    if tag and rewards_of(target, number, tag):
        way = f"rsgrpo fork NEW --run {target.path} --step {number} --reward ..."
        out.warn(f"these are made from the run's own rewards, not of those tagged {tag}; a run with those: {way}")


def methods(text: str) -> list[tuple[str, AdvantageConfig]]:
    """The estimators that `--compare` names, with a label each.

    Args:
        text: "rs_grpo:beta=2,grpo,pkpo:k=4:variant=sloo,my_module:function:key=0.5".

    Raises:
        UsageError: If it cannot be read, or a setting does not fit.
    """
    found: dict[str, AdvantageConfig] = {}
    for part in text.split(","):
        name, *knobs = (piece.strip() for piece in part.split(":"))
        if name not in ESTIMATORS and knobs and knobs[0] and "=" not in knobs[0]:  # a function of the user's own
            name = f"{name}:{knobs.pop(0)}"
        pairs = [knob.partition("=") for knob in knobs]
        if not name or any(not equals for _, equals, _ in pairs):
            raise UsageError(f"--compare {part!r} is not NAME or NAME:KEY=VALUE", f"--compare {_EXAMPLE}")
        cfg = estimator_config(name, {key: value(text) for key, _, text in pairs})
        if isinstance(cfg, RsGrpoConfig) and cfg.schedule != "constant":
            raise UsageError("--compare takes a beta, not a schedule of it", f"--compare {_EXAMPLE}")
        found[" ".join([name, *knobs])] = cfg
    return list(found.items())


def _compare(
    name: str | None, step: int | None, chosen: list[tuple[str, AdvantageConfig]], figure: Path | None, out: Output
) -> None:
    """Print and draw; needs no lock, as it writes nothing into the run."""
    from rsgrpo_cli.pipeline import whatif
    from rsgrpo_cli.report.figures import check_drawable
    from rsgrpo_cli.report.tables import estimators_table
    from rsgrpo_cli.run.run_dir import RunDir
    from rsgrpo_cli.run.step_dir import newest_step
    from rsgrpo_cli.studies.figures import weights

    if figure is not None:
        check_drawable(figure)
    run = RunDir.open(name)
    number = newest_step(run, "rewards") if step is None else step
    result = whatif.compare(run, number, chosen)
    path = figure or run.path.parent / f"{run.name}-step{number}-estimators.svg"
    lines, drawn = [_LEGEND, f"figure: {path}"], str(path)
    try:
        weights.draw(weights.of_step(result), path)
    except (DependencyError, ArtifactError, OSError) as error:  # the run may be read-only, and the table needs no file
        if figure is not None:
            raise
        lines, drawn = [_LEGEND, f"no figure: {_why(error)}"], ""
    out.result(result | {"figure": drawn or None}, estimators_table(result), lines=lines)


def _why(error: DependencyError | ArtifactError | OSError) -> str:
    if isinstance(error, RsgrpoError):
        return f"{error.message}; {error.hint}"
    return f"{error.strerror} ({error.filename}); --figure FILE draws elsewhere"


_LEGEND = "eff. n: effective samples; silent: groups without gradient; then the share of |A| by a group's mean reward"
_EXAMPLE = "rs_grpo:beta=2,rs_grpo:beta=8,grpo,chen_passk:k=4"

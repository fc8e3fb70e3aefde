"""The flags that commands share. Those of settings are made from the configuration's models: `settings`."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from rsgrpo_cli.commands.typed import ks, num_samples, shown, text_of
from rsgrpo_cli.config import Overrides, reference
from rsgrpo_cli.config.reference import Setting
from rsgrpo_cli.config.typed import value
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.helping import ListOf


def named_run(name: str | None) -> str | None:
    """A run that was named; an unset variable of the shell is not the same as no name.

    Raises:
        UsageError: If the name is empty.
    """
    if name is not None and not name.strip():
        raise UsageError("--run is empty", "name a run, or leave --run out")
    if name is None and not os.environ.get("RSGRPO_RUN", "unset").strip():
        raise UsageError("RSGRPO_RUN is set and empty", "name a run with it, or unset RSGRPO_RUN")
    return name


def complete_run(incomplete: str) -> list[str]:
    """The runs under runs/ that a name which is being typed may mean; behind LABEL= too."""
    label, equals, begun = incomplete.rpartition("=")
    names = sorted(path.parent.name for path in Path("runs").glob("[!.]*/config.json"))
    behind = [f"{label}{equals}{name}" for name in names if name.startswith(begun)]
    return behind + [name for name in names if equals and name.startswith(incomplete)]


RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        envvar="RSGRPO_RUN",
        metavar="NAME|PATH",
        callback=named_run,
        autocompletion=complete_run,
        help="The run: a name under runs/, or a path. By default the newest; train, sweep and prepare start a new one.",
    ),
]
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN", autocompletion=complete_run, help="The run; the newest one unless given."),
]


def one_run(name: str | None, run: str | None) -> str | None:
    """The run, named as an argument or with --run; the argument wins over RSGRPO_RUN.

    Raises:
        UsageError: If both name one, and not the same.
    """
    if name is None:
        return run
    if run not in (None, name, os.environ.get("RSGRPO_RUN")):
        raise UsageError(f"two runs are named: {name} and {run}", "name one")
    return named_run(name)


StepOption = Annotated[int | None, typer.Option("--step", min=0, help="The training step.  \\[default: the newest]")]


def file_name(text: str, flag: str) -> str:
    """A text that becomes part of a file's name.

    Raises:
        UsageError: If it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        raise UsageError(f"{flag} {text!r} cannot be part of a file name", "use A-Z, a-z, 0-9, dots, _ and -")
    return text


def tag(text: str | None) -> str | None:
    """What `--tag` and whatever else names a tag may be; raises as `file_name`."""
    return None if text is None else file_name(text, "--tag")


TagOption = Annotated[
    str | None,
    typer.Option(
        "--tag", metavar="NAME", callback=tag, help="Write beside the run's own artifact, disturbing nothing."
    ),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Make it again; what follows from it is then stale.")]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="N[.TAG]",
        help="Policy version, 0 or more; with the tag of an update --tag, the policy that it made.  "
        "\\[default: the newest]",
    ),
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Continue although the base model, the reward or the estimator has changed since; this is recorded.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        envvar="RSGRPO_TRUST",
        help="Call the functions of your own that the run's configuration names, and write through links in the run.",
    ),
]
InexactOption = Annotated[
    bool,
    typer.Option(
        "--accept-inexact",
        help="Use a policy without a checkpoint even if it cannot be rebuilt bit for bit; this is recorded.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the plan, as rsgrpo plan does; make nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML, or the config.json of a run; flags win."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="Any other setting (docs/settings.md), for example update.weight_decay=0.1.",
    ),
]


def _evaluated_name(given: str | None) -> str | None:
    from rsgrpo_cli.report.measuring import evaluated_name

    return evaluated_name(given) if given else given


EvaluatedOn = Annotated[
    str | None,
    typer.Option(
        "--benchmark",
        metavar="NAME",
        callback=_evaluated_name,
        help="Which benchmark, if there are several; by default the only one.",
    ),
]
Places = Annotated[
    list[str],
    typer.Argument(
        metavar="[LABEL=]PLACE[@POLICY]...",
        autocompletion=complete_run,
        help="Runs, sweeps and folders of results; runs that differ only in their seed are one group. POLICY is a "
        "number, or for weights between the base model and it, as eval --interpolate measures them: 4at0.5.",
    ),
]
K = Annotated[
    str | None,
    typer.Option("--k", metavar=ListOf("1,32,..."), help="Values of k; by default those that were asked for."),
]
ProblemColumn = Annotated[
    str | None,
    typer.Option("--prompt-column", help="The benchmark's problems; by default the usual names are tried."),
]
AnswerColumn = Annotated[
    str | None,
    typer.Option("--answer-column", help="The benchmark's answers; by default the usual names are tried."),
]

PANELS = {
    "seed": "Data",
    "model": "Model",
    "prepare": "Data",
    "rollout": "Sampling",
    "score": "Reward",
    "advantage": "Advantage",
    "update": "Update",
    "train": "Loop",
    "eval": "Evaluation",
}
"""Section of the configuration -> the heading of its flags in the help."""

TRAIN_FLAGS = (
    *("model", "prepare", "seed", "rollout", "score", "advantage", "update", "train"),
    *("eval.benchmark", "eval.k", "eval.num_samples"),
)
"""What has a flag in `train` and `plan`."""

Command = Callable[..., None]


def settings(*names: str, defaults: bool = True, axes: bool = False) -> Callable[[Command], Command]:
    """Give a command the flags of some settings, and `--set` for all others.

        @settings("rollout", "model.device")
        def rollout(run: RunOption = None, *, overrides: Overrides) -> None: ...

    The command gets `overrides`: the dotted names and values of the settings that were given.

    Args:
        names: Dotted names, or sections for all of their settings that have a flag.
        defaults: Show the defaults; they mislead where a run's own settings apply.
        axes: Let a number have several values, "0,4", as a text has anyway.
    """
    chosen = [setting for name in names for setting in _with_flags(name)]
    numbers = {setting.name for setting in chosen if setting.kind in _NUMBERS and setting.name not in _PARSED}

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "overrides"]
        added = {_parameter_name(setting): setting for setting in chosen}
        options = [_keyword(name, _option(setting, defaults, axes)) for name, setting in added.items()]

        @wraps(command)
        def wrapped(**parameters: Any) -> None:
            flags = {setting.name: parameters.pop(name) for name, setting in added.items()}
            if axes:
                flags = {setting.name: _single(setting, flags[setting.name]) for setting in chosen}
                flags |= {name: value(text) for name, text in flags.items() if text is not None and name in numbers}
            overrides = given(flags, parameters.pop("settings"))
            command(**parameters, overrides=overrides)

        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        wrapped.__signature__ = inspect.Signature([*own, *options, _keyword("settings", SetOption)])  # type: ignore[attr-defined]
        return wrapped

    return decorate


def _may_be_repeated(setting: Setting, kind: Any) -> bool:
    """Whether a sweep's flag is read as often as it is there, so that none of its values is dropped in silence."""
    return kind is str and setting.flag is not None and setting.flag.env is None


def _single(setting: Setting, found: Any) -> Any:
    """The one value of a sweep's flag.

    Raises:
        UsageError: If it has several.
    """
    if not isinstance(found, list) or setting.name in _REPEATED:
        return found
    if len(set(found)) > 1:
        flag, values = setting.flags[0], " and ".join(found)
        once = "give it once"
        if setting.name != "eval.num_samples":  # whose commas stand between numbers of different benchmarks
            each = dict.fromkeys(value for text in found for value in text.split(","))
            once += f", with commas: {flag} {','.join(each)}"
        raise UsageError(f"{flag} is given twice: {values}", once)
    return found[0] if found else None


_NUMBERS = {int: "N", float: "X"}
"""What stands for a number of this type in the help, as `helping` has it."""


def _with_flags(name: str) -> list[Setting]:
    if "." in name:
        return [reference.setting(name)]
    return [setting for setting in reference.settings(name).values() if setting.flag is not None]


def _parameter_name(setting: Setting) -> str:
    """A name for the command's parameter, without dots and never that of a parameter of its own."""
    return f"setting_{setting.name.replace('.', '_')}"


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(setting: Setting, defaults: bool, axes: bool) -> Any:
    assert setting.flag is not None, f"{setting.name} has no flag"
    kind: Any = setting.kind if setting.kind in (int, float, bool) and setting.name not in _PARSED else str
    number = _NUMBERS.get(kind) if axes else None
    kind = str if number else kind
    kind = list[str] if setting.name in _REPEATED or (axes and _may_be_repeated(setting, kind)) else kind
    metavar = setting.flag.metavar or "|".join(setting.choices) or number
    option = typer.Option(
        *setting.flags,
        metavar=ListOf(metavar) if metavar and setting.name in _IN_COMMAS else metavar,
        envvar=setting.flag.env,
        autocompletion=_completion(setting),
        rich_help_panel=PANELS[setting.name.partition(".")[0]],
        help=_help(setting, defaults),
    )
    return Annotated[kind | None, option]


def _completion(setting: Setting) -> Callable[[str], list[str]] | None:
    if not setting.choices:
        return None

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in setting.choices if choice.startswith(incomplete)]

    return complete


def _help(setting: Setting, defaults: bool) -> str:
    """The setting's own help, with its choices unless the metavar shows them, its limits and its default."""
    choices = setting.choices if setting.flag and setting.flag.metavar else ()
    facts = [setting.limits] if setting.limits else []
    if not defaults:
        facts.append("default: the run's own")
    elif setting.default not in (None, "", ()):
        facts.append(f"default: {shown(setting.default)}")
    elif "by default" not in setting.help:
        facts.append("default: none")
    parts = [setting.help, f"One of {', '.join(choices)}." if choices else "", f"[{'; '.join(facts)}]" if facts else ""]
    return escape(" ".join(part for part in parts if part))


def given(flags: Mapping[str, Any], settings: list[str] | None = None) -> Overrides:
    """The settings that were given, as overrides of the configuration.

    Of one given twice the last `--set` counts, and a flag before it. A list of values, which may be the axis of a
    sweep, is not dropped in silence.

    Args:
        flags: Dotted name -> value; None where the flag was not given.
        settings: What was given with `--set`.

    Raises:
        UsageError: If `--k`, `--num-samples` or `--set` cannot be read, or a list of values is given beside another.
        MissingError: If there is no such template file.
    """
    overrides: Overrides = {}
    for text in settings or ():
        name, equals, text_of = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text!r} has no value", "write --set SECTION.FIELD=VALUE")
        _refuse_dropped_list(overrides, found := _set(name.strip(), text_of.strip()), "--set")
        overrides |= found
    for name, found in flags.items():
        if found is not None:
            new = _PARSED[name](found) if name in _PARSED else {name: found}
            _refuse_dropped_list(overrides, new, "its flag")
            overrides |= new
    return overrides


def _set(name: str, text: str) -> Overrides:
    """What `--set` says: a value as a TOML file has it, and a list as its flag has it, too."""
    as_flag = name in _LISTS and not text.startswith("[")
    return _PARSED[name](text) if as_flag else {name: value(text)}


def _refuse_dropped_list(before: Overrides, after: Overrides, where: str) -> None:
    for name, new in after.items():
        old = before.get(name, new)
        if old != new and any(isinstance(one, str) and "," in one for one in (old, new)):
            raise UsageError(
                f"{name} is given twice: {shown(old)} with --set, and {shown(new)} with {where}", "give it once"
            )


_REPEATED = frozenset({"train.tracker"})
"""Settings whose flag may be given several times."""

_IN_COMMAS = frozenset({"eval.benchmark", "eval.k", "eval.num_samples"})
"""Settings whose flag takes several values in one text, with commas between them."""

_LISTS = frozenset({"eval.k"})
"""Settings that are lists of numbers, "1,32" with their flag and [1, 32] in a file."""

_PARSED: Mapping[str, Callable[[Any], Overrides]] = {
    "eval.k": lambda text: {"eval.k": ks(text)},
    "train.tracker": lambda texts: {"train.tracker": [name for text in texts for name in text.split(",")]},
    "eval.num_samples": lambda text: {"eval.num_samples": num_samples(text)},
    "prepare.prompt_template": lambda name: {"prepare.prompt_template": text_of(name)},
}
"""Settings whose flag is written in another way than the setting: what a flag's text means."""

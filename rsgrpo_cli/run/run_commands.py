"""Commands about a run that work as they stand: with the flags that the run needs, and no others.

A run that calls functions of the user's own is read only with --trust, a benchmark in a file is found by its path, and
what an update with a tag made goes by that tag.
"""

from __future__ import annotations

import glob
import shlex
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from rsgrpo_cli.artifacts import Lineage, read_lineage
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.config.sources import flat
from rsgrpo_cli.errors import ArtifactError, MissingError, RsgrpoError
from rsgrpo_cli.part_names import sample_range
from rsgrpo_cli.run.run_dir import WHOLE, RunDir, is_on_line
from rsgrpo_cli.schemas import PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY, ArtifactSchema

_CALLS = {
    "prepare": ("score.reward",),
    "rollout": ("score.reward",),
    "score": ("score.reward",),
    "advantage": ("advantage.estimator",),
    "eval": ("score.reward",),
    "train": ("score.reward", "advantage.estimator"),
}
"""The functions that a command calls where the run names the user's own."""


_COLUMNS = ("prompt_column", "answer_column")


def command(run: RunDir, name: str, *flags: str) -> str:
    """A command on a run.

    Args:
        run: The run.
        name: The command's.
        flags: Its flags, beside --run and what the run makes necessary.
    """
    return shlex.join(["rsgrpo", name, "--run", str(run.path), *flags, *trust(run, name)])


def for_each(name: str, of: Sequence[tuple[str, Sequence[str]]]) -> str:
    """One line that runs a command on several runs: a loop over those that take the same flags.

    Args:
        name: The command's.
        of: A run as --run takes it, and its flags, each.
    """
    by_flags: dict[tuple[str, ...], dict[str, None]] = {}
    for run, flags in of:
        by_flags.setdefault(tuple(flags), {})[run] = None
    parts = []
    for flags, runs in by_flags.items():
        if len(runs) == 1:
            parts.append(shlex.join(["rsgrpo", name, "--run", *runs, *flags]))
        else:
            line = " ".join(["rsgrpo", name, '--run "$run"', *([shlex.join(flags)] if flags else [])])
            parts.append(f"for run in {shlex.join(runs)}; do {line}; done")
    return "; ".join(parts)


def trust(run: RunDir, name: str) -> list[str]:
    """["--trust"] where a command calls functions of the user's own that only the run's configuration names.

    A run without a readable configuration names none: whoever runs the command is told what is wrong with it.
    """
    try:
        config = run.config()
    except RsgrpoError:
        return []
    return trust_of(config, name)


def trust_of(config: RunConfig, name: str) -> list[str]:
    """The same of a run by its settings alone."""
    own = {"score.reward": config.score.reward, "advantage.estimator": config.advantage.estimator}
    return ["--trust"] if any(":" in own[setting] for setting in _CALLS.get(name, ())) else []


def eval_command(run: RunDir, version: int, name: str | None = None, *flags: str, at: float = WHOLE) -> str:
    """The command that measures a policy, as far as the run tells.

    Args:
        run: The run.
        version: The policy.
        name: Of an evaluation, for its benchmark and its tag.
        flags: Further ones.
        at: Where on the line to the policy the evaluation is that tells; its own flag is not added.
    """
    on = [] if name is None else benchmark_flags(run, version, name, at)
    return command(run, "eval", "--policy", run.policy_name(version), *on, *flags)


def benchmark_flags(run: RunDir, version: int, name: str, at: float = WHOLE) -> list[str]:
    """The flags that name the benchmark of an evaluation as it was given: a file with its columns, and the tag.

    What cannot be read tells nothing: these are flags of a next step, and the damage itself is told elsewhere.
    """
    prompts, given = _readable(run.benchmark(name), PROMPTS), given_benchmark(run, version, name, at)
    made: Mapping[str, Any] = prompts.config if prompts else {}
    dataset = _dataset(run, name, given)
    tag = name.removeprefix(f"{dataset}.") if name.startswith(f"{dataset}.") else ""
    columns = [word for column in _COLUMNS if made.get(column) for word in (_flag(column), str(made[column]))]
    return ["--benchmark", given or dataset, *columns, *(["--tag", tag] if tag else [])]


def place_by_fraction(version: int, tag: str, newest: int) -> tuple[int, float] | None:
    """The policy and the place on the line to it that "0.5" or "3.7" means, where no update has such a tag.

    It is the policy before the point, or the newest where there is none of that number to draw a line to; None if the
    text means no place on a line.
    """
    at = float(f"0.{tag}") if tag.isdecimal() and tag.isascii() else 0.0
    if not newest or not 0 < at < WHOLE or not is_on_line(at):
        return None
    return (version if 0 < version <= newest else newest), at


def choose_benchmark(names: Sequence[str]) -> str:
    """The hint to name one of several benchmarks."""
    return f"choose one: {' or '.join(f'--benchmark {shlex.quote(name)}' for name in names)}"


def to_measure(command: str, what: str = "it") -> str:
    """The hint to measure something with a command of this module, in which a file may be left to the user."""
    file = "; FILE is a file with the problems" if "--benchmark FILE" in command else ""
    return f"measure {what}: {command}{file}"


SAME = "same"
"""The tag of evaluations on one of several benchmarks of a name."""


def on_the_same(of: Sequence[tuple[str, Sequence[str]]], name: str, on: Sequence[str]) -> str:
    """The hint to evaluate runs on one benchmark where one of that name has other problems; what is there stays.

    Args:
        of: A run as --run takes it, and its flags but those of the benchmark, each.
        name: Of the evaluation on the benchmark that is chosen.
        on: The flags that name it, as of `benchmark_flags`.
    """
    tagged = on.index("--tag") if "--tag" in on else len(on)
    short = name.removesuffix(f".{on[-1]}") if "--tag" in on else name
    again = for_each("eval", [(run, [*on[:tagged], "--tag", SAME, *flags]) for run, flags in of])
    return f"evaluate all on the same: {again}; then choose it: --benchmark {short}.{SAME}"


def given_benchmark(run: RunDir, version: int, name: str, at: float = WHOLE) -> str | None:
    """How the benchmark of an evaluation was given; by another policy's or by the log, where its own do not tell."""
    own = run.evaluation(version, name, at)
    for folder in (own, *sorted(run.path.glob(f"evals/*/{glob.escape(name)}"))):
        for lineage in _summed_up(folder):
            if given := lineage.outputs.get("benchmark"):
                return given
    logged = [event.get("given") for event in run.recorded() if event.get("benchmark") == name]
    return next((given for given in reversed(logged) if isinstance(given, str) and given), None)


def sampling_flags(
    run: RunDir, version: int, name: str, of: RunConfig, at: float = WHOLE, *, many: bool = True
) -> list[str]:
    """The flags of how an evaluation was sampled and graded, how often, and for which k, where a run's settings differ.

    Args:
        run: The run of the evaluation.
        version: The policy.
        name: Of the evaluation.
        of: The settings of the run that the flags are for.
        at: Where on the line to the policy it is.
        many: Whether the flags say how often and for which k; without, only how it was sampled and graded.
    """
    from rsgrpo_cli.tasks.sample_counts import for_benchmark  # here: most commands need no data sets

    folder = run.evaluation(version, name, at)
    named = [(path, sample_range(path.stem)) for path in sorted((folder / "rollouts").glob("*.parquet"))]
    held = {path: samples for path, samples in named if samples}
    made: dict[str, Any] = {"num_samples": max(last for _, last in held.values())} if held else {}
    parts = (lineage for path in held if (lineage := _readable(path, ROLLOUTS)))
    for lineage in [*islice(parts, 1), *_summed_up(folder)]:
        made |= lineage.config
    own = for_benchmark(of.eval, _dataset(run, name)).model_dump(mode="json", include=set(_ASKED))
    asked = _ASKED if many else _DRAWN
    changed = [setting for setting in asked if setting in made and made[setting] != own[setting]]
    words = [word for setting in changed for word in (_flag(setting), _typed(made[setting]))]
    graded = (lineage for path in held if (lineage := _readable(folder / "rewards" / path.name, REWARDS)))
    reward = next((lineage.config.get("reward") for lineage in graded), None)
    return words if reward in (None, of.score.reward) else [*words, "--reward", str(reward)]


def regrading_flags(drawn: Sequence[str], reward: str) -> list[str]:
    """The flags that grade the samples of an evaluation by another reward, and draw no others.

    Args:
        drawn: How they are, as of `sampling_flags`.
        reward: What --reward takes.
    """
    at = drawn.index("--reward") if "--reward" in drawn else len(drawn)
    return [*drawn[:at], *drawn[at + 2 :], "--reward", reward, "--rescore"]


_DRAWN = ("temperature", "top_p", "max_tokens")
_ASKED = (*_DRAWN, "num_samples", "k")


def settings_flags(config: RunConfig, names: Sequence[str]) -> list[str]:
    """The flags that give a command the values that some settings have in a configuration.

    Args:
        config: The configuration.
        names: Dotted settings that have a flag of their own name.
    """
    found = flat(config.model_dump(mode="json"))
    return [word for name in names for word in (_flag(name.rpartition(".")[2]), _typed(found[name]))]


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dataset(run: RunDir, name: str, given: str | None = None) -> str:
    """The short name of an evaluation's benchmark, without a tag; `given` tells where the problems do not."""
    prompts = _readable(run.benchmark(name), PROMPTS)
    if prompts:
        return str(prompts.config["dataset"])
    parts, file = name.split("."), PurePath(given or name).name
    starts = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((start for start in starts if file.startswith(start)), name)


def benchmark_id(run: RunDir, name: str) -> str | None:
    """The id of the problems that a run has by the name of an evaluation; None where there are none."""
    found = _readable(run.benchmark(name), PROMPTS)
    return found.id if found else None


def _readable(path: Path, kind: ArtifactSchema) -> Lineage | None:
    """The lineage of a file; None where it is gone or damaged."""
    try:
        return read_lineage(path, kind)
    except (ArtifactError, MissingError):
        return None


def _summed_up(folder: Path) -> list[Lineage]:
    """The lineage of an evaluation's tables: both say how it was asked for."""
    both = (_readable(folder / "problems.parquet", PROBLEMS), _readable(folder / "summary.parquet", SUMMARY))
    return [lineage for lineage in both if lineage]


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"

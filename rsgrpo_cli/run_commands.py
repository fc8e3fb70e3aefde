"""Commands about a run that work as they stand: with the flags that the run needs, and no others.

A run that calls functions of the user's own is read only with --trust, a benchmark in a file is found by its path, and
what an update with a tag made goes by that tag.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.schemas import PROMPTS, ROLLOUTS, SUMMARY

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


def trust(run: RunDir, name: str) -> list[str]:
    """["--trust"] where a command calls functions of the user's own that only the run's configuration names.

    A run without a readable configuration names none: whoever runs the command is told what is wrong with it.
    """
    try:
        config = run.config()
    except RsgrpoError:
        return []
    own = {"score.reward": config.score.reward, "advantage.estimator": config.advantage.estimator}
    return ["--trust"] if any(":" in own[setting] for setting in _CALLS.get(name, ())) else []


def eval_command(run: RunDir, version: int, name: str | None = None, *flags: str) -> str:
    """The command that measures a policy, as far as the run tells.

    Args:
        run: The run.
        version: The policy.
        name: Of an evaluation, for its benchmark and its tag.
        flags: Further ones.
    """
    on = [] if name is None else benchmark_flags(run, version, name)
    return command(run, "eval", "--policy", run.policy_name(version), *on, *flags)


def benchmark_flags(run: RunDir, version: int, name: str) -> list[str]:
    """The flags that name the benchmark of an evaluation as it was given: a file with its columns, and the tag."""
    summary, prompts = run.evaluation(version, name) / "summary.parquet", run.benchmark(name)
    given = read_lineage(summary, SUMMARY).outputs.get("benchmark") if summary.is_file() else None
    made: Mapping[str, Any] = read_lineage(prompts, PROMPTS).config if prompts.is_file() else {}
    dataset = _dataset(run, name)
    tag = name.removeprefix(f"{dataset}.") if name.startswith(f"{dataset}.") else ""
    columns = [word for column in _COLUMNS if made.get(column) for word in (_flag(column), str(made[column]))]
    return ["--benchmark", given or dataset, *columns, *(["--tag", tag] if tag else [])]


def sampling_flags(run: RunDir, version: int, name: str, of: RunConfig) -> list[str]:
    """The flags of how an evaluation was sampled, how often, and for which k, where a run's settings say otherwise.

    Args:
        run: The run of the evaluation.
        version: The policy.
        name: Of the evaluation.
        of: The settings of the run that the flags are for.
    """
    folder = run.evaluation(version, name)
    files = [(path, ROLLOUTS) for path in sorted((folder / "rollouts").glob("part-*.parquet"))[:1]]
    files += [(path, SUMMARY) for path in [folder / "summary.parquet"] if path.is_file()]
    made: dict[str, Any] = {}
    for path, kind in files:
        made |= read_lineage(path, kind).config
    own = of.eval.for_benchmark(_dataset(run, name)).model_dump(mode="json", include=set(_ASKED))
    changed = [setting for setting in _ASKED if setting in made and made[setting] != own[setting]]
    return [word for setting in changed for word in (_flag(setting), _typed(made[setting]))]


_ASKED = ("temperature", "top_p", "max_tokens", "num_samples", "k")


def _typed(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _dataset(run: RunDir, name: str) -> str:
    """The short name of an evaluation's benchmark, without a tag."""
    prompts = run.benchmark(name)
    return str(read_lineage(prompts, PROMPTS).config["dataset"]) if prompts.is_file() else name


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"

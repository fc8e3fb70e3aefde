"""The name of an evaluation that is asked for, and the command that makes one that is not there."""

from __future__ import annotations

from rsgrpo_cli.config import EvalConfig
from rsgrpo_cli.run.run_commands import benchmark_flags, command, eval_command, sampling_flags
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import evaluations
from rsgrpo_cli.tasks.sample_counts import for_benchmark
from rsgrpo_cli.tasks.sources import flags_of_benchmark, source_name

Made = tuple[RunDir, int, str]
"""An evaluation: its run, its policy, its name."""


def measure_command(run: RunDir, version: int | None, benchmark: str | None = None, like: Made | None = None) -> str:
    """The command that evaluates a policy as another one was evaluated: only those can be compared.

    Args:
        run: The run.
        version: The policy; None for the newest.
        benchmark: The name of what it is to be evaluated on; any unless given.
        like: The evaluation that it is to be compared with; the run's newest unless given. Where there is none, the
            policy is evaluated on what the run is evaluated on by itself; FILE stands for problems of the user's own
            where nothing says which.
    """
    own = [(policy, name) for policy, name in evaluations(run) if benchmark in (None, name)]
    found = like or ((run, *max(own)) if own else None)
    if found:
        on = [*benchmark_flags(*found), *sampling_flags(*found, of=run.config())]
    else:
        on = flags_of_benchmark(run.config(), benchmark)
    return command(run, "eval", *on) if version is None else eval_command(run, version, None, *on)


def asked_samples(config: EvalConfig, benchmark: str) -> int:
    """How many samples of each problem of a benchmark are asked for; arguments as of `sample_counts.for_benchmark`."""
    return for_benchmark(config, benchmark).samples


def evaluated_name(benchmark: str) -> str:
    """The name that evaluations on a benchmark have, also where it is given as `eval` takes it: a file, one on the Hub.

    Args:
        benchmark: The benchmark, or the name of an evaluation.
    """
    return source_name(benchmark)

"""How many samples of each problem an evaluation draws where single benchmarks have numbers of their own.

The settings name these as a user does, by a file's path or by the short name that evaluations have; both mean the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rsgrpo_cli.config.stages import EvalConfig
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.tasks.sources import source_name


def for_benchmark(config: EvalConfig, benchmark: str) -> EvalConfig:
    """The settings for one benchmark: its own number of samples, and the values of k that these allow.

    Args:
        config: The settings for all.
        benchmark: The benchmark as it was given, or the name of its evaluations.
    """
    own = {source_name(name): samples for name, samples in config.special.items()}
    return config.with_samples(own.get(source_name(benchmark), config.samples))


def check_names(benchmarks: Sequence[str], named: Iterable[str]) -> None:
    """Numbers of samples are for benchmarks that are evaluated, one for each.

    Args:
        benchmarks: Those that are evaluated.
        named: Those that were given a number of their own.

    Raises:
        UsageError: If one is for another, or two are for the same.
    """
    known, seen = {source_name(name) for name in benchmarks}, dict[str, str]()
    for name in named:
        short = source_name(name)
        if short not in known:
            raise UsageError(
                f"--num-samples names {name}, which is not evaluated", f"benchmarks here: {', '.join(benchmarks)}"
            )
        if short in seen:
            told = f"--num-samples has two numbers for one benchmark, {seen[short]} and {name}"
            raise UsageError(told, "give one of them")
        seen[short] = name

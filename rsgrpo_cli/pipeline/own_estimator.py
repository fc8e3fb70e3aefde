"""A user's estimator in a run: its settings made complete, and what it was when its advantages were made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from rsgrpo_cli.config import AdvantageConfig, Overrides, OwnEstimatorConfig, RunConfig
from rsgrpo_cli.estimators.user import UserEstimator
from rsgrpo_cli.pipeline.identity import require_same_estimator
from rsgrpo_cli.run.identity import refuse_unasked
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.stages.advantage import OwnEstimator


def completed(cfg: AdvantageConfig, own: UserEstimator | None) -> AdvantageConfig:
    """The settings of an estimator with the defaults of the function, where it is a user's.

    Raises:
        UsageError: If the function cannot be loaded, or a setting is not its own or does not fit.
    """
    if own is None or not isinstance(cfg, OwnEstimatorConfig):
        return cfg
    return cfg.with_knobs(own.completed(cfg.knobs()))


def completed_run(config: RunConfig, keep_out: Path | None = None) -> RunConfig:
    """A run's configuration with the same done to its estimator, which is opened for it and closed again.

    Args:
        config: The configuration.
        keep_out: See `UserEstimator`.

    Raises:
        UsageError: As `completed`.
    """
    with opened(config.advantage, keep_out) as (cfg, _):
        return config if cfg is config.advantage else config.model_copy(update={"advantage": cfg})


def without_lost_settings(config: RunConfig, overrides: Overrides) -> RunConfig:
    """A run's configuration where its own estimator is named again: settings that the function has lost are left out.

    Raises:
        UsageError: If the function cannot be loaded.
    """
    cfg = config.advantage
    if not isinstance(cfg, OwnEstimatorConfig) or overrides.get("advantage.estimator") != cfg.estimator:
        return config
    with closing(UserEstimator(cfg.estimator)) as own:
        kept = {name: value for name, value in cfg.knobs().items() if own.has_setting(name)}
    return config.model_copy(update={"advantage": cfg.with_knobs(kept)})


def require_known(cfg: AdvantageConfig, runs: Sequence[Path], *, trust: bool) -> None:
    """Refuse to show what an estimator of a user's own does that only runs name, or that has changed since.

    Args:
        cfg: The settings of the estimator.
        runs: The runs that name it, which may be gone.
        trust: Whether it is called although nobody named it.

    Raises:
        UsageError: If it is not to be called, or cannot be loaded.
        StaleError: If a run was made with another one of the name.
    """
    if not isinstance(cfg, OwnEstimatorConfig):
        return
    if not trust:
        refuse_unasked(runs[0], "estimator", cfg.estimator, has_flag=False)
    for run in (RunDir(path) for path in runs if RunDir.is_there(path)):
        with closing(UserEstimator(cfg.estimator, keep_out=run.path)) as own:
            require_same_estimator(run, cfg.estimator, own.identity)


@contextmanager
def opened(cfg: AdvantageConfig, keep_out: Path | None = None) -> Iterator[tuple[AdvantageConfig, OwnEstimator | None]]:
    """The complete settings of an estimator, and what they name where it is a user's; it is closed after the block.

    Raises:
        UsageError: As `completed`.
    """
    if not isinstance(cfg, OwnEstimatorConfig):
        yield cfg, None
        return
    with closing(UserEstimator(cfg.estimator, keep_out=keep_out)) as own:
        whole = completed(cfg, own)
        yield whole, partial(own, settings=whole.knobs())

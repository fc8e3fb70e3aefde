"""Loads the functions of a user's own that configurations name, so that a slip is known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.pipeline.own_estimator import completed_run
from rsgrpo_cli.rewards.registry import open_reward


def with_functions(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The configurations with the defaults of their estimators, as their runs record them.

    Each estimator and each reward is loaded once.

    Raises:
        UsageError: If one cannot be loaded, or there is none of that name.
    """
    keys = [config.advantage.model_dump_json() for config in configs]
    whole = {key: completed_run(config).advantage for key, config in dict(zip(keys, configs, strict=True)).items()}
    for config in {config.score.reward: config for config in configs}.values():
        with closing(open_reward(config.score.reward, workers=1, deadline=config.score.timeout)) as reward:
            if ":" in config.score.reward:
                _ = reward.identity  # loads it
    return [config.model_copy(update={"advantage": whole[key]}) for key, config in zip(keys, configs, strict=True)]

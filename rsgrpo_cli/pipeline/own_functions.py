"""Loads the functions of a user's own that configurations name, so that a slip is known before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.pipeline.own_estimator import completed_run
from rsgrpo_cli.rewards.registry import open_reward


def load_functions(configs: Sequence[RunConfig]) -> None:
    """Load each estimator and each reward once.

    Raises:
        UsageError: If one cannot be loaded, or there is none of that name.
    """
    for config in {config.advantage.model_dump_json(): config for config in configs}.values():
        completed_run(config)
    for config in {config.score.reward: config for config in configs}.values():
        with closing(open_reward(config.score.reward, workers=1, deadline=config.score.timeout)) as reward:
            if ":" in config.score.reward:
                _ = reward.identity  # loads it

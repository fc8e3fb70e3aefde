"""The learning rate of every optimizer step: a function of its number and the settings, with no state of its own."""

from __future__ import annotations

import math

from rsgrpo_cli.config import UpdateConfig


def learning_rate(cfg: UpdateConfig, optimizer_step: int) -> float:
    """The learning rate at an optimizer step.

    With peak p, W = warmup_steps and S = schedule_steps, at step t from 0:

        t < W         p (t + 1) / W        so that no step is spent on a learning rate of 0
        constant      p
        cosine        p (1 + cos(pi (t - W) / (S - W))) / 2   for t < S, 0 from there on

    Args:
        cfg: A run's; the peak and a cosine's schedule_steps are resolved.
        optimizer_step: Counted from the run's first, over all its updates.
    """
    peak, warmup = cfg.learning_rate, cfg.warmup_steps
    assert peak is not None  # resolved with the run's configuration
    if optimizer_step < warmup:
        return peak * (optimizer_step + 1) / warmup
    if cfg.lr_schedule == "constant":
        return peak
    assert cfg.schedule_steps is not None  # likewise
    passed = min(1.0, (optimizer_step - warmup) / (cfg.schedule_steps - warmup))
    return peak * (1 + math.cos(math.pi * passed)) / 2

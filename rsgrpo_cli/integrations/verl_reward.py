"""Our verifier as a reward function of verl.

    python -m verl.trainer.main_ppo reward.custom_reward_function.path=pkg://rsgrpo_cli.integrations.verl_reward ...

verl calls `compute_score` for one completion at a time, from the threads of an executor. math-verify alone fails there:
its time limits need the main thread. Ours are those of worker processes, see `rsgrpo_cli.workers.pool`; a pool serves
one thread at a time, hence a few pools of one worker each, from which a thread takes a free one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from queue import LifoQueue
from typing import Any

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.rewards.registry import open_reward, task_of
from rsgrpo_cli.rewards.types import RewardFn, Sample

DEFAULT_WORKERS = 2
DEFAULT_TIMEOUT = 10.0
_OPENING = threading.Lock()


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Any = None,
    *,
    workers: int = DEFAULT_WORKERS,
    timeout: float = DEFAULT_TIMEOUT,
    in_thought: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """Grade a completion, with verl's signature of a reward function.

    Args:
        data_source: Not used: the reference answer says whether this is mathematics or a countdown puzzle.
        solution_str: The completion's text.
        ground_truth: The reference answer, `reward_model.ground_truth` of `prompts.parquet`.
        extra_info: Not used.
        workers: Verifier processes that each reward worker of verl may start (verl has `reward.num_workers` of these);
            to be set, like the next, as `+reward.custom_reward_function.reward_kwargs.workers=4`.
        timeout: Seconds that one verification may take.
        in_thought: Whether the model's chat template ends a prompt with `<think>`, which verl does not say: a box in a
            thought that is never closed is then no answer. `rsgrpo prepare --show 1` prints how a prompt ends.

    Returns:
        "score", what verl trains on; "acc", the same, for its validation metrics; "pred", the extracted answer, for its
        majority vote; and "status", the reason. verl does not say whether a completion was cut off: what `rsgrpo score`
        calls truncated is no_box here, with the same reward of 0.

    Raises:
        UsageError: If the verifier cannot be loaded, or a setting is not positive.
    """
    sample = Sample(solution_str, ground_truth, columns={"task": task_of(ground_truth)}, in_thought=in_thought)
    with _borrowed_scorer(workers, timeout) as score:
        (verdict,) = score([sample])
    return {
        "score": verdict.reward,
        "acc": verdict.reward,
        "pred": verdict.answer or "",
        "status": verdict.status.value,
    }


@contextmanager
def _borrowed_scorer(workers: int, timeout: float) -> Iterator[RewardFn]:
    with _OPENING:
        scorers = _scorers(workers, timeout)
    # The last one to be put back comes first: its memory is fresh, and those never needed start no process.
    scorer = scorers.get()
    try:
        yield scorer
    finally:
        scorers.put(scorer)


@cache
def _scorers(workers: int, timeout: float) -> LifoQueue[RewardFn]:
    """The scorers of this process; their workers end with it."""
    if workers < 1:
        raise UsageError(f"the reward function needs at least 1 worker, not {workers}")
    queue: LifoQueue[RewardFn] = LifoQueue()
    for _ in range(workers):
        queue.put(open_reward("auto", workers=1, deadline=timeout))
    return queue

"""A reward of your own: part of the credit for using the numbers right, the rest for making the target.

    cd examples
    rsgrpo train --reward own_reward:nearly_right --beta 2 --steps 20 --run own

The signature is TRL's. The function gets all completions of a prompt at once and runs in worker processes: if it
raises, hangs or dies, the completion at fault gets 0 and the run continues. Editing this file makes a run's rewards
stale, because the hash of its text is part of what they were made with.
"""

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.countdown import judge, parse_puzzle
from rsgrpo_cli.rewards.extraction import extract
from rsgrpo_cli.rewards.types import Status

CREDIT = {Status.OK: 1.0, Status.WRONG: 0.2}
"""WRONG is an expression with every number once and another value; whatever else there may be earns nothing."""


def nearly_right(completions: list[str], ground_truth: list[str], **columns: list[object]) -> list[float | None]:
    """Score the completions of a prompt.

    Args:
        completions: The texts that were sampled.
        ground_truth: The reference answer, once per completion: "3 5 7 2 -> 24".
        columns: The prompt's other columns (`prompt_id`, `task`, `split`, ...), which this reward does not need.

    Returns:
        One number per completion; None would mean "no reward": the completion is then left out of its group.
    """
    return [score(completion, gold) for completion, gold in zip(completions, ground_truth, strict=True)]


def score(completion: str, gold: str) -> float | None:
    """What one completion earns."""
    try:
        puzzle = parse_puzzle(gold)
    except DataError:
        return None  # not a puzzle, so there is nothing to judge by
    answer = extract(completion).answer
    return 0.0 if answer is None else CREDIT.get(judge(answer, puzzle), 0.0)

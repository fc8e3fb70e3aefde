"""How different the answers to one problem are. None stands for "no answer": it is never an answer of its own.

Shape suffix: N answers to one problem.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def distinct_answers(answers_N: Sequence[Hashable | None]) -> int:
    """Count the different answers, None not among them.

    Args:
        answers_N: Extracted answers to one problem.

    Returns:
        Between 0 (nobody answered) and N.
    """
    return len({answer for answer in answers_N if answer is not None})


def distinct_ratio(answers_N: Sequence[Hashable | None]) -> float:
    """Share of different answers among all samples, those without an answer included in the denominator.

    The "unique answer ratio" of arXiv 2509.24261, figure 7, as far as its text tells; average it over problems. It
    falls as N grows, so compare runs at equal N.

    Args:
        answers_N: Extracted answers to one problem, at least one sample.

    Returns:
        Between 0 (nobody answered) and 1 (all different).

    Raises:
        ValueError: If there is no sample.
    """
    if not answers_N:
        raise ValueError("a problem without samples has no distinct ratio")
    return distinct_answers(answers_N) / len(answers_N)

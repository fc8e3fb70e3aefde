r"""Tells answers that would keep an algebra system busy for seconds, and could hardly be right: `is_laborious`.

The deadline catches whatever it is; but each catch costs seconds of a worker, and a policy that has learnt to write
`9^{9^{9^9}}` writes it often. Limits are relative to the gold answer: what it has itself is allowed. Linear in
the text.
"""

from __future__ import annotations

import re

_SHORT_CHARS, _TIMES_THE_GOLD = 500, 8
_DEPTH = 20
_TOWER = 3
_HUGE_EXPONENT = re.compile(r"\^\s*\{?\s*[+-]?\d{6}")
_FACTORIALS = re.compile(r"!\s*!\s*!")
# A power with what it is raised to in braces, a power with a single token, an opening bracket, a closing one.
_STEP = re.compile(r"(?P<tower>\^\s*\{)|(?P<power>\^)|\\?(?P<open>[({\[])|\\?(?P<close>[)}\]])")


def is_laborious(gold: str, answer: str) -> bool:
    """Whether an answer is not worth the algebra.

    It is more than 500 characters long and 8 times as long as the gold, is nested more than 20 deep, has a tower of 3
    powers, an exponent of 6 digits or a triple factorial, and the gold has nothing of the kind.

    Args:
        gold: From `answer.normalise_gold`.
        answer: From `answer.normalise_answer`.
    """
    if len(answer) > max(_SHORT_CHARS, _TIMES_THE_GOLD * len(gold)):
        return True
    if any(form.search(answer) and not form.search(gold) for form in (_HUGE_EXPONENT, _FACTORIALS)):
        return True
    depth, tower = _heights(answer)
    gold_depth, gold_tower = _heights(gold)
    return depth > max(_DEPTH, gold_depth) or (tower >= _TOWER and tower > gold_tower)


def _heights(text: str) -> tuple[int, int]:
    """How deep brackets are nested, and how many powers stand on top of each other (`a^b^c` counts as two)."""
    opened: list[bool] = []  # whether each open bracket holds an exponent
    deepest = highest = inside = run = behind = 0
    for step in _STEP.finditer(text):
        run = run if step.start() - behind <= 1 else 0  # a chain without braces: 2^2^2
        behind = step.end()
        if step["close"]:
            inside -= bool(opened and opened.pop())
            continue
        raised = bool(step["tower"])
        if not step["power"]:
            opened.append(raised)
            inside += raised
        run = run + 1 if step["power"] else 0
        deepest, highest = max(deepest, len(opened)), max(highest, inside + run)
    return deepest, highest

r"""The countdown game: use every given number once, with `+ - * / ( )`, to make the target.

For `3 5 7 2 -> 24`, which is how the reference answer is written, `\boxed{3*7+5-2}` is right, `\boxed{3+5+7+2}` is
wrong, and `\boxed{24}` is no answer at all. Answers are read by a tokenizer and evaluated with two stacks, exactly, in
fractions: no `eval`, no recursion, and no arithmetic before it is known that the numbers are the given ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rsgrpo_cli.errors import DataError
from rsgrpo_cli.rewards.extraction import extract
from rsgrpo_cli.rewards.types import Sample, Status, Verdict

MAX_ANSWER_CHARS = 1_000
MAX_DEPTH = 32
_PUZZLE = re.compile(r"\s*(\d{1,9}(?:\s+\d{1,9})*)\s*->\s*(-?\d{1,18})\s*", re.ASCII)
_TOKEN = re.compile(r"\s*(?:(\d{1,9})(?!\d)|([-+*/()]))", re.ASCII)
_SPELLINGS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "（": "(", "）": ")"})
_COMMANDS = re.compile(r"\\(?:(?P<times>times|cdot)|(?P<over>div)|left|right)(?![A-Za-z])|\$|\\[,;: ]")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


@dataclass(frozen=True, slots=True)
class Puzzle:
    """One game.

    Args:
        numbers: What must be used, each as often as it is listed here; sorted.
        target: What must come out.
    """

    numbers: tuple[int, ...]
    target: int


def parse_puzzle(ground_truth: str) -> Puzzle:
    """Read a reference answer such as "3 5 7 2 -> 24".

    Raises:
        DataError: If it has another form.
    """
    found = _PUZZLE.fullmatch(ground_truth)
    if not found:
        raise DataError(
            f"a countdown puzzle is written like '3 5 7 2 -> 24', not {ground_truth[:80]!r}",
            "numbers of up to 9 digits separated by spaces, an arrow, the target",
        )
    return Puzzle(tuple(sorted(map(int, found[1].split()))), int(found[2]))


def judge(answer: str, puzzle: Puzzle) -> Status:
    """OK, WRONG (another value), UNPARSABLE (no expression, or not every number once) or TOO_LONG."""
    if len(answer) > MAX_ANSWER_CHARS:
        return Status.TOO_LONG
    tokens = tokenize(answer)
    if tokens is None or tuple(sorted(int(token) for token in tokens if token.isdigit())) != puzzle.numbers:
        return Status.UNPARSABLE
    value = evaluate(tokens)
    if value is None:
        return Status.UNPARSABLE
    return Status.OK if value == puzzle.target else Status.WRONG


def tokenize(answer: str) -> list[str] | None:
    r"""The numbers, operators and parentheses of an answer; None where there is anything else.

    `×`, `\times` and `\cdot` are `*`, `÷` and `\div` are `/`, a Unicode minus is `-`; spaces are dropped.
    """
    plain = _COMMANDS.sub(lambda found: "*" if found["times"] else "/" if found["over"] else " ", answer)
    plain = plain.translate(_SPELLINGS).strip()
    tokens: list[str] = []
    end = 0
    while end < len(plain):
        found = _TOKEN.match(plain, end)
        if not found:
            return None
        tokens.append(found[1] or found[2])
        end = found.end()
    return tokens


def evaluate(tokens: Sequence[str]) -> Fraction | None:
    """The exact value of an expression, by operator precedence, in one pass over its tokens.

    Returns:
        None where it is not well formed (a unary minus and `2(3)` are not), nested more than 32 deep, or divides by 0.
    """
    numbers: list[Fraction] = []
    operators: list[str] = []
    operand_next = True
    depth = 0
    for token in tokens:
        if operand_next != (token.isdigit() or token == "("):
            return None
        if token.isdigit():
            numbers.append(Fraction(token))
            operand_next = False
        elif token == "(":
            depth += 1
            operators.append(token)
        elif not _reduce(numbers, operators, _PRECEDENCE.get(token, 0)):
            return None
        elif token == ")":
            if not operators:
                return None
            depth -= 1
            operators.pop()
        else:
            operators.append(token)
            operand_next = True
        if depth > MAX_DEPTH:
            return None
    complete = not operand_next and not depth and _reduce(numbers, operators, 0)
    return numbers[0] if complete else None


def _reduce(numbers: list[Fraction], operators: list[str], precedence: int) -> bool:
    """Carry out the operators on top that bind at least as tightly; False on a division by zero."""
    while operators and operators[-1] != "(" and _PRECEDENCE[operators[-1]] >= precedence:
        right, left = numbers.pop(), numbers.pop()
        match operators.pop():
            case "+":
                numbers.append(left + right)
            case "-":
                numbers.append(left - right)
            case "*":
                numbers.append(left * right)
            case _:
                if not right:
                    return False
                numbers.append(left / right)
    return True


class CountdownReward:
    """1.0 for a boxed expression that uses every number of the puzzle once and makes the target, else 0.0."""

    identity = "countdown policy-3"

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Judge `samples`.

        Raises:
            DataError: If a ground truth is no puzzle.
        """
        return [_verdict(sample) for sample in samples]

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        """For each puzzle None, or why it is none. Whether it has a solution is not looked into."""
        return [_complaint(ground_truth) for ground_truth in ground_truths]

    def close(self) -> None:
        """Nothing to end: there are no workers."""


def _verdict(sample: Sample) -> Verdict:
    puzzle = parse_puzzle(sample.ground_truth)
    found = extract(sample.completion, finish_reason=sample.finish_reason, in_thought=sample.in_thought)
    if found.answer is None:
        return Verdict(0.0, found.status or Status.NO_BOX)
    status = judge(found.answer, puzzle)
    return Verdict(float(status is Status.OK), status, found.answer.strip()[:MAX_ANSWER_CHARS])


def _complaint(ground_truth: str) -> str | None:
    try:
        parse_puzzle(ground_truth)
    except DataError as error:
        return error.message
    return None

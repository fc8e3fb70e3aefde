"""Words of messages that depend on numbers."""

from __future__ import annotations

from typing import Any

VERBS = {"has": "have", "is": "are", "was": "were", "does": "do"}


def plural(number: float, noun: str) -> str:
    """A noun as it stands beside a number: sample, samples."""
    if number == 1:
        return noun
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def verb(number: float, word: str) -> str:
    """A verb as it goes with a number of things: is, are; needs, need."""
    return word if number == 1 else VERBS.get(word) or word.removesuffix("s")


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 sample, 12 samples."""
    return f"{number} {plural(number, noun)}"


ONE_OF = {
    "answers_left_out": "answer left out",
    "in_benchmarks": "in a benchmark",
    "with_images": "with an image",
    "prompts_to_draw": "prompt to draw",
    "changed_verdicts": "changed verdict",
    "optimizer_steps": "optimizer step",
    "groups_dropped": "group without a gradient",
    "worked_solutions": "worked solution",
    **{f"{noun}s": noun for noun in ("prompt", "duplicate", "completion", "group")},
}
"""A count among the facts of an outcome -> what it is called where it is 1."""

SEVERAL = {"groups_dropped": "groups without a gradient"}
"""What several are called where that is not the name of the fact."""


def fact(name: str, value: Any) -> str:
    """What a fact of an outcome is called behind its value."""
    if name in ONE_OF and value == 1:
        return ONE_OF[name]
    return SEVERAL.get(name) or name.replace("_", " ")

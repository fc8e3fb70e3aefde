"""Words that several messages share, and those that depend on numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AGAIN = "the same command again"
SHARE_THE_RUN = "the run has to be on a file system that all machines share, under the same path"
VERBS = {"has": "have", "is": "are", "was": "were", "does": "do"}


def again(run: object) -> str:
    """The same command on a run at this path: without --run, it might start another."""
    return f"{AGAIN} with --run {run}"


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


def raised(kind: str, message: object) -> str:
    """What was raised: KeyError: 'x'; its name alone where it says nothing."""
    text = str(message)
    return f"{kind}: {text}" if text.strip() else kind


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 sample, 12 samples."""
    return f"{number} {plural(number, noun)}"


def steps_told(steps: Sequence[int]) -> str:
    """Steps in order, of which there may be many: step 3, 12 steps from 3 on."""
    return f"step {steps[0]}" if len(steps) == 1 else f"{len(steps)} steps from {steps[0]} on"


PART_OF = {
    "conflicting": ("duplicates", "with a different answer from the one kept"),
    "worked_solutions": ("prompts", "from worked solutions"),
    "answers_left_out": ("prompts", "from chats that ended with an answer"),
    "answers_shown": ("prompts", "that show their answer"),
    "without_box": ("prompts", "that ask for no box"),
    "other_form": ("prompts", "that ask for another form than a box"),
}
"""A count among the facts of an outcome that is part of another one -> of which, and how it is told behind it."""


def counts_told(facts: Mapping[str, Any]) -> dict[str, str]:
    """The counts among facts that are not 0, in words, by name; the others add up: what is part of one is behind it."""
    told = {}
    for name, value in facts.items():
        parts = [(part, behind) for part, (of, behind) in PART_OF.items() if of == name and facts.get(part)]
        inside = ", ".join(f"{facts[part]} {behind}" for part, behind in parts)
        whole = PART_OF.get(name, ("",))[0]
        if value and type(value) is int and not facts.get(whole):
            told[name] = f"{value} {fact(name, value)}" + (f" ({inside})" if inside else "")
    return told


ONE_OF = {
    "in_benchmarks": "in a benchmark",
    "with_images": "with an image",
    "prompts_to_draw": "prompt to draw",
    "changed_verdicts": "changed verdict",
    "optimizer_steps": "optimizer step",
    "groups_dropped": "group without a gradient",
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

"""The kinds of figures by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.studies.figures import diversity, frontier, passk, training, transitions, weights
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import Group


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of figure.

    Args:
        collect: From groups to a dataclass of numbers, which has a `caption`.
        draw: Draws those into a file.
    """

    collect: Callable[[Sequence[Group], Choices], Any]
    draw: Callable[[Any, Path], None]


KINDS = {
    "passk": Kind(passk.collect, passk.draw),
    "training": Kind(training.collect, training.draw),
    "diversity": Kind(diversity.collect, diversity.draw),
    "frontier": Kind(frontier.collect, frontier.draw),
    "transitions": Kind(transitions.collect, transitions.draw),
    "weights": Kind(weights.collect, weights.draw),
}


def kind_of(name: str) -> Kind:
    """The kind of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in KINDS:
        raise UsageError(f"{name} is not a kind of figure", f"choose one of: {', '.join(KINDS)}")
    return KINDS[name]

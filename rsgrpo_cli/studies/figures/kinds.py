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
        choices: The choices that matter to it.
    """

    collect: Callable[[Sequence[Group], Choices], Any]
    draw: Callable[[Any, Path], None]
    choices: tuple[str, ...] = ("benchmark",)

    def choose(self, **given: Any) -> Choices:
        """The choices that were made; None is none.

        Raises:
            UsageError: If one does not matter to this kind.
        """
        made = {name: value for name, value in given.items() if value is not None}
        idle = next((name for name in made if name not in self.choices), None)
        if idle is not None:
            kinds = ", ".join(name for name, kind in KINDS.items() if idle in kind.choices)
            raise UsageError(f"--{idle} does nothing to this figure", f"leave it out; it is for {kinds}")
        return Choices(**made)


KINDS = {
    "passk": Kind(passk.collect, passk.draw, ("benchmark", "k")),
    "training": Kind(training.collect, training.draw, ("benchmark", "smooth")),
    "diversity": Kind(diversity.collect, diversity.draw),
    "frontier": Kind(frontier.collect, frontier.draw, ("benchmark", "k", "along")),
    "transitions": Kind(transitions.collect, transitions.draw, ("benchmark", "baseline")),
    "weights": Kind(weights.collect, weights.draw, ()),
}


def kind_of(name: str) -> Kind:
    """The kind of a name.

    Raises:
        UsageError: If there is none.
    """
    if name not in KINDS:
        raise UsageError(f"{name} is not a kind of figure", f"choose one of: {', '.join(KINDS)}")
    return KINDS[name]

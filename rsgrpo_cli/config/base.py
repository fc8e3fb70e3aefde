"""What every stage's configuration has, and the types of its fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return value


def _countable(value: int) -> int:
    if value > MOST:
        raise ValueError(f"must be at most {MOST:,}, not {value:,}")
    return value


MOST = 999_999_999
"""No setting that counts something is larger: the numbers of steps in names of directories have nine digits."""
Finite = Annotated[float, AfterValidator(_finite)]
NonNegative = Annotated[Finite, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Positive = Annotated[AtLeastOne, AfterValidator(_countable)]
Temperature = Annotated[float, Field(ge=1e-6), AfterValidator(_finite)]
"""What divides the logits; below this it divides by nothing in float32."""
Fraction = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class Flag:
    """Marks a setting that has a flag of its own on the command line.

    Args:
        names: The flag's names; made from the field's name unless given.
        metavar: What stands for the value in the help; made from the type unless given.
        env: An environment variable that sets it, too.
    """

    names: tuple[str, ...] = ()
    metavar: str | None = None
    env: str | None = None


class StageConfig(BaseModel):
    """Settings of one stage.

    `SPEED_ONLY` names those that change how long it takes, never what it makes. `NOT_IN_ARTIFACT` names those that
    decide what a run does, but not what is in this stage's artifact. `OPTIONAL` names those that count only where
    they are not the default: artifacts made before there was such a setting stay current. `FIXED` has those that were
    settings once, with the value they now always have: artifacts made while they were stay current.

    A docstring below a field is its help, on the command line and in docs/settings.md (`config.reference` reads it).
    """

    # Validators are built when they are first used: `--help` needs none.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)
    SPEED_ONLY: ClassVar[frozenset[str]] = frozenset()
    NOT_IN_ARTIFACT: ClassVar[frozenset[str]] = frozenset()
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    FIXED: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @classmethod
    def left_out(cls) -> dict[str, Any]:
        """The settings that `decisive` leaves out at a certain value, with that value."""
        return {name: cls.model_fields[name].default for name in cls.OPTIONAL}

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the content of the stage's artifact, for its lineage."""
        fields = type(self).model_fields
        off = {name for name in self.OPTIONAL if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude={*self.SPEED_ONLY, *self.NOT_IN_ARTIFACT, *off}) | dict(self.FIXED)

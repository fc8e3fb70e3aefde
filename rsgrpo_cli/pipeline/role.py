"""What a process with a session is to the run: the one that holds it, or one of its workers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rsgrpo_cli.activity import Doing
from rsgrpo_cli.engines.types import Weights
from rsgrpo_cli.stages.rollout import Part


class PartMakers(Protocol):
    """Workers of a session; `spread.Spread`, which knows what a session is."""

    def sample(
        self, session: Any, folder: Path, draw: Any, parts: Sequence[Part], bar: Doing
    ) -> Iterator[tuple[Path, int]]:
        """Have parts sampled; as of `Spread`."""
        ...

    @property
    def samplers(self) -> int:
        """How many of them sample."""
        ...

    @property
    def grades(self) -> bool:
        """Whether they grade as well."""
        ...

    def grade(
        self, session: Any, grading: Any, parts: Sequence[Any], old: Collection[Path], bar: Doing
    ) -> Iterator[Path]:
        """Have parts graded; as of `Spread`."""
        ...

    def rest(self) -> None:
        """Let the trainer have the GPUs."""
        ...


@dataclass(frozen=True, slots=True)
class Role:
    """The holder of the run, unless it has a number.

    Args:
        worker: Which worker it is.
        beside_trainer: Whether another process trains on its GPUs.
        handed: The files of policies that no checkpoint has, which the holder keeps ready.
    """

    worker: int | None = None
    beside_trainer: bool = False
    handed: Mapping[int, Weights] = field(default_factory=dict)

    @property
    def vllm_log(self) -> str:
        """The name of the log of its own vLLM."""
        return "vllm.log" if self.worker is None else f"vllm-{self.worker}.log"

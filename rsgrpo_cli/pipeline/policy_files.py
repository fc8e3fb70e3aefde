"""The files of a policy, for a sampler with weights of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rsgrpo_cli import disk
from rsgrpo_cli.engines.types import Weights
from rsgrpo_cli.probe import Probe
from rsgrpo_cli.run.checkpoint_checks import check_checkpoint
from rsgrpo_cli.run.run_dir import WHOLE, RunDir

if TYPE_CHECKING:
    from rsgrpo_cli.policy.policy import Policy

TRANSIENT = "weights"
"""Directory in the run for weights that no checkpoint has; it is there only while they are being loaded."""


def weights_id(policy_id: str, at: float) -> str:
    """The id of weights on the line from the base model to a policy."""
    return policy_id if at == WHOLE else f"{policy_id} at {at:g}"


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """Where the weights of a run's policies are.

    Args:
        run: The run.
        base: Directory of the base model.
        base_id: Hash of its weights.
        adapter: Whether a checkpoint holds an adapter to the base model.
        borrow: Holds a policy in memory for a block, for what no file has.
        handed: Policies whose files another process holds ready.
    """

    run: RunDir
    base: Path
    base_id: str
    adapter: bool
    borrow: Callable[[int], AbstractContextManager[Policy]]
    handed: Mapping[int, Weights] = field(default_factory=dict)

    @contextmanager
    def of(self, version: int, at: float = WHOLE) -> Iterator[Weights]:
        """A policy as files: the base model's, a checkpoint's, or written out for as long as the block runs.

        Args:
            version: The policy.
            at: Where on the line from the base model to it the weights are that are borrowed.

        Raises:
            MissingError: If there is no such policy (any more).
        """
        from rsgrpo_cli.policy.checkpoints import save_with_companions
        from rsgrpo_cli.policy.fingerprint import PROBE, take_probe

        policy_id = weights_id(self.run.policy_id(version, self.base_id), at)
        if version in self.handed:
            yield self.handed[version]
        elif version == 0:
            yield Weights(policy_id, self.base, False, self._base_probe())
        elif version in self.run.versions() and at == WHOLE:
            check_checkpoint(self.run, version, trainer=False)
            folder = self.run.checkpoint(version)
            yield Weights(policy_id, folder, self.adapter, Probe.load(folder / PROBE))
        else:
            place = self.run.path / TRANSIENT
            with self.borrow(version) as policy, disk.workshop(place) as folder:
                save_with_companions(policy, folder)
                names = [path.name for path in folder.iterdir()]
                yield Weights(policy_id, folder, self.adapter, take_probe(policy))
            disk.clear_leftovers(place, names)

    def _base_probe(self) -> Probe:
        """The base model's probe; the trainer computes it once per run."""
        from rsgrpo_cli.policy.fingerprint import take_probe

        path = self.run.path / f"base_probe.{self.base_id}.json"
        if not path.is_file():
            with self.borrow(0) as policy:
                text = json.dumps(asdict(take_probe(policy))).encode()
            disk.write_atomically(path, lambda file: file.write(text))
        return Probe.load(path)

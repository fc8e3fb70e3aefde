"""A sampler with weights of its own: what it is started with, and where it finds the weights of a policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from rsgrpo_cli import disk
from rsgrpo_cli.artifacts import write_json
from rsgrpo_cli.engines.registry import open_engine
from rsgrpo_cli.engines.types import Weights
from rsgrpo_cli.probe import Probe

if TYPE_CHECKING:
    from rsgrpo_cli.engines.types import LoadableEngine
    from rsgrpo_cli.pipeline.session import Session

TRANSIENT = "weights"
"""What a directory in the run is called after for weights that no checkpoint has, only while they are being loaded."""


def open_sampler(session: Session, probe: Probe, *, beside_trainer: bool) -> LoadableEngine:
    """Start vLLM with the base model.

    Args:
        session: Its configuration says how.
        probe: Any policy's of this run.
        beside_trainer: Whether a trainer holds memory too.
    """
    from rsgrpo_cli.engines.vllm import Setup

    config = session.config
    assert config.eval.max_tokens is not None  # resolved with the configuration
    setup = Setup(
        base=session.base,
        base_policy=session.base_id,
        probe=probe,
        model=config.model,
        vllm=config.vllm,
        longest=max(config.rollout.max_tokens, config.eval.max_tokens),
        beside_trainer=beside_trainer,
        log=session.run.path / "vllm.log",
        day=session.template_date,
    )
    session.out.info(f"starting vLLM, which takes half a minute or more; its log: {setup.log}")
    engine: LoadableEngine = open_engine("vllm", setup)  # type: ignore[assignment]
    return engine


@contextmanager
def weights_of(session: Session, version: int) -> Iterator[Weights]:
    """A policy as files: the base model's, a checkpoint's, or written out for as long as the block runs.

    Raises:
        MissingError: If there is no such policy (any more).
    """
    from rsgrpo_cli.policy.checkpoints import save_weights
    from rsgrpo_cli.policy.fingerprint import PROBE, take_probe

    run, policy_id, adapter = session.run, session.policy_id(version), session.config.model.lora_rank > 0
    if version == 0:
        yield Weights(policy_id, session.base, False, base_probe(session))
    elif version in run.versions():
        run.check_checkpoint(version, trainer=False)
        folder = run.checkpoint(version)
        yield Weights(policy_id, folder, adapter, Probe.load(folder / PROBE))
    else:
        policy, place = session.policy(version), run.path / TRANSIENT
        with disk.workshop(place) as folder:
            save_weights(policy, folder)
            names = [path.name for path in folder.iterdir()]
            yield Weights(policy_id, folder, adapter, take_probe(policy))
        disk.clear_leftovers(place, names)


def base_probe(session: Session) -> Probe:
    """The base model's probe; the trainer is asked for it once a run."""
    from rsgrpo_cli.policy.fingerprint import take_probe

    path = session.run.path / f"base_probe.{session.base_id}.json"
    if not path.is_file():
        with session.borrowed_policy(0) as policy:
            write_json(path, asdict(take_probe(policy)))
    return Probe.load(path)

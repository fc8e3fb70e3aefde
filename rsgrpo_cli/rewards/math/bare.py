"""math-verify as it comes, to compare with: the reward `bare`. Its pairs run in workers, as ours do."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from rsgrpo_cli.rewards.math.reward import judgement
from rsgrpo_cli.rewards.types import Sample, Status, Verdict
from rsgrpo_cli.workers.pool import DEFAULT_MEMORY_LIMIT_BYTES, WorkerPool

_HANDLER = "rsgrpo_cli.rewards.math.bare:verify_bare"
_READ_CHARS = 200_000


def verify_bare(gold: str, completion: str) -> bool:
    """`verify(parse(gold), parse(completion))` with math-verify's defaults, the gold in a box. For worker processes."""
    from math_verify import parse, verify

    return bool(verify(parse(rf"\boxed{{{gold}}}"), parse(completion)))


class BareReward:
    """1.0 for a completion that bare math-verify accepts, else 0.0.

    Args:
        workers: Processes.
        deadline: Seconds for one completion, after which its worker is killed.
    """

    def __init__(self, *, workers: int, deadline: float) -> None:
        self.identity = f"bare math-verify-{version('math-verify')}"
        self._pool = WorkerPool(
            _HANDLER, workers=workers, deadline=deadline, memory_limit_bytes=DEFAULT_MEMORY_LIMIT_BYTES
        )

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Judge `samples`."""
        jobs = [(sample.ground_truth, sample.completion[-_READ_CHARS:]) for sample in samples]
        distinct = list(dict.fromkeys(jobs))
        outcomes = dict(zip(distinct, self._pool.map(distinct), strict=True))
        statuses = [judgement(outcomes[job]) for job in jobs]
        return [Verdict(float(status is Status.OK), status) for status in statuses]

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        """No complaints: it is compared with, and not trained on."""
        return [None] * len(ground_truths)

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

"""How long a sweep will take yet, from the jobs that this command has done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rsgrpo_cli.studies.jobs import Job


def time_left(jobs: Sequence[Job], slots: int, steps: Mapping[str, int], before: Mapping[str, int]) -> float | None:
    """Seconds until all jobs are done, in proportion to their steps; None until a job of each kind left was timed.

    A base model's job trains nothing and takes another time than a cell's, and one is left for each seed to come. What
    was resumed tells nothing: it is not known which part of its time went into what was left of it.

    Args:
        jobs: Cells and base models, as far as they were not done when the command began.
        slots: How many run at a time.
        steps: Cell -> its steps; a job that is not in it is a base model's.
        before: Cell -> steps that were done when the command began.
    """
    size = {job.name: max(steps.get(job.name, 1), 1) for job in jobs}
    fresh = [job for job in jobs if job.state == "done" and not before.get(job.name)]
    pace: dict[bool, float] = {}
    for is_cell in (True, False):
        timed = [job for job in fresh if (job.name in steps) == is_cell]
        if timed:
            pace[is_cell] = sum(job.seconds for job in timed) / sum(size[job.name] for job in timed)
    left = [job for job in jobs if job.state in ("waiting", "running")]
    if not {job.name in steps for job in left} <= set(pace):
        return None
    needs = []
    for job in left:
        whole = pace[job.name in steps] * (size[job.name] - before.get(job.name, 0))
        needs.append(max(whole - (job.running_seconds() if job.state == "running" else 0.0), 0.0))
    return max(max(needs), sum(needs) / min(slots, len(needs))) if needs else 0.0

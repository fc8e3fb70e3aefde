"""`UserFunction`: a function of the user's own in worker processes: a reward, or an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rsgrpo_cli.errors import StaleError, UsageError
from rsgrpo_cli.wording import raised
from rsgrpo_cli.workers.pool import Died, Done, Job, Outcome, Raised, TimedOut, WorkerPool

# A reward model needs more room than a verifier; what a completion makes a function allocate must still end somewhere.
MEMORY_LIMIT_BYTES = 16 * 1024**3


class UserFunction:
    """A function and the workers that call it; they start with the first use.

    Args:
        name: The function, as "package.module:function"; the module may be in the current directory.
        kind: What it is, for messages: "reward".
        caller: What loads it in a worker and serves the jobs; the job (None,) returns a description of the function,
            with its hash under "source".
        workers: Number of processes.
        deadline: Seconds for one job, after which its worker is killed.
        keep_out: A directory from which the function is not imported: a run's, which is data and no program.

    Raises:
        UsageError: If the name is not that of a function; on first use, if the function cannot be loaded.
    """

    def __init__(
        self, name: str, kind: str, caller: str, *, workers: int, deadline: float, keep_out: Path | None
    ) -> None:
        _refuse_other_names(name, kind)
        self.name, self.kind, self.label = name, kind, f"the {kind} function {name}"
        self._pool = WorkerPool(
            caller,
            workers=workers,
            deadline=deadline,
            memory_limit_bytes=MEMORY_LIMIT_BYTES,
            setup=(name, str(keep_out) if keep_out else None),
            label=self.label,
        )

    @cached_property
    def described(self) -> dict[str, Any]:
        """What the workers' side says of the function.

        Raises:
            UsageError: If it cannot be loaded.
        """
        try:
            (outcome,) = self._pool.map([(None,)])
        except UsageError as error:
            raise UsageError(error.message, self._hint(error)) from error
        if not isinstance(outcome, Done):
            raise UsageError(f"the source of {self.name} cannot be read: {_reason(outcome)}")
        described: dict[str, Any] = outcome.value
        return described

    @property
    def source(self) -> str:
        """Hash of its file, and of what it imports from beside it."""
        return str(self.described["source"])

    @property
    def identity(self) -> str:
        """Its name and the hash of its source.

        Raises:
            UsageError: If it cannot be loaded.
        """
        return f"user {self.name} {self.source}".rstrip()

    def map(self, jobs: Sequence[Job]) -> list[Outcome]:
        """One outcome per job, in order; each job should hand over `source`, for the worker to compare.

        Raises:
            StaleError: If the function's source was changed since it was first loaded.
        """
        outcomes = self._pool.map(jobs)
        for outcome in outcomes:
            if isinstance(outcome, Raised) and outcome.kind == "SourceChangedError":
                raise StaleError(
                    f"the source of {self.label} changed while it was running",
                    "put it back as it was, or use the new one: the same command again says how",
                )
        return outcomes

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def _hint(self, error: UsageError) -> str:
        """What to do about a function that cannot be loaded."""
        if "ForbiddenModuleError" in error.message:
            return f"keep it outside the run directory; if you know this one: --{self.kind} {self.name}"
        if "LookupError" in error.message or "TypeError" in error.message:
            return f"name a function that can be called: --{self.kind} {self.name.partition(':')[0]}:FUNCTION"
        return error.hint


def _refuse_other_names(name: str, kind: str) -> None:
    """Refuse what is no name of a function in a module, a file's path for instance."""
    module, _, function = name.partition(":")
    names = [part.isidentifier() for part in (*module.split("."), *function.split("."))]
    if all(names) and not (module.endswith(".py") and Path(module).is_file()):
        return
    file = Path(module).stem if module.endswith(".py") and Path(module).stem.isidentifier() else f"my_{kind}s"
    called = function if function.isidentifier() else "f"
    raise UsageError(
        f'{"an" if kind[0] in "aeiou" else "a"} {kind} function is given as "package.module:function", not "{name}"',
        f"for a function {called} in {file}.py in this directory: {file}:{called}",
    )


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Raised(kind, message):
            return raised(kind, message)
        case Died(exit_code):
            return f"the process ended with code {exit_code}"
        case TimedOut():
            return "it took too long"
        case _:
            raise AssertionError(outcome)

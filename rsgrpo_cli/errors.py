"""What can go wrong, as a user sees it: one line that says what, one that says what to do next.

    RsgrpoError
    ├── UsageError (ValueError)              exit 2   a flag, an argument or a configuration value
    ├── MissingError (FileNotFoundError)     exit 1   a file, a run, a model, a benchmark that is not there
    ├── DataError (ValueError)               exit 1   the content of a dataset, a reward, an answer
    ├── ArtifactError (ValueError)           exit 1   a Parquet file or checkpoint that is foreign or cut short
    ├── StaleError (RuntimeError)            exit 1   made from inputs or settings that have changed since
    ├── LockedError (RuntimeError)           exit 1   another live process is using the run
    ├── EngineError (RuntimeError)           exit 1   the sampler or the trainer cannot go on
    │   └── DivergedError                             an update has ruined the policy
    ├── DependencyError (ImportError)        exit 1   an optional package is not installed
    └── Interrupted (RuntimeError)           exit 130 stopped on request, everything finished is kept

Each also inherits the fitting built-in exception, so that library users can catch what they know. Only
`rsgrpo_cli.app.main` turns them into text and an exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RsgrpoError(Exception):
    """A failure with a next step.

    Args:
        message: What is wrong, in one line, naming the file, the flag or the row.
        hint: What to do about it, in one line; empty where there is nothing to add.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.result: Mapping[str, Any] = {}
        """What the command has come to all the same; with `--json` it is told in one object with the error."""

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UsageError(RsgrpoError, ValueError):
    """A flag, an argument or a configuration value that cannot be used."""

    exit_code = 2


class MissingError(RsgrpoError, FileNotFoundError):
    """A file, run, model or benchmark that is not where it was looked for."""

    # FileNotFoundError.__str__ formats (errno, strerror); ours is the message and its hint.
    __str__ = RsgrpoError.__str__


class DataError(RsgrpoError, ValueError):
    """Content that cannot be worked with: an empty dataset, a NaN reward, an unverifiable answer."""


class ArtifactError(RsgrpoError, ValueError):
    """A Parquet file or a checkpoint that is foreign, damaged or cut short."""


class StaleError(RsgrpoError, RuntimeError):
    """An artifact whose inputs or settings have changed since it was made."""


class LockedError(RsgrpoError, RuntimeError):
    """The run directory is in use by another live process."""


class EngineError(RsgrpoError, RuntimeError):
    """The sampler or the trainer cannot go on: out of memory, non-finite loss, stale weights."""


class DivergedError(EngineError):
    """An update has ruined the policy: its probabilities are not finite numbers any more."""

    def __init__(self, message: str, hint: str = "branch off earlier: rsgrpo fork NEW --step N --lr LOWER") -> None:
        super().__init__(message, hint)


class DependencyError(RsgrpoError, ImportError):
    """An optional package is needed and not installed."""


class Interrupted(RsgrpoError, RuntimeError):
    """Stopped on request; everything finished so far is on disk."""

    exit_code = 130


def about_utf8(text: object) -> tuple[str, str]:
    """What is wrong with a name or another text that is not UTF-8; a locale without UTF-8 makes such of any."""
    return f"{text} is not UTF-8", "give it in UTF-8; if it is, the locale is not: export LC_ALL=C.UTF-8"


def require_utf8(text: str) -> None:
    """Refuse a text that no artifact, no log and hardly any library can hold.

    Raises:
        UsageError: If it is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(*about_utf8(text)) from None


def first_line(error: BaseException, silent: str | None = None) -> str:
    """What an error says, in one line.

    Args:
        error: Any, also of other people's code.
        silent: What to return for one without a message; None for the name of its class.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__ if silent is None else silent
    # A heading says nothing without what stands below it.
    shown = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return shown.rstrip(".")

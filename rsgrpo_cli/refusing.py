"""What Typer refuses of a command line, told as every other error is: one line that says what, one what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer

from rsgrpo_cli.errors import UsageError

_REFUSED: Any = typer.BadParameter.__base__
"""What a command line that does not fit raises; Typer has no name of its own for it."""

ALIKE = 0.75
"""How alike a flag has to be to be named: Typer's own 0.6 offers --set for --beat and --force for --nope."""
_OF_RUNS = ("train", "prepare", "sweep", "plan", "fork")
"""Commands that all settings of a run are for."""


@contextmanager
def told(context: Any, words: Sequence[str]) -> Iterator[None]:
    """Around what reads a command line.

    Args:
        context: Of the command.
        words: What it is given.

    Raises:
        UsageError: If Typer refuses it.
    """
    given = list(words)  # which Typer takes apart
    try:
        yield
    except _REFUSED as error:
        if context.resilient_parsing or type(error).__name__ == "NoArgsIsHelpError":
            raise
        raise UsageError(_message(error), _hint(error, context, given)) from None


def _message(error: Any) -> str:
    """What is wrong: of a value that does not fit, in the words that settings have for it."""
    complaints = getattr(error.__cause__, "errors", None)
    if complaints and error.param is not None:
        from rsgrpo_cli.config.complaints import in_words

        return f"{error.param.opts[0]}: {in_words(complaints()[0])}"
    text: str = error.message if hasattr(error, "possibilities") else error.format_message()
    return text[:1].lower() + text[1:].rstrip(".")


def _hint(error: Any, context: Any, words: Sequence[str]) -> str:
    """What to do: another flag, or the help of the command."""
    unknown = error.option_name if hasattr(error, "possibilities") else None
    if unknown and (name := _setting(unknown, context)):
        return f"as a setting: --set {name}={_value(unknown, words)}"
    if unknown and (similar := get_close_matches(unknown, error.possibilities or (), cutoff=ALIKE)):
        return f"similar ones: {', '.join(sorted(similar))}"
    what = "commands" if hasattr(context.command, "commands") else "options and arguments"
    return f"{context.command_path} --help lists the {what}"


def _setting(flag: str, context: Any) -> str | None:
    """The setting that a flag of another command means, where it would do something here."""
    from rsgrpo_cli.config.reference import setting_of

    if not any("--set" in parameter.opts for parameter in context.command.params):
        return None
    name = setting_of(flag)
    # A single stage takes settings of other stages too, and they do nothing.
    return name if name and context.info_name in (*_OF_RUNS, name.partition(".")[0]) else None


def _value(flag: str, words: Sequence[str]) -> str:
    """What a flag was given on a command line, VALUE if nothing."""
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
        if word == flag and not following.startswith("--"):
            return following
    return "VALUE"

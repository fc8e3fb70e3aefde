"""Settings as they are typed: what a text on the command line means, and how a value is written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rsgrpo_cli.config.stages import DEFAULT
from rsgrpo_cli.errors import MissingError, UsageError


def shown(value: Any) -> str:
    """A setting's value as one would type it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return re.sub(r"e-0(?=\d)", "e-", f"{value:g}") if isinstance(value, float) else str(value)


def num_samples(text: str) -> int | dict[str, int]:
    """The setting that "1024", "1024,math500=64" or "math500=64" means.

    Raises:
        UsageError: If it is something else.
    """
    general: list[int] = []
    special: dict[str, int] = {}
    try:
        for part in text.split(","):
            name, equals, number = part.rpartition("=")
            if equals:
                special[name.strip()] = int(number)
            else:
                general.append(int(number))
    except ValueError as error:
        raise UsageError(
            f"--num-samples {text!r} is not a number of completions", "write 32, or 1024,math500=64"
        ) from error
    if len(general) > 1:
        raise UsageError(f"--num-samples {text!r} has two general numbers", "write 1024,math500=64")
    # A general number is meant for all that are not named here, also where the run or its recipe says otherwise.
    if not special:
        return general[0]
    return ({DEFAULT: general[0]} if general else {}) | special


def text_of(name: str) -> str:
    """What is in a template's file.

    Raises:
        MissingError: If there is none.
        UsageError: If it is no text.
    """
    path = Path(name)
    try:
        return path.read_text(encoding="utf-8-sig")  # a byte order mark is no part of a prompt
    except FileNotFoundError as error:
        raise MissingError(f"no template file at {path}", "check the path given with --prompt-template") from error
    except UnicodeDecodeError as error:
        hint = "save it as UTF-8, for instance: iconv -f ENCODING -t UTF-8 OLD > NEW"
        raise UsageError(f"{path} is not a text file in UTF-8", hint) from error


def ks(text: str) -> tuple[int, ...]:
    """The numbers of a list such as "1,32,1024".

    Raises:
        UsageError: If it is something else.
    """
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"--k {text!r} is not a list of whole numbers", "write --k 1,32,1024") from error
    if min(values) < 1:
        raise UsageError(f"--k {text!r}: k is 1 or more", "write --k 1,32,1024")
    return tuple(sorted(set(values)))


def places_on_line(text: str) -> tuple[float, ...]:
    """The numbers of a list such as "0,0.5,1": places on the line from a base model to a policy.

    Raises:
        UsageError: If it is something else.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--interpolate {text!r} is not a list of numbers", "write --interpolate 0,0.5,1") from error
    from rsgrpo_cli.run.run_dir import is_on_line

    if not all(map(is_on_line, values)):
        hint = "0 is the base model and 1 the policy: --interpolate 0.5,0.75,1"
        what = "a place on the line lies between 0 and 1, with six digits at most"
        raise UsageError(f"--interpolate {text!r}: {what}", hint)
    return tuple(sorted(set(values)))

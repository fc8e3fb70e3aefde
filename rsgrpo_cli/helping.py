"""What `--help` prints: whole at any width, with the default, the choices and the unit of every flag.

A flag stands to the left of its help where there is room, else above it. typer's own boxes cut the names of flags at 80
columns.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from rich.markup import render
from rich.text import Text

from rsgrpo_cli.console import PLAIN_WIDTH, screen_width
from rsgrpo_cli.folding import wrapped

WIDTH = 100
"""Columns off a terminal."""
LEFT = 30
"""Columns for a flag beside its help; on a narrower screen than three times that, the help goes below."""
HEADING, FLAG = "bold", "cyan"


class ListOf(str):
    """The metavar of an option whose one value is a list: given twice it is refused, as only the last would count."""

    __slots__ = ()


def help_text(command: Any, context: Any) -> Text:
    """The help of a command, or of the whole program.

    Args:
        command: typer's command or group.
        context: The context that it is called in.
    """
    # In a pager stdout is a pipe, and the errors still go to the screen.
    width = min(screen_width(sys.stdout) or screen_width(sys.stderr) or WIDTH, PLAIN_WIDTH)
    made = Text()
    made.append(f"Usage: {context.command_path} {' '.join(command.collect_usage_pieces(context))}\n\n")
    made.append(_paragraphs(command.help or "", width))
    for panel, rows in _panels(command, context):
        made.append(f"\n{panel}\n", style=HEADING)
        for left, right in rows:
            made.append_text(_row(left, right, width))
    if command.epilog:
        made.append(f"\n{command.epilog}\n")  # the example, to be copied
    return made


def _paragraphs(text: str, width: int) -> str:
    parts = inspect.cleandoc(text).split("\n\n")
    return "".join(wrapped(" ".join(part.split()), width, commands=True) + "\n\n" for part in parts).rstrip("\n") + "\n"


def _panels(command: Any, context: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Heading, and what stands to the left and to the right, of each group of arguments, flags and commands."""
    found: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(context):
        if not getattr(param, "hidden", False):
            panel = getattr(param, "rich_help_panel", None) or ("Options" if param.opts[0][0] == "-" else "Arguments")
            found.setdefault(panel, []).append((_name(param, context), _about(param, context)))
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, name)
        first = inspect.cleandoc(child.help or "").partition("\n\n")[0]
        found.setdefault(child.rich_help_panel, []).append((name, " ".join(first.split())))
    order = sorted(found, key=lambda panel: panel != "Arguments")
    return iter([(panel, found[panel]) for panel in order])


def _name(param: Any, context: Any) -> str:
    """-n, --num-samples N,NAME=N,... or a command's argument."""
    if param.opts[0][0] != "-":
        return str(param.metavar or param.name.upper())
    long, short = ([name for name in param.opts if name.startswith("--") == is_long] for is_long in (True, False))
    names = ", ".join([*short, *long])
    if param.secondary_opts:
        names += f"/{param.secondary_opts[0]}"
    return (
        names if _is_switch(param, context) else f"{names} {param.metavar or _KINDS.get(_kind(param, context), 'TEXT')}"
    )


def _kind(param: Any, context: Any) -> str:
    return re.sub(r"[^a-z]|range", "", str(param.display_type_rich(ctx=context) or ""))


def _is_switch(param: Any, context: Any) -> bool:
    return not param.metavar and _kind(param, context) in ("bool", "boolean", "")


_KINDS = {"int": "N", "float": "X", "path": "PATH", "str": "TEXT"}
"""What stands for a value, by its type."""


def _about(param: Any, context: Any) -> str:
    """A flag's help, and in brackets what it may be, what it is if not given, and where else it can be set."""
    text = render(" ".join((getattr(param, "help", "") or "").split())).plain
    found = re.fullmatch(r"(.*\S) +\[([^\[\]]*)\]", text)
    text, said = (found[1], found[2]) if found else (text, _default(param, context, text))
    facts = [_limits(param), said]
    facts.append(f"env: {param.envvar}" if getattr(param, "envvar", None) else "")
    told = "; ".join(fact for fact in facts if fact)
    return f"{text} [{told}]" if told else text


def _default(param: Any, context: Any, text: str) -> str:
    """The default of a flag that takes a value, unless its help says it in words."""
    if param.opts[0][0] != "-" or _is_switch(param, context) or re.search(r"\bby default\b", text, re.IGNORECASE):
        return ""
    default = param._extract_default_help_str(ctx=context)
    shown = param._get_default_string(ctx=context, show_default_is_str=False, default_value=default)
    return f"default: {shown if default is not None else 'none'}"


def _limits(param: Any) -> str:
    """0 or more, for example; those of a setting are in its help."""
    found = re.fullmatch(r"(?:(-?[\d.e-]+)<=)?x(?:(?:<=|>=)(-?[\d.e-]+))?", param._get_number_range_help_str() or "")
    text = param._get_number_range_help_str() or ""
    if not found:
        return ""
    low, high = found[1], found[2]
    if low and high:
        return f"{float(low):g} to {float(high):g}"
    return f"{float(high):g} or more" if ">=" in text else f"at most {float(high):g}"


def _row(left: str, right: str, width: int) -> Text:
    """A flag and its help, beside each other where there is room."""
    beside = width >= 3 * LEFT and len(left) <= LEFT - 4
    indent = LEFT if width >= 3 * LEFT else 6
    lines = wrapped(" " * indent + right, width, indent=indent, commands=True).split("\n")
    made = Text("  ").append(left, style=FLAG)
    if beside:
        return made.append(lines[0][len(left) + 2 :] + "\n").append("".join(f"{line}\n" for line in lines[1:]))
    return made.append("\n").append("".join(f"{line}\n" for line in lines))

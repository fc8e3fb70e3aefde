"""What a row of a dataset asks: a text, or a chat that ends with the problem."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsgrpo_cli.errors import DataError

Message = dict[str, str]

ROLES = ("system", "developer", "user", "assistant")
_SHAREGPT = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
"""Who speaks, where a chat is written with `from` and `value`, as ShareGPT's are."""
GAPS = {"nan", "NaN", "NAN", "-nan", "<NA>", "NaT", "null", "NULL", "None", "NA", "N/A", "n/a", "#N/A", "TBD"}
"""How a missing value reads once it has been turned into text."""
_LIKE_A_CHAT = re.compile(r"\s*(?:\[\s*)?\{\s*['\"]")
_TEXT_PARTS = ("text", "input_text", "output_text")
_MEDIA_PARTS = re.compile(r"(input_)?(image|img|video|audio|file)(_url|_file|_base64)?", re.ASCII)
_MEDIA = "(?:image|img|picture|pic|photo|figure|diagram|video|audio|sound)s?"
_MEDIA_COLUMN = re.compile(
    rf"(?:(?:decoded|raw|problem|question|prompt|query|input|original|source|main)_)?{_MEDIA}"
    r"(?:_?(?:urls?|paths?|base64|b64|bytes|data|files?|names?|filenames?|list))?(?:_?\d+)?"
    "|multi_?modal(?:_data)?|pixel_values"
)
_FLAG_COLUMN = re.compile(rf"(?:has|with|is|num|n|number_of)_{_MEDIA}(?:_count)?")
"""Columns that say whether there is one, or how many."""
_MEDIA_TEXT = re.compile(
    r"\s*(?:data:(?:image|video|audio)/|iVBORw0KGgo|/9j/|R0lGOD|\S+\.(?:png|jpe?g|gif|webp|bmp|svg|mp[34]|wav)\s*\Z)"
)
"""How a text begins or ends that is an image or names one."""
_PLACEHOLDER = re.compile(
    r"<(?:image|img|video|audio)(?:[ _-]?\d+)?\s*/?>|<\|?image_pad\|?>|<\|image\|>|\[(?:IMAGE|IMG)(?:[ _-]?\d+)?\]"
    r"|!\[[^\]\n]*\]\([^\s()]*[./][^\s()]*(?:\s[^()\n]*)?\)|<(?:img|video|audio)\s[^<>]*\bsrc\s*=|\\includegraphics\b"
)
"""A placeholder in the text of a problem for its image, or the image in Markdown, HTML or LaTeX."""
_STORED = {"bytes", "path"}
"""How `datasets` stores a picture or a sound."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row asks.

    Args:
        text: The problem, or a chat that ends with it; empty where the row has none.
        media: Whether an image, a sound or a video belongs to it.
        answered: Whether the chat went on with an answer, which is left out here.
    """

    text: str | tuple[Message, ...]
    media: bool = False
    answered: bool = False


def asked(value: Any, where: str) -> Asked:
    """Read the value of a prompt column.

    Args:
        value: Text, a chat (also as JSON text), or nothing.
        where: The row and the column, for errors.

    Raises:
        DataError: If it is something else, or a chat that no model here can be asked.
    """
    if isinstance(value, str):
        value = _chat_in(value) or value
    if _is_turn(value):
        value = [value]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Asked("")
    if isinstance(value, str):
        says_something = _says_something(value) and value.strip() not in GAPS
        return Asked(value if says_something else "", media=bool(_PLACEHOLDER.search(value)))
    if not isinstance(value, list):
        raise DataError(f"{where} is {type(value).__name__}, not text or a chat")
    return _asked_by(value, where)


def answer_in(value: Any) -> str | None:
    """What the assistant says at the end of a chat (also as JSON text); None where it is no such chat.

    Raises:
        DataError: If one of its turns cannot be read.
    """
    turns = _chat_in(value) if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns or not all(map(_is_turn, turns)):
        return None
    last = _with_role(turns[-1])
    return _turn(last, f"turn {len(turns)}")[0]["content"] if last["role"] == "assistant" else None


def media_columns(shape: Mapping[str, Any]) -> list[str]:
    """The columns that hold images, sounds or videos, by their names or by what is in them."""
    return [
        name
        for name, value in shape.items()
        if _MEDIA_COLUMN.fullmatch(name.lower()) or _FLAG_COLUMN.fullmatch(name.lower()) or _is_stored_media(value)
    ]


def is_filled(value: Any) -> bool:
    """Whether there is anything in a value at all."""
    if isinstance(value, bool | int | float):
        return bool(value) and not math.isnan(value)
    if isinstance(value, Mapping):
        return any(map(is_filled, value.values()))
    if isinstance(value, list):
        return any(map(is_filled, value))
    return value is not None and value not in ("", b"")


def _is_stored_media(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_stored_media, value[:1]))
    if isinstance(value, str):
        return bool(_MEDIA_TEXT.match(value[:200]))
    return isinstance(value, Mapping) and set(value) == _STORED


def _chat_in(text: str) -> list[Any] | None:
    """The chat, or the one turn of it, that a text is the JSON of, or what Python prints of it."""
    if not _LIKE_A_CHAT.match(text):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):  # a problem that begins with these brackets
            return None
    turns = [found] if isinstance(found, Mapping) else found
    return turns if all(map(_is_turn, turns)) else None


def _is_turn(value: Any) -> bool:
    return isinstance(value, Mapping) and ({"role", "content"} <= set(value) or {"from", "value"} <= set(value))


def _with_role(turn: Any) -> Any:
    """A turn with role and content, if it is one of ShareGPT's."""
    if not isinstance(turn, Mapping) or "role" in turn or not {"from", "value"} <= set(turn):
        return turn
    others = {name: value for name, value in turn.items() if name not in ("from", "value")}
    speaker = turn["from"]
    role = _SHAREGPT.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return {**others, "role": role, "content": turn["value"]}


def _says_something(text: str) -> bool:
    """Whether a text has a character that can be seen."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _asked_by(written: Sequence[Any], where: str) -> Asked:
    turns = [_with_role(turn) for turn in written]
    read = [_turn(turn, f"{where}, turn {number}") for number, turn in enumerate(turns, start=1)]
    # A supervised set's chat ends with the solution: the problem is what stands before it.
    asking = list(read)
    while asking and asking[-1][0]["role"] == "assistant":
        asking.pop()
    chat = tuple(message for message, _ in asking)
    media = any(shown for _, shown in asking)
    says_nothing = not chat or not (media or _says_something(chat[-1]["content"]))
    if says_nothing or not any(message["role"] == "user" for message in chat):
        return Asked("", media)
    for number, turn in enumerate(turns[: len(chat) - 1], start=1):
        if turn.get("content") is None:
            raise DataError(f"{where}, turn {number} has no content", "correct the row, or leave it out")
    return Asked(chat, media, len(asking) < len(read))


def _turn(turn: Any, where: str) -> tuple[Message, bool]:
    """A turn as text, and whether an image or the like belongs to it."""
    if not isinstance(turn, Mapping) or "role" not in turn or not {"content", "tool_calls"} & set(turn):
        raise DataError(f"{where}: a chat is a list of objects with role and content, or with from and value")
    role = turn["role"]
    if role in ("tool", "function", "ipython") or is_filled(turn.get("tool_calls")):
        raise DataError(f"{where} uses a tool, and there are no tools here", "leave such rows out")
    if role not in ROLES:
        raise DataError(f"{where} has the role {role!r}", f"roles are {', '.join(ROLES)}")
    text, media = _content(turn.get("content"), where)
    return {"role": role, "content": text}, media


def _content(content: Any, where: str) -> tuple[str, bool]:
    if content is None:
        return "", False
    if isinstance(content, str):
        return content, bool(_PLACEHOLDER.search(content))
    if not isinstance(content, list):
        raise DataError(f"{where} has a content that is {type(content).__name__}, not text or a list of parts")
    texts = [_part(part, where) for part in content]
    return "\n".join(text for text in texts if text), any(text is None for text in texts)


def _part(part: Any, where: str) -> str | None:
    """The text of a part; None for an image, a sound or a video."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping):
        kind = part.get("type") or next((name for name, value in part.items() if is_filled(value)), "text")
        if kind in _TEXT_PARTS and isinstance(part.get("text", ""), str | None):
            return part.get("text") or ""
        if isinstance(kind, str) and _MEDIA_PARTS.fullmatch(kind):
            return None
        raise DataError(f"{where} has a part of the type {kind!r}", "parts are text, or images that are left out")
    raise DataError(f"{where} has a part that is {type(part).__name__}, not text or an object")

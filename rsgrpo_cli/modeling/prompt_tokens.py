"""How a prompt becomes the tokens that a model reads, by its chat template or as plain text, and a completion text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.schemas import TEXT_ROLE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLOCK = "strftime_now"
"""What a chat template calls to be told the date."""


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], day: date | None = None
) -> list[int]:
    """Token ids of a prompt: by the chat template where there is one, else the plain text of the messages.

    What is in a message is text: where it looks like one of the model's control tokens, it is read letter by
    letter. A single message of the role TEXT_ROLE is the prompt itself, whatever the template, control tokens included.

    Args:
        tokenizer: The model's.
        messages: The prompt.
        day: The date for a template that asks for it.

    Raises:
        DataError: If the template refuses the chat (an unknown role, say).
        UsageError: If it asks for the date and there is none.
    """
    if len(messages) == 1 and messages[0]["role"] == TEXT_ROLE:
        return _encode_text(tokenizer, messages[0]["content"])
    if not tokenizer.chat_template:
        whole = "\n\n".join(message["content"] for message in messages) + "\n"
        return _encode_text(tokenizer, whole, as_letters=bool(control_tokens(tokenizer, whole)))
    found = {mark for message in messages for mark in control_tokens(tokenizer, message["content"])}
    if found:
        return _encode_with_letters(tokenizer, messages, sorted(found, key=len, reverse=True), day)
    ids = _by_template(tokenizer, messages, day, tokenize=True)
    return list(ids)


def render_chat(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], day: date | None) -> str:
    """The text that a chat template makes of a prompt, with its control tokens; raises as `encode_chat`."""
    return str(_by_template(tokenizer, messages, day, tokenize=False))


def decode_tokens(tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int], token_ids: Sequence[int]) -> str:
    """The text of some tokens, without those that begin, end or pad a text.

    Other special tokens stay, for they may mean something: to some models `<think>` and `<answer>` are such.
    """
    silent = {*stop_ids, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id}
    spoken = set(token_ids) & set(tokenizer.all_special_ids) - silent
    if not spoken:
        return str(tokenizer.decode(token_ids, skip_special_tokens=True))
    kept = [token for token in token_ids if token not in silent]
    return str(tokenizer.decode(kept, skip_special_tokens=False, spaces_between_special_tokens=False))


def control_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The control tokens of a model that are written out in a text."""
    pattern = _control_pattern(tokenizer)
    return pattern.findall(text) if pattern else []


@lru_cache(maxsize=8)
def _control_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    words = {str(token.content) for token in added if token.special} | set(map(str, tokenizer.all_special_tokens))
    longest_first = sorted((word for word in words if word.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _by_template(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], day: date | None, *, tokenize: bool
) -> Any:
    from jinja2 import TemplateError

    # A variable of this name goes before the function that looks at the clock.
    clock = {CLOCK: _clock(day)} if CLOCK in str(tokenizer.chat_template) else {}
    options: dict[str, Any] = {"add_generation_prompt": True, "tokenize": tokenize, **clock}
    if tokenize:
        options["return_dict"] = False
    try:
        return tokenizer.apply_chat_template([dict(message) for message in messages], **options)
    except TemplateError as error:
        raise DataError(f"the model's chat template refuses a prompt: {error}") from error


def _clock(day: date | None) -> Callable[[str], str]:
    def strftime_now(form: str) -> str:
        if day is None:
            raise UsageError(
                "the model's chat template asks for the date, and none is set", "--set model.template_date=YYYY-MM-DD"
            )
        return datetime.combine(day, time()).strftime(form)

    return strftime_now


def _encode_with_letters(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], marks: Sequence[str], day: date | None
) -> list[int]:
    """The tokens of a chat in which control tokens are written out: only those of the template are control tokens.

    Each such word is hidden from the template's pass behind a private character, and comes back as letters in the
    piece of text that it is in.
    """
    hidden = {mark: chr(0xF0000 + number) for number, mark in enumerate(marks)}
    shown = {character: mark for mark, character in hidden.items()}
    swap = re.compile("|".join(map(re.escape, marks)))
    veiled = [
        {**message, "content": swap.sub(lambda found: hidden[found[0]], message["content"])} for message in messages
    ]
    rendered = str(_by_template(tokenizer, veiled, day, tokenize=False))
    pattern = _control_pattern(tokenizer)
    assert pattern is not None  # the marks are from it
    ids: list[int] = []
    for piece in re.split(f"({pattern.pattern})", rendered):
        if not piece:
            continue
        if pattern.fullmatch(piece):
            ids += tokenizer(piece, add_special_tokens=False).input_ids
            continue
        text = "".join(shown.get(character, character) for character in piece)
        ids += _letters(tokenizer, text)
    return ids


def _letters(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text in which nothing is a control token."""
    ids = list(tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)
    for mark in set(control_tokens(tokenizer, text)):
        if tokenizer.convert_tokens_to_ids(mark) in ids and mark != tokenizer.unk_token:
            raise DataError(
                f"a problem has {mark} in it, which this tokenizer can only read as a control token",
                "leave such rows out",
            )
    return ids


def _encode_text(tokenizer: PreTrainedTokenizerBase, text: str, *, as_letters: bool = False) -> list[int]:
    """Token ids of a text, with a beginning-of-sequence token where the tokenizer wants one; never two of them.

    What a tokenizer puts behind a text, an end-of-sequence token say, is left out: a prompt is to be continued.
    """
    if as_letters:
        return [*_before(tokenizer, "a"), *_letters(tokenizer, text)]
    plain = list(tokenizer(text, add_special_tokens=False).input_ids)
    begins = bool(tokenizer.bos_token) and text.startswith(str(tokenizer.bos_token))
    return plain if begins else [*_before(tokenizer, text), *plain]


def _before(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """What a tokenizer puts before a text."""
    bare = list(tokenizer(text, add_special_tokens=False).input_ids)
    whole = list(tokenizer(text, add_special_tokens=True).input_ids)
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start]
    raise DataError("the tokenizer reads a text differently when it adds its special tokens", "give it a chat template")


def chat_template(directory: Path) -> Any:
    """A model's chat template, or several by name; None where it has none and prompts are plain text."""
    alone, config = directory / "chat_template.jinja", directory / "tokenizer_config.json"
    if alone.is_file():
        return alone.read_text(encoding="utf-8")
    if config.is_file():
        return json.loads(config.read_text(encoding="utf-8")).get("chat_template")
    return None


def chat_template_id(directory: Path) -> str | None:
    """Hash of a model's chat template; None where it has none."""
    text = chat_template(directory)
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:12] if text else None


def asks_for_the_date(directory: Path) -> bool:
    """Whether a model's chat template writes the date into every prompt."""
    return CLOCK in json.dumps(chat_template(directory))

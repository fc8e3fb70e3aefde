"""Where a completion's thinking ends: the tags of reasoning models, in the completion or at the end of its prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

# Opening and closing tag of each spelling, in small letters: case does not matter.
_SPELLINGS = (
    ("<think>", "</think>"),  # DeepSeek-R1 and its distillations, QwQ, Qwen3
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE Deep
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("[think]", "[/think]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    ("<|start_thinking|>", "<|end_thinking|>"),  # Command A
    ("<|thinking|>", "<|/thinking|>"),
    ("<|think|>", "<|/think|>"),
    ("<mm:think>", "</mm:think>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<|channel|>analysis", "<|channel|>final"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<unused94>thought", "<unused95>"),  # MedGemma
)
_OPENS = {opening: kind for kind, (opening, _) in enumerate(_SPELLINGS, start=1)}
_CLOSES = {closing: kind for kind, (_, closing) in enumerate(_SPELLINGS, start=1)}
_UNKNOWN = 0


def _loose(tag: str) -> str:
    """A pattern for a tag, with a blank or two before its end: `<think >`."""
    return re.escape(tag[:-1]) + r"\s{0,2}>" if tag.endswith(">") else re.escape(tag)


# Begun with a set of characters, it is looked for at the speed of a search for one of them.
_TAG = re.compile(f"[<\\[◁](?i:{'|'.join(_loose(tag[1:]) for tag in (*_OPENS, *_CLOSES))})")
_OPENED_LAST = re.compile(rf"(?i:{'|'.join(map(_loose, _OPENS))})(?:<\|message\|>)?\s*\Z")
_TAIL_CHARS = 200


def after_thinking(completion: str, *, in_thought: bool = False) -> str | None:
    """The text after the last thought; None where a thought is never closed.

    A thought ends with the tag that belongs to the one that opened it. A closing tag that nothing opened ends one too:
    many chat templates open it in the prompt.

    Args:
        completion: The generated text.
        in_thought: Whether its prompt ends inside a thought.
    """
    spoken, is_open = _end_of_thought(completion, in_thought)
    return None if is_open else completion[spoken:]


def opens_thought(prompt: str, last_content: str | None) -> bool:
    """Whether a prompt ends inside a thought.

    Args:
        prompt: Its text as the model reads it, with its special tokens.
        last_content: The last message that was not the model's own; what follows it, the chat template has put there.
            None where the prompt is plain text, in which only an opening tag at the very end counts.
    """
    if _OPENED_LAST.search(prompt[-_TAIL_CHARS:]):
        return True
    content = (last_content or "").strip()
    at = prompt.rfind(content) if content else -1
    return at >= 0 and _end_of_thought(prompt[at + len(content) :], in_thought=False)[1]


def last_content(messages: Sequence[Mapping[str, Any]]) -> Any:
    """The content of a chat's last message that is not the model's own; None where there is none."""
    return next((message["content"] for message in reversed(messages) if message["role"] != "assistant"), None)


def _end_of_thought(text: str, in_thought: bool) -> tuple[int, bool]:
    """Where the text after the last closed thought begins, and whether another is open at the end."""
    inside = _UNKNOWN if in_thought else None  # the spelling that closes the thought that is open
    end = 0
    for found in _TAG.finditer(text):
        tag = "".join(found[0].lower().split())
        if tag in _OPENS and inside is None:
            inside = _OPENS[tag]
        elif tag in _CLOSES and inside in (None, _UNKNOWN, _CLOSES[tag]):
            inside, end = None, found.end()
    return end, inside is not None

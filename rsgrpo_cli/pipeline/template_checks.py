"""What a chat template does to a problem beside putting it into a turn: said, for it may be meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.schemas import TEXT_ROLE
from rsgrpo_cli.wording import counted, verb

Message = Mapping[str, str]
Prompts = Sequence[tuple[str, Sequence[Message]]]
"""The prompts' names and messages."""

_MARK = re.compile(r"[\[<#|].{3,}|.{3,}[:\]>|]")
"""What the turns of a template begin and end with, where no control token does it: `[INST]`, `### Response:`."""


def check_template(session: Session, prompts: Prompts) -> None:
    """Warn of a template that changes a problem's text, ends a prompt, or has marks that stand in a problem too."""
    from rsgrpo_cli.modeling.prompt_tokens import control_tokens, render_chat

    tokenizer = session.tokenizer
    chats = [(name, messages) for name, messages in prompts if messages[0]["role"] != TEXT_ROLE]
    if not tokenizer.chat_template or not chats:
        return
    marks = set[str]()
    for name, messages in examples(chats):
        text = render_chat(tokenizer, messages, session.template_date)
        for message in messages:
            if message["role"] != "assistant" and message["content"].strip() not in text:
                session.warn_once(
                    f"the model's chat template changes the text of a {message['role']} turn ({name}): "
                    "rsgrpo prepare --show 1 prints what the model reads"
                )
        end = str(tokenizer.eos_token or "")
        if end and text.rstrip().endswith(end):
            session.warn_once(
                f"the model's chat template ends prompts with {end}, after which nothing is to be said ({name}): "
                "mend it, or put problems as plain text: --set prepare.prompt_style=text"
            )
        marks |= turn_marks(text, messages, control_tokens(tokenizer, text))
    found = [(name, mark) for name, messages in chats for mark in sorted(marks) if _stands_in(mark, messages)]
    if found:
        name, mark = found[0]
        count = len({name for name, _ in found})
        session.warn_once(
            f"{counted(count, 'problem')} {verb(count, 'contains')} a mark by which the chat template "
            f"separates turns ({name}: {mark}); "
            "the model cannot tell it from a real one"
        )


def turn_marks(text: str, messages: Sequence[Message], control: Collection[str]) -> set[str]:
    """The marks of turns in a rendered chat that are no control tokens: what stands around its messages.

    Args:
        text: The chat as its template renders it.
        messages: Its messages.
        control: The control tokens in it, which no problem can have.
    """
    for content in sorted({message["content"].strip() for message in messages}, key=len, reverse=True):
        text = text.replace(content, "\n") if content else text
    for token in sorted(control, key=len, reverse=True):
        text = text.replace(token, "\n")
    return {line.strip() for line in text.splitlines() if _MARK.fullmatch(line.strip())}


def _stands_in(mark: str, messages: Iterable[Message]) -> bool:
    return any(mark in message["content"] for message in messages if message["role"] == "user")


def examples(chats: Prompts) -> Prompts:
    """The first and the longest chat of each sequence of roles: a template goes by these."""
    kinds: dict[tuple[str, ...], list[tuple[str, Sequence[Message]]]] = {}
    for chat in chats:
        kinds.setdefault(tuple(message["role"] for message in chat[1]), []).append(chat)
    return [chat for same in kinds.values() for chat in dict((same[0], max(same, key=_length))).items()]


def _length(chat: tuple[str, Sequence[Message]]) -> int:
    return sum(len(message["content"]) for message in chat[1])

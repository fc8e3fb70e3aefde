"""What is looked at before anything is sampled: that the model can read all of each prompt, and answer in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import DataError, UsageError
from rsgrpo_cli.modeling.architectures import require_supported
from rsgrpo_cli.modeling.context_window import Window, window_of
from rsgrpo_cli.models import read_config
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.pipeline.template_checks import check_template, examples
from rsgrpo_cli.schemas import TEXT_ROLE
from rsgrpo_cli.wording import counted, verb

Message = Mapping[str, str]
Encode = Callable[[Sequence[Message]], list[int]]

SLACK = 16
"""Tokens that a prompt may have beyond those of its template and one a byte."""


@dataclass(frozen=True, slots=True)
class _Prompt:
    name: str
    messages: Sequence[Message]

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(message["role"] for message in self.messages)

    @property
    def size(self) -> int:
        """Bytes of its text."""
        return sum(len(message["content"].encode()) for message in self.messages)


def encoder(session: Session) -> Encode:
    """What makes tokens of a prompt, as the engines do."""
    from rsgrpo_cli.modeling.prompt_tokens import encode_chat

    tokenizer, day = session.tokenizer, session.template_date
    return lambda messages: encode_chat(tokenizer, messages, day)


def check_prompts(session: Session, cfg: PrepareConfig, prompts: pa.Table, setting: str) -> None:
    """Find out what would go wrong, or go on quietly, once prompts are sampled from.

    Args:
        session: The run.
        cfg: How the prompts were put, for the way out.
        prompts: Table of `schemas.PROMPTS`.
        setting: Where the longest completion stands: "rollout.max_tokens" or "eval.max_tokens".

    Raises:
        MissingError: If the model's tokenizer or configuration is not there.
        EngineError: If the model is not one that can be trained as it is sampled.
        DataError: If the chat template refuses a prompt or leaves out a turn, or a control token has no letters.
        UsageError: If a prompt and its completion do not fit the model's positions.
    """
    engine = session.engine_name(session.config.rollout.engine)
    if engine == "dummy":
        return
    found = [_Prompt(row["prompt_id"], row["messages"]) for row in prompts.select(_COLUMNS).to_pylist()]
    encode, config = encoder(session), read_config(session.description)
    require_supported(config)
    _require_all_turns(found, encode, cfg)
    _check_control_tokens(session, found, encode, cfg)
    _warn_of_unknown_text(session, found)
    check_template(session, [(prompt.name, prompt.messages) for prompt in found])
    window = _vllm_window(session) if engine == "vllm" else window_of(config)
    _check_room(session, found, encode, window, setting)


_COLUMNS = ["prompt_id", "messages"]


# -- turns ------------------------------------------------------------------------------------------------------------


def _require_all_turns(prompts: Iterable[_Prompt], encode: Encode, cfg: PrepareConfig) -> None:
    """The first and the longest chat of each sequence of roles are looked at: a template goes by these."""
    chats = [(prompt.name, prompt.messages) for prompt in prompts if prompt.roles != (TEXT_ROLE,)]
    for prompt in (_Prompt(name, messages) for name, messages in examples(chats)):
        try:
            whole = encode(prompt.messages)
        except DataError as error:
            raise DataError(f"{error.message} ({prompt.name})", _way_out(prompt.roles, cfg)) from error
        for number, message in enumerate(prompt.messages):
            changed = [*prompt.messages]
            changed[number] = {**message, "content": message["content"] + " 7 + 7"}
            if message["content"].strip() and encode(changed) == whole:
                raise DataError(
                    f"the model's chat template leaves out the {message['role']} turn ({prompt.name})",
                    _way_out((message["role"],), cfg),
                )


def _way_out(roles: Sequence[str], cfg: PrepareConfig) -> str:
    if "system" not in roles:
        return "put problems as plain text: --set prepare.prompt_style=text, or choose another prompt column"
    if cfg.system_prompt:
        return "leave the system prompt out, and say it in the user's turn: --set prepare.instruction=..."
    if cfg.instruction_role == "system":
        return "put the instruction into the user's turn: --set prepare.instruction_role=user"
    return "the chats of the dataset have a system turn: leave it out there"


# -- positions --------------------------------------------------------------------------------------------------------


def _vllm_window(session: Session) -> Window:
    from rsgrpo_cli.engines.vllm import max_model_len

    config = session.config
    assert config.eval.max_tokens is not None  # resolved with the configuration
    longest = max(config.rollout.max_tokens, config.eval.max_tokens)
    return Window(max_model_len(config.vllm, longest, session.description), hard=True)


def _check_room(session: Session, prompts: Sequence[_Prompt], encode: Encode, window: Window, setting: str) -> None:
    section, _, field = setting.partition(".")
    max_tokens = getattr(getattr(session.config, section), field)
    if window.tokens is None:
        return
    name, length = _longest(prompts, encode, at_least=window.tokens - max_tokens + 1)
    if name is None or length + max_tokens <= window.tokens:
        return
    fits = window.tokens - length
    ways = [f"--set {setting}={fits}"] if fits > 0 else []
    if section == "rollout" and window.tokens > max_tokens:
        ways.append(f"leave longer prompts out: --max-prompt-tokens {window.tokens - max_tokens}")
    of = f"the model's {window.tokens:,} positions"
    what = f"prompt {name} has {length:,} tokens, and with {setting} {max_tokens:,}"
    if window.hard:
        raise UsageError(f"{what} it does not fit {of}", "; ".join(ways) or "choose a model with more positions")
    session.warn_once(f"{what} goes beyond {of}, where it was not trained; {'; '.join(ways) or 'shorten it'}")


def _longest(prompts: Sequence[_Prompt], encode: Encode, *, at_least: int) -> tuple[str | None, int]:
    """The prompt with the most tokens, of those that may have `at_least` so many; a token is at least a byte."""
    name: str | None = None
    most = at_least - 1
    # One of each sequence of roles tells what its template adds; it is at most the whole of that prompt.
    around = max(len(encode(prompt.messages)) for prompt in {prompt.roles: prompt for prompt in prompts}.values())
    for prompt in sorted(prompts, key=lambda prompt: -prompt.size):
        if prompt.size + around + SLACK <= most:
            break
        length = len(encode(prompt.messages))
        if length > most:
            name, most = prompt.name, length
    return name, most


# -- control tokens ---------------------------------------------------------------------------------------------------


def _check_control_tokens(session: Session, prompts: Iterable[_Prompt], encode: Encode, cfg: PrepareConfig) -> None:
    """In a chat a control token is read as letters, if the tokenizer has them.

    In a prompt that is text as a whole, the template is meant to write control tokens; a problem that does is said.
    """
    from rsgrpo_cli.modeling.prompt_tokens import control_tokens

    own = Counter(control_tokens(session.tokenizer, cfg.prompt_template or ""))
    found: list[tuple[str, str]] = []
    for prompt in prompts:
        marks = [mark for message in prompt.messages for mark in control_tokens(session.tokenizer, message["content"])]
        if prompt.roles == (TEXT_ROLE,):
            found += [(prompt.name, mark) for mark in [*(Counter(marks) - own)][:1]]
        elif marks:
            try:
                encode(prompt.messages)
            except DataError as error:
                raise DataError(f"{error.message} ({prompt.name})", error.hint) from error
    if found:
        name, mark = found[0]
        session.warn_once(
            f"{counted(len(found), 'problem')} {verb(len(found), 'writes')} out a control token, which "
            f"the model reads as one ({name}: {mark}); "
            "prepare.prompt_style=chat reads it as letters"
        )


# -- text that the tokenizer does not know ----------------------------------------------------------------------------


def _warn_of_unknown_text(session: Session, prompts: Sequence[_Prompt]) -> None:
    """Say where a tokenizer puts its token for what it does not know in the place of text."""
    tokenizer = session.tokenizer
    if tokenizer.unk_token is None:
        return

    def unknown(texts: Sequence[str]) -> list[bool]:
        plain = [text.replace(tokenizer.unk_token, "") for text in texts]
        return [tokenizer.unk_token_id in ids for ids in tokenizer(plain, add_special_tokens=False).input_ids]

    texts = ["\n".join(message["content"] for message in prompt.messages) for prompt in prompts]
    found = [number for number, there in enumerate(unknown(texts)) if there]
    if not found:
        return
    characters = sorted({*texts[found[0]]} - {*" \n"})
    which = [character for character, there in zip(characters, unknown(characters), strict=True) if there]
    shown = f" ({prompts[found[0]].name}: {' '.join(which[:12])}{' ...' if len(which) > 12 else ''})" if which else ""
    session.warn_once(
        f"{len(found)} of {counted(len(prompts), 'prompt')} {verb(len(found), 'has')} text that the "
        f"model's tokenizer does not know{shown}; the model "
        f"reads {tokenizer.unk_token} instead: choose a model for such text, or leave such rows out"
    )

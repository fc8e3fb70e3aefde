"""Which tokens end a completion, and which ids are none: of a tokenizer and a model that need not be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")


def stop_ids(tokenizer: PreTrainedTokenizerBase, generation_config: Any) -> tuple[int, ...]:
    """Tokens that end a completion: the tokenizer's end of sequence, those of the generation config, the end of a turn.

    Base models often name the end of a text only, and go on after the turn that their chat template asks for.

    Raises:
        UsageError: If the model names none: a completion could only end by length.
    """
    named = getattr(generation_config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not all(isinstance(number, int) for number in ids):
        message = f"eos_token_id must be a number or a list of numbers, not {named!r}"
        raise UsageError(message, "correct the model's files")
    template, vocabulary = str(tokenizer.chat_template or ""), tokenizer.get_vocab()
    ids |= {vocabulary[mark] for mark in TURN_ENDS if mark in template and mark in vocabulary}
    if not ids:
        raise UsageError("the model names no end-of-sequence token", "set eos_token in its tokenizer_config.json")
    return tuple(sorted(ids))


def spare_ids(tokenizer: PreTrainedTokenizerBase, rows: int) -> list[int]:
    """The rows of an output layer that no token belongs to.

    Args:
        tokenizer: The model's.
        rows: How many rows there are.
    """
    candidates = sorted(set(range(rows)) - set(tokenizer.get_vocab().values()))
    return [number for number in candidates if not _has_token(tokenizer, number)]


def _has_token(tokenizer: PreTrainedTokenizerBase, number: int) -> bool:
    """Two numbers may have one token: then the vocabulary has only one of them."""
    try:
        return tokenizer.convert_ids_to_tokens(number) is not None
    except (IndexError, KeyError, ValueError, OverflowError):  # SentencePiece's answer beyond its last piece
        return False

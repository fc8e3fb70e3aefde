"""How many tokens a model can read at once, from its config.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.wording import counted

_NO_TABLE = frozenset(["inkling_text", "jamba", "kimi_linear", "nemotron_h", "rwkv", "xglm"])
"""Architectures that name a number of positions, and read further ones too, without rotary embeddings."""
_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")


@dataclass(frozen=True, slots=True)
class Window:
    """The positions of a model.

    Args:
        tokens: How many there are for a prompt and its completion together; None for no limit.
        hard: Whether there is nothing beyond them (learned positions), or nothing right (sparse attention, scaling by
            "dynamic" or "longrope"), or only what was not trained (rotary positions).
    """

    tokens: int | None
    hard: bool


def window_of(config: Any) -> Window:
    """The positions of a model.

    Args:
        config: A transformers configuration.
    """
    text = config.get_text_config()
    given = next((value for name in _NAMES if isinstance(value := getattr(text, name, None), int) and value > 0), None)
    if sparse := getattr(text, "index_topk", None):
        # DeepSeek-V3.2 attends to so many tokens only. From there on transformers computes something else with a cache
        # than without one (seen with 5.19), and so would sampling and update.
        return Window(min(given or sparse, sparse), hard=True)
    rotary = list(_rotary(text))
    if given is None:
        return Window(None, hard=False)
    if switches := [found for scaling in rotary if (found := _switches_at(given, scaling))]:
        return Window(min(switches), hard=True)
    relative = text.model_type in _NO_TABLE or any(getattr(text, name, False) for name in ("rope_theta", "alibi"))
    return Window(max([given, *(_scaled_window(given, scaling) for scaling in rotary)]), hard=not (rotary or relative))


def require_room(window: Window, prompt: int, max_tokens: int) -> None:
    """Refuse what a model has no positions for.

    Args:
        window: The model's positions.
        prompt: Tokens of the longest prompt.
        max_tokens: Tokens of a completion, at most.

    Raises:
        UsageError: If there is nothing beyond its last position, and that is not enough.
    """
    if window.hard and window.tokens is not None and prompt + max_tokens > window.tokens:
        raise UsageError(
            f"a prompt of {counted(prompt, 'token')} and {max_tokens} more do not fit the model's "
            f"{window.tokens} positions",
            f"a completion may have {counted(max(0, window.tokens - prompt), 'token')} there: a smaller "
            f"--max-tokens, or leave "
            "long prompts out with --max-prompt-tokens",
        )


def _rotary(config: Any) -> Iterator[Mapping[str, Any]]:
    """The settings of rotary positions; some models have several, one per kind of layer."""
    for name in ("rope_parameters", "rope_scaling"):
        found = getattr(config, name, None)
        if isinstance(found, Mapping) and found:
            inner = [value for value in found.values() if isinstance(value, Mapping)]
            yield from inner or [found]


def _scaled_window(given: int, scaling: Mapping[str, Any]) -> int:
    """Positions after scaling, where the configuration states those before it."""
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor") or 1.0
    if kind == "yarn":
        return int((scaling.get("original_max_position_embeddings") or given) * factor)
    return int(given * factor) if kind == "linear" else given


def _switches_at(given: int, scaling: Mapping[str, Any]) -> int | None:
    """From how many tokens on the frequencies depend on the longest completion of a batch, None where they never do.

    Then those that stand beside a long one are read in another way than alone, and what was cached before does not fit
    what comes after.
    """
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "longrope":
        return int(scaling.get("original_max_position_embeddings") or given)
    return given if kind == "dynamic" else None

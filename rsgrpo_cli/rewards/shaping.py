"""What is added to a verdict's reward in training: a punishment of overlong completions, a bonus for the format.

The parts are weighted and added up, as TRL does with several reward functions; each is in the breakdown:

    reward = correctness + overlong + format

Everything downstream sees the sum. RS-GRPO's exp(beta r) acts on it, so that beta's unit is that of the sum: with a
punishment of 1 a completion that is wrong and too long has -1, and e^(2 beta) lies between it and a right one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rsgrpo_cli.rewards.extraction import extract
from rsgrpo_cli.rewards.types import Status, Verdict

CORRECTNESS, OVERLONG, FORMAT = "correctness", "overlong", "format"
"""The keys of the breakdown."""
_UNANSWERED = frozenset({Status.NO_BOX, Status.THINK_UNCLOSED, Status.TRUNCATED})
_NO_VERDICT = frozenset({Status.SCORED, Status.SKIPPED})


@dataclass(frozen=True, slots=True)
class Shaping:
    """How rewards are shaped.

    Args:
        max_tokens: The longest a completion could be when it was sampled.
        overlong_buffer: The last so many tokens before `max_tokens` are punished; 0 leaves the part out.
        format_weight: What an answer in the asked form earns, right or wrong; 0 leaves the part out.
    """

    max_tokens: int
    overlong_buffer: int = 0
    format_weight: float = 0.0

    @property
    def is_off(self) -> bool:
        """Whether rewards stay as the verifier gave them."""
        return not self.overlong_buffer and not self.format_weight

    def apply(self, verdict: Verdict, completion: str, tokens: int, in_thought: bool = False) -> Verdict:
        """The verdict with its parts added; one without a reward (None) stays without.

        Args:
            verdict: From the verifier or a user's function.
            completion: The text it is about.
            tokens: Its length.
            in_thought: Whether its prompt ends inside a thought, so that the text begins in it.
        """
        if self.is_off or verdict.reward is None:
            return verdict
        parts: dict[str, float] = {CORRECTNESS: verdict.reward}
        if self.overlong_buffer:
            limits = {"max_tokens": self.max_tokens, "buffer": self.overlong_buffer}
            parts[OVERLONG] = soft_overlong_punishment(tokens, **limits)
        if self.format_weight:
            parts[FORMAT] = self.format_weight * has_answer(verdict, completion, in_thought)
        return replace(verdict, reward=sum(parts.values()), breakdown=_together(parts, verdict.breakdown))


def soft_overlong_punishment(tokens: int, *, max_tokens: int, buffer: int) -> float:
    """DAPO's punishment by length: nothing, then linearly down to -1 over the last `buffer` tokens.

        0                                      tokens <= max_tokens - buffer
        (max_tokens - buffer - tokens)/buffer  tokens <= max_tokens
        -1                                     beyond

    A completion that was cut has `max_tokens` tokens, and so the full -1; one that ends there by itself, too. See
    equation 13 of "DAPO: An Open-Source LLM Reinforcement Learning System at Scale" by Yu et al.
    (https://arxiv.org/abs/2503.14476), `get_soft_overlong_punishment` in TRL, `overlong_buffer` in verl.

    Args:
        tokens: Length of the completion.
        max_tokens: The paper's L_max.
        buffer: The paper's L_cache, above 0.

    Returns:
        Between -1 and 0.
    """
    return -min(1.0, max(0, tokens - (max_tokens - buffer)) / buffer)


def has_answer(verdict: Verdict, completion: str, in_thought: bool = False) -> bool:
    """Whether the last box outside the thinking is closed and holds an answer, of whatever value."""
    if verdict.status in _NO_VERDICT:
        return extract(completion, in_thought=in_thought).answer is not None
    return verdict.status not in _UNANSWERED


def _together(parts: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    return {**parts, **{name: value for name, value in others.items() if name not in parts}}

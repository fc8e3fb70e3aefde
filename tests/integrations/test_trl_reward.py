"""The reward function for TRL, called as TRL calls it: what stands in a thought earns nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as Bytes
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.integrations.trl_reward import verified_reward

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% if not loop.last %}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|end|><|assistant|>{% if thinks %}<think>\n{% endif %}{% endif %}"
)
GOLD = "3 5 7 2 -> 24"
RIGHT, WRONG = r"\boxed{3*7+5-2}", r"\boxed{3+7+5+2}"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A letter a token, and the tags of Magistral's thoughts as special ones."""
    alphabet = sorted(ByteLevel.alphabet())
    made = Tokenizer(BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer, made.decoder = ByteLevel(add_prefix_space=False, use_regex=False), Bytes()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", pad_token="<|pad|>")
    fast.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    fast.chat_template = TEMPLATE
    return fast


def rewards(
    tokenizer: PreTrainedTokenizerFast, prompt: Any, *texts: str, gold: str = GOLD, **settings: Any
) -> list[float | None]:
    """As TRL asks: completions without their special tokens, and their ids."""
    ids = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in texts]
    said = [tokenizer.decode(each, skip_special_tokens=True) for each in ids]
    reward = verified_reward(tokenizer, workers=1, **settings)
    more = {"ground_truth": [gold] * len(ids), "trainer_state": None}
    return reward(prompts=[prompt] * len(ids), completions=said, completion_ids=ids, **more)


CHAT = [{"role": "user", "content": "Make 24 of 3 5 7 2."}]


@pytest.mark.parametrize("prompt", ["Make 24 of 3 5 7 2.", CHAT])
def test_a_box_in_a_thought_of_the_completion_earns_nothing(tokenizer: PreTrainedTokenizerFast, prompt: Any) -> None:
    assert rewards(
        tokenizer,
        prompt,
        f"so {RIGHT}",
        f"<think>perhaps {WRONG}</think> so {RIGHT}",
        f"<think>perhaps {RIGHT}</think> so it is",
        f"<think>perhaps {RIGHT}",
    ) == [1, 1, 0, 0]


def test_tags_that_are_special_tokens_are_seen(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = (f"[THINK]{WRONG}[/THINK]{RIGHT}", f"[THINK]{RIGHT}[/THINK]no", f"[THINK]{RIGHT}")
    assert rewards(tokenizer, CHAT, *texts) == [1, 0, 0]


def test_a_thought_that_the_prompt_opens(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = (f"perhaps {RIGHT}", f"perhaps {WRONG}</think>{RIGHT}", f"{RIGHT}</think>no")
    assert rewards(tokenizer, CHAT, *texts, chat_template_kwargs={"thinks": True}) == [0, 1, 0]
    assert rewards(tokenizer, "Make 24 of 3 5 7 2.<think>\n", *texts) == [0, 1, 0]
    begun = [*CHAT, {"role": "assistant", "content": "<think>Let me see"}]
    assert rewards(tokenizer, begun, *texts) == [0, 1, 0]
    assert rewards(tokenizer, CHAT, *texts) == [1, 1, 0]


def test_a_problem_that_speaks_of_thoughts_opens_none(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = [{"role": "user", "content": "Answer after <think> and make 24 of 3 5 7 2."}]
    assert rewards(tokenizer, chat, RIGHT) == [1]


def test_mathematics_is_graded_as_such(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = (r"\boxed{\frac{2}{4}}", r"<think>\boxed{0.5}", r"\boxed{2}")
    assert rewards(tokenizer, CHAT, *texts, gold="0.5") == [1, 0, 0]


def test_a_missing_column_is_named(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UsageError, match="no column 'solution'") as refused:
        rewards(tokenizer, CHAT, RIGHT, answer_column="solution")
    assert "ground_truth" in str(refused.value.hint)

"""Our verifier as a reward function of TRL: what `rsgrpo score` gives to the same completions.

    from rsgrpo_cli.integrations.trl_reward import verified_reward

    reward = verified_reward(tokenizer)
    trainer = RSGRPOTrainer(model, reward, config, train_dataset=prompts, processing_class=tokenizer)

A reward function of TRL gets neither the prompt as the model reads it nor the special tokens of a completion. Both
decide what is a thought, in which no box earns a reward: a chat template may open one, and to some models its tags are
special tokens. So this one has the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.modeling.prompt_tokens import decode_tokens
from rsgrpo_cli.modeling.special_tokens import stop_ids
from rsgrpo_cli.rewards.registry import open_reward, task_of
from rsgrpo_cli.rewards.thinking import last_content, opens_thought
from rsgrpo_cli.rewards.types import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_WORKERS = 2
DEFAULT_TIMEOUT = 10.0

Chat = Sequence[Mapping[str, Any]]


class TrlReward(Protocol):
    """A reward function as TRL calls it."""

    __name__: str

    def __call__(
        self, *, prompts: Sequence[str | Chat], completion_ids: Sequence[Sequence[int]], **columns: Any
    ) -> list[float | None]:
        """One reward a completion."""
        ...


def verified_reward(
    tokenizer: PreTrainedTokenizerBase,
    *,
    answer_column: str = "ground_truth",
    chat_template_kwargs: Mapping[str, Any] | None = None,
    workers: int = DEFAULT_WORKERS,
    timeout: float = DEFAULT_TIMEOUT,
) -> TrlReward:
    """A reward function for `GRPOTrainer`: 1 for a right answer outside the thinking, else 0.

    The reference answer says whether it is one of mathematics or of a countdown puzzle.

    Args:
        tokenizer: What the trainer has as its `processing_class`.
        answer_column: The data set's column with the reference answers.
        chat_template_kwargs: The same as in the trainer's configuration.
        workers: Verifier processes; they start when they are first needed and end with this process.
        timeout: Seconds that one verification may take.

    Raises:
        UsageError: If the verifier cannot be loaded or a setting is not positive; when it is called, if the data set
            has no such column.
    """
    text_of = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor for images, the tokenizer in it
    verify, ends = open_reward("auto", workers=workers, deadline=timeout), stop_ids(text_of, None)
    options = dict(chat_template_kwargs or {})

    def rsgrpo(
        *, prompts: Sequence[str | Chat], completion_ids: Sequence[Sequence[int]], **columns: Any
    ) -> list[float | None]:
        if answer_column not in columns:
            have = ", ".join(name for name, column in columns.items() if isinstance(column, list))
            hint = f"give verified_reward the answer_column; the data set has {have or 'no other columns'}"
            raise UsageError(f"the data set has no column {answer_column!r}", hint)
        thoughts = _in_thought(text_of, prompts, options)
        samples = [
            Sample(decode_tokens(text_of, ends, ids), gold, columns={"task": task_of(gold)}, in_thought=in_thought)
            for ids, gold, in_thought in zip(completion_ids, columns[answer_column], thoughts, strict=True)
        ]
        return [verdict.reward for verdict in verify(samples)]

    return rsgrpo


def _in_thought(
    tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str | Chat], options: Mapping[str, Any]
) -> list[bool]:
    """Whether each prompt ends inside a thought. Those of a group are the same and stand together."""
    found: list[bool] = []
    for number, prompt in enumerate(prompts):
        if number and prompt == prompts[number - 1]:
            found.append(found[-1])
        elif isinstance(prompt, str):
            found.append(opens_thought(prompt, None))
        else:
            found.append(opens_thought(_as_read(tokenizer, prompt, options), _text(last_content(prompt))))
    return found


def _as_read(tokenizer: PreTrainedTokenizerBase, chat: Chat, options: Mapping[str, Any]) -> str:
    """A chat as TRL makes a prompt of it: an answer that it ends with is gone on with."""
    goes_on = chat[-1]["role"] == "assistant"
    how = {"add_generation_prompt": not goes_on, "continue_final_message": goes_on, "tokenize": False}
    return str(tokenizer.apply_chat_template([dict(message) for message in chat], **how, **options))


def _text(content: Any) -> str | None:
    """The text of a message, which may be in parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    return None if content is None else str(content)

"""Prompts exactly as the model reads them, for `prepare --show`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rsgrpo_cli.pipeline.prompt_checks import encoder
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.wording import counted


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """A prompt as tokens, and what they say.

    Args:
        prompt_id: Which one.
        ground_truth: Its reference answer.
        token_ids: What the model reads.
        text: The same as text, control tokens included.
    """

    prompt_id: str
    ground_truth: str
    token_ids: list[int]
    text: str

    def as_json(self, *, token_ids: bool) -> dict[str, Any]:
        """For `--json`, with the token ids if they were asked for."""
        found = asdict(self) | {"tokens": len(self.token_ids)}
        return found if token_ids else {name: value for name, value in found.items() if name != "token_ids"}

    def lines(self, *, token_ids: bool) -> list[str]:
        """For people. The text stands between two lines, so that a line break at its end can be seen."""
        ids = [f"token ids: {' '.join(map(str, self.token_ids))}"] if token_ids else []
        head = f"--- {self.prompt_id}: {counted(len(self.token_ids), 'token')}, reference answer {self.ground_truth}"
        return [f"{line}\n" for line in (head, self.text, "--- the completion begins here", *ids)]


def shown_prompts(session: Session, count: int) -> list[ShownPrompt]:
    """The first training prompts of a run, as the engines encode them.

    Raises:
        MissingError: If there are none, or the model's tokenizer is not there.
    """
    encode, tokenizer = encoder(session), session.tokenizer
    found = []
    for row in session.prompts.slice(0, count).select(["prompt_id", "ground_truth", "messages"]).to_pylist():
        ids = encode(row["messages"])
        text = str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        found.append(ShownPrompt(row["prompt_id"], row["ground_truth"], ids, text))
    return found

"""The tokens of a run as text, from the tokenizer file of a checkpoint: no model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rsgrpo_cli.bundled import bundled_model
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Step


class Vocabulary:
    """The pieces of text that a page names by number.

    Args:
        run: The run.
        steps: Steps whose tokens are going to be shown; the first says which engine made them.
    """

    def __init__(self, run: RunDir, steps: Sequence[int]) -> None:
        self.pieces: list[str] = []
        self._numbers: dict[int, int] = {}
        engine = Step(run, steps[0]).sampled.config.get("engine") if steps else None
        self._bytes = engine == "dummy"  # its tokens are the bytes of the text
        self._tokenizer = None if self._bytes else _tokenizer(run)

    @property
    def is_known(self) -> bool:
        """Whether the pieces are text; otherwise they are the numbers of the tokens."""
        return self._bytes or self._tokenizer is not None

    def numbers(self, ids: Sequence[int]) -> list[int]:
        """The numbers of tokens in `pieces`."""
        for token in ids:
            if token not in self._numbers:
                self._numbers[token] = len(self.pieces)
                self.pieces.append(self._piece(token))
        return [self._numbers[token] for token in ids]

    def _piece(self, token: int) -> str:
        if self._bytes:
            return chr(token) if token < 128 else f"\\x{token:02x}"
        if self._tokenizer is None:
            return f"{token} "
        text: str = self._tokenizer.decode([token], skip_special_tokens=False)
        return text or f"[{token}]"


def _tokenizer(run: RunDir) -> Any:
    """The tokenizer of the run's newest checkpoint, or of its base model where that is a directory here."""
    path = next((path for path in _files(run) if path.is_file()), None)
    if path is None:
        return None
    from tokenizers import Tokenizer  # a package of transformers; it loads in milliseconds

    try:
        return Tokenizer.from_file(str(path))
    except Exception:  # tokenizers raises nothing more precise; the page then shows numbers, and says so
        return None


def _files(run: RunDir) -> Iterator[Path]:
    name = run.config().model.name
    folders = [run.checkpoint(version) for version in reversed(run.versions())]
    folders.append(bundled_model(name) or Path(name))
    yield from (folder / "tokenizer.json" for folder in folders)

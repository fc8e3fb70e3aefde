"""What is wrong with a directory that is to hold a model, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from rsgrpo_cli.bundled import BUNDLED_MODELS
from rsgrpo_cli.errors import MissingError, first_line
from rsgrpo_cli.git_lfs import is_pointer

_BUNDLED = " or ".join(map(repr, BUNDLED_MODELS))
GIVE = f"give a directory that save_pretrained() wrote, a Hugging Face id (owner/name), or {_BUNDLED}"
MERGE = "merge it with its base model first: AutoPeftModelForCausalLM, merge_and_unload(), save_pretrained()"


def cannot_load(what: str, directory: Path, error: Exception) -> MissingError:
    """That transformers could not load something from a directory, and why."""
    if pointer := next(filter(is_pointer, sorted(directory.glob("*"))), None):
        return MissingError(f"cannot load {what}: {pointer} is a pointer of Git LFS", f"git -C {directory} lfs pull")
    reason, hint = explained(error)
    return MissingError(f"cannot load {what} from {directory}: {reason}", hint)


def explained(error: Exception) -> tuple[str, str]:
    """What transformers means by an error about a model's files, and what to do about it."""
    text, reason = str(error), first_line(error)
    if "trust_remote_code" in text or "custom code" in text:
        return "it brings code of its own", "rsgrpo runs no code from a model: choose one that transformers has"
    return f"there is no {reason} in its files" if isinstance(error, KeyError) else reason, GIVE

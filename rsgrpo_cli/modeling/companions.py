"""What a model directory has besides weights and config: tokenizer, chat template, sampling defaults, licence.

They are read once, when the model is loaded, and kept in memory: a checkpoint must not depend on the directory that
the model came from, which may be an older checkpoint that is pruned, or a cache that moves while the run is at work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

Companions = Mapping[str, bytes]
"""Relative path -> content."""

COMPANION_FILES = (
    "tokenizer.json",
    "tokenizer.*.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "vocab.bpe",
    "merges.txt",
    "tekken.json",
    "*.model",  # SentencePiece
    "*.tiktoken",
    "chat_template.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "processor_config.json",
    "*preprocessor_config.json",
)
"""An allow-list: whatever else lies there (weights in another format, above all) would be the base model's."""
LEGAL_FILES = tuple(
    "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in name) + "*"
    for name in ("license", "licence", "notice", "copying", "use_policy")
)
"""In whatever case; the Hub's patterns tell upper from lower case."""


def read_companions(directory: Path, vocabulary_files: Iterable[str] = ()) -> Companions:
    """The companions of a model.

    Args:
        directory: A model directory or a checkpoint.
        vocabulary_files: Names of the files that its tokenizer is made from, where they are unusual.
    """
    own = set(vocabulary_files)
    paths = sorted([*directory.glob("*"), *directory.glob("additional_chat_templates/*")])
    names = {path.relative_to(directory).as_posix(): path for path in paths if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if _is_companion(name, own)}


def write_companions(companions: Companions, directory: Path) -> None:
    """Put them into a checkpoint; existing files are overwritten, because the model's own bytes count."""
    for name, content in companions.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def _is_companion(name: str, vocabulary_files: Collection[str]) -> bool:
    legal = "/" not in name and any(fnmatchcase(name, pattern) for pattern in LEGAL_FILES)
    # A star in a pattern matches a slash too.
    listed = any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in COMPANION_FILES)
    return legal or listed or name in vocabulary_files

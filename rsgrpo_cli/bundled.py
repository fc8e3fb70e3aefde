"""Where the bundled model and problems are."""

from __future__ import annotations

from pathlib import Path

BUNDLED_MODELS = {"toy": "model", "toy-hard": "hard"}
"""The folder of each bundled model: that for puzzles of four numbers, and that for five."""


def pins() -> Path:
    """The file of versions that work together: in the package when installed, at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "data" / "constraints.txt"
    return installed if installed.is_file() else package.parent / "constraints.txt"


def bundled_data() -> Path:
    """The folder of the bundled model and problems: in the package when installed, at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "data" / "toy"
    return installed if installed.is_dir() else package.parent / "data" / "toy"


def bundled_model(name: str) -> Path | None:
    """The folder of a bundled model, None where no such model is bundled."""
    return bundled_data() / BUNDLED_MODELS[name] if name in BUNDLED_MODELS else None

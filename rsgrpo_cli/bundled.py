"""Where the bundled model and problems are."""

from __future__ import annotations

from pathlib import Path


def bundled_data() -> Path:
    """The folder of the bundled model and problems: in the package when installed, at the top of a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "data" / "toy"
    return installed if installed.is_dir() else package.parent / "data" / "toy"

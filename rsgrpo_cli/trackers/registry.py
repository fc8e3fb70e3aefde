"""The trackers by name, and the packages they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from rsgrpo_cli.errors import DependencyError

PACKAGES: Mapping[str, str | None] = {
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "mlflow": "mlflow",
    "csv": None,
}
"""Name -> the package that is imported for it, which is also what pip calls it."""


def require(names: Iterable[str]) -> None:
    """Make sure that the packages of some trackers are installed, without importing them.

    Raises:
        DependencyError: If one is not.
    """
    for name in names:
        package = PACKAGES[name]
        if package is not None and find_spec(package) is None:
            raise DependencyError(f"the tracker {name} needs the package {package}", f"pip install {package}")

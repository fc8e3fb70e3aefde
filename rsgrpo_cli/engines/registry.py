"""Which engines there are, imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.errors import UsageError

if TYPE_CHECKING:
    from rsgrpo_cli.engines.types import Engine

ENGINES = {
    "hf": "rsgrpo_cli.engines.hf:HfEngine",
    "dummy": "rsgrpo_cli.engines.dummy:DummyEngine",
}


def choose_engine(name: str) -> str:
    """What "auto" means here."""
    return "hf" if name == "auto" else name


def open_engine(name: str, *arguments: Any) -> Engine:
    """Import and make an engine.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}", f"choose one of: {', '.join(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)(*arguments)
    return engine

"""rsgrpo: fine-tune a language model with Risk-Sensitive GRPO and measure what that does to pass@k.

from rsgrpo_cli import open_run

open_run("runs/mine").rewards(step=3)  # a pyarrow.Table
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["__version__", "open_run"]

if TYPE_CHECKING:
    from rsgrpo_cli.api import open_run


def __getattr__(name: str) -> object:
    """Import what reads tables only when it is asked for: `rsgrpo --help` comes through here too."""
    if name == "open_run":
        from rsgrpo_cli.api import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

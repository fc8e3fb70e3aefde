"""Figures, drawn with matplotlib (the extra `report`)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from rsgrpo_cli.disk import write_atomically
from rsgrpo_cli.errors import DependencyError, UsageError

# Okabe and Ito's colours, which readers with any colour vision can tell apart; the base model is grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASE_COLOUR = "#777777"


def pyplot() -> Any:
    """matplotlib.pyplot, set to draw into files.

    Raises:
        DependencyError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise DependencyError("figures need matplotlib", "pip install 'rsgrpo[report]'") from error
    matplotlib.use("agg")
    # No date and no random ids in the file: equal data give equal bytes.
    matplotlib.rcParams.update({"svg.hashsalt": "rsgrpo", "svg.fonttype": "path"})
    import matplotlib.pyplot as plt

    return plt


def check_drawable(path: Path) -> None:
    """Refuse a file of a kind that cannot be drawn into, before any work is done for it.

    Raises:
        UsageError: If it is neither .svg, .png nor .pdf.
    """
    if path.suffix not in (".svg", ".png", ".pdf"):
        raise UsageError(f"cannot draw into {path}", "give a file that ends in .svg, .png or .pdf")


def save(figure: Any, path: Path) -> None:
    """Write a figure, with nothing in the file that would differ the next time."""
    _take_literally(figure)
    drawn = BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=160, metadata=_UNDATED.get(path.suffix, {}))
    write_atomically(path, lambda file: file.write(drawn.getbuffer()))


def _take_literally(figure: Any) -> None:
    """Draw every dollar sign as one, which a label may have: only the ticks of logarithmic axes are formulas."""
    from matplotlib.text import Text

    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis) if axis.get_scale() != "linear"]
    ticks = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)


_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

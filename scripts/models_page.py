"""Fills in the tables of docs/models.md: `python scripts/models_page.py`, a few minutes; --check only compares them.

Each architecture that transformers has is built tiny, with random weights, and all ways to compute a completion are
compared (tests/agreement.py). With names of architectures it only prints their rows.
tests/policy/test_every_architecture.py holds the page to it.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from page_writer import DOCS, fill, finish, table

from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.modeling.architectures import require_supported
from rsgrpo_cli.models import quiet
from tests.agreement import agreement
from tests.tiny_models import VARIANTS, every_kind, write_tiny

PAGE = DOCS / "models.md"
HEAD = "| architecture | hf engine | update | layers recomputed | adapter, checkpoint, export |\n|---|---|---|---|---|"


def refusal(kind: str) -> str | None:
    """Why a kind of model is refused before it is loaded, None where it is not."""
    try:
        require_supported(SimpleNamespace(model_type=kind, is_encoder_decoder=False))
    except RsgrpoError as error:
        return error.message.partition(": ")[2]
    return None


def row(name: str) -> str:
    """One architecture's, or one odd model's, line of the table, by trying it.

    Raises:
        AssertionError: If something differs.
    """
    kind, settings = VARIANTS.get(name, (name, {}))
    with tempfile.TemporaryDirectory() as folder, quiet():
        found = agreement(write_tiny(kind, Path(folder) / "model", **settings), Path(folder))
    assert not found.wrong, (name, found.wrong)
    sampled = "right" if found.together else "right, one length of prompts at a time"
    read = "right, prompts read once" if found.shared else "right"
    return f"| {name} | {sampled} | {read} | {'right' if found.recomputed else 'not in transformers'} | right |"


def refused_rows() -> str:
    """The table of what is refused, and why."""
    reasons: dict[str, list[str]] = {}
    for kind in every_kind():
        if reason := refusal(kind):
            reasons.setdefault(reason, []).append(kind)
    return table(("architecture", "refused, because"), [(", ".join(kinds), why) for why, kinds in reasons.items()])


def page() -> str:
    """The whole page, with every architecture tried again."""
    tried = [kind for kind in every_kind() if refusal(kind) is None]
    text = fill(PAGE.read_text(encoding="utf-8"), "tried", "\n".join([HEAD, *map(row, [*tried, *VARIANTS]), ""]))
    text = fill(text, "refused", refused_rows())
    return re.sub(r"(\*\*)\d+ of the \d+(\*\*)", rf"\g<1>{len(tried)} of the {len(every_kind())}\g<2>", text)


def main() -> None:
    """Print some rows, or write the page, or say that it is out of date."""
    warnings.filterwarnings("ignore")
    if names := [word for word in sys.argv[1:] if not word.startswith("-")]:
        print("\n".join(row(name) for name in names))
    else:
        finish(__doc__, lambda: {PAGE: page()})


if __name__ == "__main__":
    main()

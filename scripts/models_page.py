"""Fills in the tables of docs/models.md: `python scripts/models_page.py`, a few minutes; NAMES prints only these rows.

Each architecture that transformers has is built tiny, with random weights, and all ways to compute a completion are
compared (tests/agreement.py). tests/policy/test_every_architecture.py holds the page to it.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.modeling.architectures import require_supported
from rsgrpo_cli.models import quiet
from tests.agreement import agreement
from tests.tiny_models import VARIANTS, every_kind, write_tiny

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
HEAD = "| architecture | hf engine | update | layers recomputed | adapter, checkpoint, export |\n|---|---|---|---|---|"
REFUSED_HEAD = "| architecture | refused, because |\n|---|---|"


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
    return "\n".join([REFUSED_HEAD, *(f"| {', '.join(kinds)} | {reason} |" for reason, kinds in reasons.items())])


def between(page: str, name: str) -> str:
    """What stands between two marks of the page."""
    return page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- end of {name} -->")[0]


def put(page: str, name: str, text: str) -> str:
    """The page with something else there."""
    marks = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
    return marks.sub(lambda found: found[1] + text + found[2], page)


def main() -> None:
    """Print some rows, or fill in the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAMES", help="print these rows; by default the page is written")
    names = parser.parse_args().names
    warnings.filterwarnings("ignore")
    if names:
        print("\n".join(row(name) for name in names))
        return
    tried = [kind for kind in every_kind() if refusal(kind) is None]
    page = PAGE.read_text(encoding="utf-8")
    page = put(page, "tried", "\n".join([HEAD, *map(row, [*tried, *VARIANTS])]))
    page = put(page, "refused", refused_rows())
    page = re.sub(r"(\*\*)\d+ of the \d+(\*\*)", rf"\g<1>{len(tried)} of the {len(every_kind())}\g<2>", page)
    PAGE.write_text(page, encoding="utf-8")
    print(f"{len(tried)} of {len(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)} architectures")


if __name__ == "__main__":
    main()

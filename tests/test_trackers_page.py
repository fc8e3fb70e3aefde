"""docs/trackers.md: what it says of packages and names is so (its commands: integration/test_page_commands.py)."""

import re
from pathlib import Path

import pytest

from rsgrpo_cli.schemas import METRICS
from rsgrpo_cli.trackers.registry import PACKAGES

PAGE = (Path(__file__).parents[1] / "docs" / "trackers.md").read_text()


@pytest.mark.parametrize("name", PACKAGES)
def test_it_says_how_to_install_each_tracker(name: str) -> None:
    package = PACKAGES[name]
    assert re.search(rf"^\| `{name}` \| {f'`pip install {package}`' if package else ''} ?\|", PAGE, re.MULTILINE)


def test_the_names_on_it_are_real() -> None:
    names = set(re.findall(r"`train/([\w@]+)`", PAGE))
    assert names
    assert names <= set(METRICS.schema.names)

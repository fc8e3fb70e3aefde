"""Every command line on every page is run by a test, or says why it cannot be run here.

The pages' own commands are run in order by tests/integration/test_page_commands.py (`make test-day`). A comment on the
line above a block says where it is different:

    <!-- not run: KIND -->        one of KINDS
    <!-- run by: tests/... -->    a test of its own, which reads the page
"""

import re
from pathlib import Path

import pytest
from console_blocks import SHELL, Block, blocks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
KINDS = {
    "gpu": "needs a GPU and a model from the Hub",
    "hub": "needs the Hub, or an account there",
    "cluster": "needs a scheduler or a container engine",
    "install": "installs packages",
    "ci": "is what runs these tests, or takes hours",
    "trainer": "needs another trainer's environment, which tests of its own have",
}
"""Why a command cannot be run here. Few, so that each is a real reason."""
PROGRAMS = re.compile(r"^(?:\$ )?(?:rsgrpo|pip|python|make|hf|sbatch|sh) [a-z./-]", re.MULTILINE)


def with_commands(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in SHELL]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in with_commands(page):
        how, _, what = block.note.partition(": ")
        if how == "not run":
            assert what in KINDS
        elif how == "run by":
            assert page.name in (ROOT / what).read_text(encoding="utf-8")
        elif not block.file and page.name != "examples.md":
            assert block.commands, f"no line begins with '$ ':\n{block.text}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_command_hides_in_another_kind_of_block(page: Path) -> None:
    for block in blocks(page):
        if page.name not in ("cli.md", "examples.md") and block.language not in (*SHELL, "python"):
            assert not PROGRAMS.search(block.text), block.text


def test_reasons_are_rare() -> None:
    notes = [block.note for page in PAGES for block in with_commands(page)]
    assert len(notes) > 70
    assert sum(note.startswith("not run") for note in notes) < 0.2 * len(notes)


def test_a_block_is_taken_apart() -> None:
    block = Block("console", "$ rsgrpo ls \\\n    --sort x  # why\nshown\n$ python one.py\n", "")
    assert block.commands == ["rsgrpo ls      --sort x", "python one.py"]
    assert Block("toml", "# a.toml\nx = 1\n", "").file == "a.toml"
    assert Block("console", "# a.toml\n", "").file is None

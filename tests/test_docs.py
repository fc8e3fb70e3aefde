"""What is written about the tool is held to what it does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from rsgrpo_cli.app import COMMANDS
from rsgrpo_cli.config import VARIANTS, reference
from tests.conftest import Cli

ROOT = Path(__file__).parents[1]
INHERITED = {
    "engines": ("encode", "decode", "generate", "load", "sleep", "close"),
    "trackers": ("step", "evaluation", "close"),
}


@pytest.mark.parametrize("script", ["cli_reference.py", "settings_page.py", "reference_pages.py"])
def test_the_generated_pages_are_up_to_date(script: str) -> None:
    check = [sys.executable, str(ROOT / "scripts" / script), "--check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, _, example in COMMANDS])
def test_help_ends_with_an_example(cli: Cli, name: str, example: str) -> None:
    result = cli(name, "--help")
    assert result.code == 0
    flat = " ".join(result.out.split())
    assert flat.endswith(f"Example: {example}")
    assert example.split()[:2] == ["rsgrpo", name]


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_the_readme_names_every_command(name: str) -> None:
    assert f"`{name}`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("section", ["seed", *reference.sections()])
def test_every_setting_says_what_it_does(section: str) -> None:
    for name, setting in reference.settings(section).items():
        assert setting.help.endswith("."), f"{name} has no docstring"


def test_every_estimators_settings_say_what_they_do() -> None:
    for estimator in VARIANTS:
        for setting in reference.estimator_settings(estimator):
            assert setting.help, f"{setting.name} of {estimator} has no docstring"


def test_the_configuration_stays_small() -> None:
    fields = {name for section in reference.sections() for name in reference.settings(section)}
    of_estimators = {setting.name for estimator in VARIANTS for setting in reference.estimator_settings(estimator)}
    assert len(fields) <= 76  # a tracker changes no result, but has to be kept for when the run goes on
    assert len(fields | of_estimators) <= 85


def test_public_functions_say_what_they_do() -> None:
    for path in (ROOT / "rsgrpo_cli").rglob("*.py"):
        module = ast.parse(path.read_text())
        classes = [node for node in module.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
        methods = [node for item in classes for node in item.body]
        for node in [*module.body, *methods]:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                # An engine's and a tracker's methods are documented once, in the protocol.
                inherited = node.name in INHERITED.get(path.parent.name, ())
                assert inherited or ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


def test_nothing_here_is_about_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".sh", ".toml", ".txt", ".json") and path.is_file():
            text = path.read_text(encoding="utf-8")
            assert "/wo" + "rk/" not in text, name
            assert "/ro" + "ot/" not in text, name

"""What is run by its path, scripts and benchmarks: asked for its usage, it prints that and does nothing else."""

import ast
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = [
    path
    for folder in ("scripts", "benchmarks", "benchmarks/grading")
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]
NEEDS = {"train_step_vs_trl": "trl", "cluster_simulation": "simpy", "scaling_page": "simpy"}


def _marked(path: Path) -> object:
    marks = [pytest.mark.trl] if NEEDS.get(path.stem) == "trl" else []
    return pytest.param(path, id=path.stem, marks=marks)


@pytest.mark.parametrize("path", [_marked(path) for path in RUN])
def test_help_is_printed_and_nothing_done(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if path.stem in NEEDS and find_spec(NEEDS[path.stem]) is None:
        pytest.skip(f"needs {NEEDS[path.stem]}")
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert stop.value.code == 0
    assert printed.startswith(f"usage: {path.name} ")
    about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert " ".join(about.split()[:6]) in " ".join(printed.split())


def test_all_of_them_are_found() -> None:
    assert {"settings_page", "study", "toy_run", "hostile"} <= {path.stem for path in RUN}

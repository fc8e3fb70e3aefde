"""Imports go one way, and what is heavy is imported late."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rsgrpo_cli"

LAYERS = {
    # What knows of nothing else here, or of errors alone.
    "errors": "",
    "wording": "",
    "activity": "",
    "bundled": "",
    "float64": "",
    "folding": "",
    "git_lfs": "",
    "part_names": "",
    "schemas": "",
    "schema_notes": "",
    "seeding": "",
    "user_code": "",
    "core": "",
    "config": "errors",
    "probe": "errors",
    "disk": "errors",
    "footers": "errors",
    "health": "wording",
    # Tables, problems, rewards, models.
    "artifacts": "disk errors footers schemas",
    "tasks": "bundled config errors git_lfs schemas wording",
    "workers": "activity errors wording",
    "user_function": "errors wording workers",
    "rewards": "errors user_code user_function wording workers",
    "estimators": "errors user_code user_function wording workers",
    "modeling": "bundled errors git_lfs schemas wording",
    "models": "bundled config errors float64 modeling",
    "engines": "activity config errors modeling models probe seeding wording workers",
    "policy": "activity config core errors modeling models probe seeding",
    # Stages know no paths; a run on disk knows no stages; the pipeline joins the two.
    "stages": "config core engines errors part_names policy rewards schemas seeding tasks wording",
    "run": "artifacts bundled config disk errors footers part_names schemas tasks wording",
    "pipeline": "activity artifacts bundled config console core disk engines errors estimators health modeling models"
    " policy probe rewards run schemas stages tasks wording workers",
    "planning": "activity bundled config console engines errors modeling models policy stages tasks wording",
    # What reads runs and changes none, but for sweeps.
    "api": "artifacts config errors run schemas tasks",
    "report": "activity artifacts bundled config console core disk errors health rewards run schemas tasks wording",
    "trackers": "activity artifacts config disk errors run schemas wording",
    "studies": "artifacts config console core disk errors pipeline report run schemas tasks wording",
    "experiments": "core",
    "integrations": "core errors modeling rewards wording",
    # The command line.
    "console": "errors folding",
    "helping": "console folding",
    "commands": "activity artifacts config console disk errors experiments health helping models pipeline planning"
    " report run schemas studies trackers wording",
    "refusing": "config errors",
    "app": "console disk errors helping refusing wording",
}
"""Each part of the package, and the others that it imports: all of these and no more."""


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))


def part_of(module: str) -> str:
    """ "rsgrpo_cli.core.risk" -> "core"."""
    return module.split(".")[1] if "." in module else "__init__"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    ours = {part_of(name) for name in imported(path) if name.startswith("rsgrpo_cli.")}
    allowed = {own, "__version__", *LAYERS[own].split()}
    assert ours <= allowed, f"{own} may not import {ours - allowed}"


def test_no_part_is_allowed_what_it_does_not_need() -> None:
    used: dict[str, set[str]] = {}
    for path in modules():
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        used.setdefault(own, set()).update(part_of(name) for name in imported(path) if name.startswith("rsgrpo_cli."))
    assert {own: set(allowed.split()) - used[own] for own, allowed in LAYERS.items()} == {own: set() for own in used}


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_no_stage_imports_another(path: Path) -> None:
    others = {name for name in imported(path) if name.startswith("rsgrpo_cli.stages.")}
    assert {name.split(".")[2] for name in others} <= {path.stem}


def test_no_modules_import_each_other() -> None:
    # Also within functions and for type checking: of two modules in a circle, neither can be read without the other.
    by_name = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}
    TopologicalSorter({name: imported(path) & set(by_name) for name, path in by_name.items()}).prepare()


def test_core_is_numpy_only() -> None:
    for path in (PACKAGE / "core").glob("*.py"):
        foreign = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"rsgrpo_cli"}
        assert foreign <= ({"torch"} if path.stem == "losses" else {"numpy"}), path


def test_nobody_imports_click() -> None:
    # Typer brings its own since 0.26; another one's exceptions would pass through it unseen.
    assert not [path for path in modules() if any(name.split(".")[0] == "click" for name in imported(path))]


def loaded_by(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(' '.join(name for name in sys.modules if '.' not in name))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("import rsgrpo_cli.app")
    assert not loaded & {"torch", "transformers", "pydantic", "pyarrow", "numpy", "matplotlib", "math_verify", "sympy"}


@pytest.mark.parametrize(
    "module",
    [
        "pipeline.steps",
        "pipeline.training",
        "pipeline.evaluation",
        "pipeline.whatif",
        "report.evaluations",
        "report.html.collect",
    ],
)
def test_scoring_comparing_and_reporting_do_without_torch(module: str) -> None:
    assert not loaded_by(f"import rsgrpo_cli.{module}") & {"torch", "transformers", "vllm"}

"""Imports go one way, and what is heavy is imported late."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rsgrpo_cli"

# Each part of the package and what it may import of the others.
ABOUT_MODELS = {
    "architectures",
    "models",
    "model_errors",
    "companions",
    "prompt_tokens",
    "special_tokens",
    "context_window",
    "cuda",
    "full_gpu",
}
BELOW = {
    *ABOUT_MODELS,
    "activity",
    "git_lfs",
    "part_names",
    "bundled",
    "schemas",
    "config",
    "seeding",
    "probe",
    "errors",
    "wording",
}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "wording": set(),
    "activity": set(),
    "health": {"wording"},
    "seeding": set(),
    "float64": set(),
    "probe": {"errors"},
    "schemas": set(),
    "schema_notes": set(),
    "config": {"errors"},
    "architectures": {"errors"},
    "companions": set(),
    "bundled": set(),
    "folding": set(),
    "helping": {"console", "folding"},
    "console": {"errors", "folding"},
    "core": set(),
    "tasks": BELOW - ABOUT_MODELS,
    "prompt_tokens": {"errors", "schemas"},
    "special_tokens": {"errors"},
    "context_window": {"errors", "models", "wording"},
    "cuda": set(),
    "full_gpu": {"errors"},
    "git_lfs": set(),
    "part_names": set(),
    "model_errors": {"errors", "bundled", "git_lfs"},
    "models": {
        *(
            "model_errors",
            "cuda",
            "full_gpu",
            "errors",
            "architectures",
            "config",
            "bundled",
            "companions",
            "float64",
            "prompt_tokens",
            "special_tokens",
        )
    },
    "workers": {"activity", "errors", "wording"},
    "user_code": set(),
    "user_function": {"errors", "wording", "workers"},
    "rewards": BELOW - ABOUT_MODELS | {"workers", "user_code", "user_function"},
    "estimators": {"errors", "wording", "workers", "user_code", "user_function"},
    "engines": BELOW,
    "policy": BELOW | {"core"},
    "stages": BELOW | {"core", "tasks", "rewards", "engines", "policy"},
    "planning": BELOW | {"console", "tasks", "engines", "policy", "stages"},
    "disk": {"errors"},
    "footers": {"errors"},
    "artifacts": {"errors", "schemas", "disk", "footers"},
    "manifests": {"errors", "artifacts", "disk"},
    "locks": {"errors", "disk"},
    "events": {"disk"},
    "config_file": {"errors", "artifacts", "config"},
    "run_names": {"config", "config_file", "disk", "errors", "locks"},
    "run_dir": {"errors", "schemas", "artifacts", "config", "disk", "locks", "events", "run_names"} | {"config_file"},
    "checkpoint_checks": {"errors", "schemas", "artifacts", "manifests", "run_dir"},
    "identity": {"errors", "artifacts"},
    "run_commands": {"errors", "part_names", "schemas", "artifacts", "config", "run_dir", "tasks"},
    "step_dir": {"errors", "wording", "schemas", "artifacts", "run_dir", "run_commands"},
    "staleness": {
        "errors",
        "part_names",
        "run_commands",
        "schemas",
        "artifacts",
        "footers",
        "run_dir",
        "identity",
        "step_dir",
    },
    "policies": {"errors", "run_dir", "step_dir", "staleness"},
    "departures": {"errors", "artifacts", "config", "run_dir", "step_dir"},
    "checked_steps": {"errors", "schemas", "artifacts", "run_dir", "step_dir", "staleness", "departures"},
    "pipeline": BELOW
    | {"core", "tasks", "rewards", "estimators", "engines", "policy", "stages"}
    | {"artifacts", "run_dir", "console", "disk", "manifests", "checkpoint_checks", "config_file", "locks"}
    | {"identity", "staleness", "step_dir", "run_commands", "policies", "checked_steps", "departures", "health"},
    "api": {"errors", "tasks", "schemas", "config", "artifacts", "run_dir", "staleness", "step_dir", "run_commands"},
    "report": {
        "errors",
        "wording",
        "schemas",
        "config",
        "bundled",
        "core",
        "tasks",
        "artifacts",
        "run_dir",
        "console",
        "staleness",
        "departures",
    }
    | {"step_dir", "run_commands", "policies", "checked_steps", "rewards", "activity", "health", "events", "locks"},
    "trackers": {
        "wording",
        "errors",
        "schemas",
        "config",
        "activity",
        "disk",
        "artifacts",
        "run_dir",
        "run_commands",
        "staleness",
    },
    "experiments": {"core"},
    "integrations": {"core", "rewards", "errors", "wording", "prompt_tokens", "special_tokens"},
    "studies": BELOW
    | {"tasks", "core", "pipeline", "report", "run_dir", "artifacts", "staleness", "console", "locks", "disk"}
    | {"run_commands"},
    "commands": BELOW
    | {"pipeline", "planning", "report", "studies", "run_dir", "console", "experiments", "artifacts", "staleness"}
    | {"step_dir", "run_commands", "disk", "locks", "events", "trackers"},
    "app": {"commands", "console", "errors", "helping", "wording"},
}


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
    assert ours - {own, "__version__"} <= ALLOWED[own], f"{own} may not import {ours - {own} - ALLOWED[own]}"


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

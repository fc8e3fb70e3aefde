"""What lies where in a run directory: the one table that removing, counting and verifying read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath

from rsgrpo_cli.disk import PARTIAL, is_temporary
from rsgrpo_cli.run.locks import LOCKS

FOLDERS = ("benchmarks", "checkpoints", "evals", "exports", "steps", "trackers")
"""The folders of a run; what lies in another is not rsgrpo's."""
OTHER, UNFINISHED = "other", "unfinished"
_NUMBER = r"[0-9]{6,9}"
_BUILT_IN = ("", "checkpoints/", "exports/")
_FILES = (
    *("config.json", ".config.json.tmp", "identity.json", "metrics.parquet", "solved.parquet", "checked.parquet"),
    *("events.jsonl", "run.log", "vllm.log", "ranks.log", *LOCKS),
)
_STEP_FILES = ("rollouts", "rewards", "audit", "advantages", "update_metrics", "policy_logprobs")
_KINDS = {
    "problems": r"prompts\.parquet|benchmarks/[^/]+\.parquet",
    **{name.replace("_", " "): rf"steps/{_NUMBER}/{name}.*" for name in _STEP_FILES},
    "trainer states": rf"checkpoints/{_NUMBER}(\.[\w.-]+)?/trainer/.+",
    "checkpoints": rf"checkpoints/{_NUMBER}(\.[\w.-]+)?/.+",
    "evaluations": rf"evals/{_NUMBER}[\w.-]*(/.+|\.lock)",
    "exports": rf"exports/{_NUMBER}[\w.-]*/.+",
    "trackers": r"trackers/([^/]+\.(json|log|lock)|(csv|mlflow|tensorboard|trackio|wandb)/.+)",
    UNFINISHED: rf"({'|'.join(_BUILT_IN)})\.[\w.-]+{PARTIAL}/.+",
    OTHER: rf"({'|'.join(map(re.escape, _FILES))})|base_probe\.[0-9a-f]+\.json|(worker|vllm)-[0-9]+\.log"
    rf"|steps/{_NUMBER}/.+",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}
_ASIDE = re.compile(r"(.+)\.aside-[0-9]+")


def kind_of(path: PurePath) -> str | None:
    """What a file of a run is; None for what rsgrpo does not write.

    Args:
        path: Relative to the run's directory.
    """
    if is_temporary(path) and (len(path.parts) == 1 or path.parts[0] in FOLDERS):
        return UNFINISHED
    name = path.as_posix()
    aside = _ASIDE.fullmatch(name)
    name = aside[1] if aside else name
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.fullmatch(name)), None)


def half_built(run: Path) -> Iterator[Path]:
    """The folders of a run that `disk.workshop` has made and nobody has renamed yet."""
    for place in _BUILT_IN:
        for path in sorted(run.glob(f"{place}.*.partial")):
            if re.search(f"{PARTIAL}$", path.name) and path.is_dir() and not path.is_symlink():
                yield path

"""What a run is called that nobody named, and which one is meant where none is named."""

from __future__ import annotations

import re
from pathlib import Path

from rsgrpo_cli import disk
from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import MissingError, UsageError, require_utf8
from rsgrpo_cli.run import config_file
from rsgrpo_cli.run.locks import LOCKS, holder

MOST_NAMED = 8
"""Runs of a sweep that a message names."""
_BASE = re.compile(r"base-seed[0-9]+-[0-9a-f]{4}")
_ITS_RUNS = "rsgrpo ls {0} lists the runs of {0}"


def base_run_name(seed: int, settings: str) -> str:
    """What a sweep calls the run that measures the base model: by the seed, and a hash of what else decides that."""
    return f"base-seed{seed}-{settings[:4]}"


def is_base(name: str) -> bool:
    """Whether a run is called as `base_run_name` calls them."""
    return _BASE.fullmatch(name) is not None


def fresh_path(runs: Path, config: RunConfig) -> Path:
    """A path under `runs` that no run has, named after what is trained and how."""
    dataset = _safe(Path(config.prepare.dataset.partition(":")[0]).stem)
    beta = getattr(config.advantage, "beta", None)
    named = isinstance(beta, int | float)  # a user's estimator is checked later
    stem = f"{dataset}-{_safe(config.advantage.estimator)}" + (f"-beta{beta:g}" if named else "")
    taken = {path.name for path in runs.glob(f"{stem}-*")}
    number = next(number for number in range(1, 100_000) if f"{stem}-{number:03d}" not in taken)
    return runs / f"{stem}-{number:03d}"


def require_name(path: Path) -> None:
    """Refuse to call a new run what a shell takes for the names of others, or what no line of a table can hold.

    Raises:
        UsageError: If its name is such a pattern, or has a newline or the like in it.
    """
    usable = "use A-Z, a-z, 0-9, dots, _ and -"
    if set("*?[]") & set(path.name):
        raise UsageError(f"{path.name!r} is a pattern, and no name for a run", usable)
    if not path.name.isprintable():
        raise UsageError(f"{path.name!r} has a character that cannot be printed", usable)


def _safe(text: str) -> str:
    """A text as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)


def claim_fresh_path(runs: Path, config: RunConfig) -> Path:
    """Make the directory of a new run; another process that wants the same name gets the next."""
    disk.require_way(runs / "run")
    while True:
        path = fresh_path(runs, config)
        disk.make_directory(path.parent)
        try:
            path.mkdir()
        except FileExistsError:
            continue
        disk.note(path)
        return path


def locate(runs: Path, name: str | None) -> Path:
    """The path that a name or a path means: one that is there as it is, else a name under `runs`: NAME, or SWEEP/CELL.

    Args:
        runs: The folder.
        name: The name or path; None means the newest run.

    Raises:
        UsageError: If the name is empty, or not UTF-8, or a file is in the way.
        MissingError: If there is no newest run, or a link leads nowhere.
    """
    if name is None:
        return newest(runs)
    if not name.strip():
        raise UsageError("the name of a run is empty", "name one: rsgrpo status shows the newest")
    require_utf8(name)
    path = Path(name)
    under = runs / path
    given = path.exists() if "/" in name else config_file.is_there(path)
    meant = path if given or ("/" in name and not under.exists()) else under
    if not path.exists():
        disk.require_way(meant)
    return meant


def newest(runs: Path) -> Path:
    """The run created last under `runs`, of those that have problems to train on or are being started right now.

    What `eval --model` made, or a start that was killed, is opened by its name only.

    Raises:
        MissingError: If there is none.
        UsageError: If there is a file in place of the folder.
    """
    disk.require_way(runs / "run")
    configs = sorted(runs.glob("[!.]*/config.json"), key=lambda path: (path.stat().st_mtime_ns, path.parent.name))
    found = next((path.parent for path in reversed(configs) if _is_trained_or_started(path.parent)), None)
    if found is not None:
        return found
    start = "start one: rsgrpo train, or rsgrpo prepare"
    if not configs and (inside := sweeps(runs)):
        raise MissingError(
            f"no run under runs/ but those of sweeps ({', '.join(inside)})", f"name one: {_ITS_RUNS.format(inside[0])}"
        )
    if configs:
        others = ", ".join(path.parent.name for path in configs)
        raise MissingError("no run under runs/ has problems to train on", f"{start}; or name one: --run ({others})")
    raise MissingError("no run under runs/ yet", f"{start}; or name it: --run")


def sweeps(runs: Path) -> list[str]:
    """The folders under `runs` that have runs in them."""
    return sorted({path.parent.parent.name for path in runs.glob("[!.]*/[!.]*/config.json")})


def no_run(runs: Path, path: Path) -> MissingError:
    """That there is no run at a path, and what is there instead."""
    if inside := _runs_in(path):
        place = Path(path.name) if path.parent == runs else path
        names = _listed([place / one.name for one in inside])
        return MissingError(
            f"{path} is a sweep, not a run", f"name one of its runs: {names}; all at a glance: rsgrpo ls {place}"
        )
    name, at, _ = path.name.rpartition("@")
    if at and (path.with_name(name) / "config.json").is_file():
        return MissingError(
            f"no run at {path}", f"this takes a whole run, without a policy: {_called(runs, path, name)}"
        )
    return MissingError(f"no run at {path}", _what_is_there(runs, path.name))


def _runs_in(folder: Path) -> list[Path]:
    return sorted(config.parent for config in folder.glob("[!.]*/config.json"))


def _listed(runs: list[Path]) -> str:
    """The first of some runs, as they are named."""
    more = f" and {len(runs) - MOST_NAMED} more" if len(runs) > MOST_NAMED else ""
    return ", ".join(map(str, runs[:MOST_NAMED])) + more


def _what_is_there(runs: Path, wanted: str) -> str:
    """The runs under `runs` and the sweeps, where they are of use to who wants a run of a name."""
    inside = sweeps(runs)
    if alike := [f"{sweep}/{wanted}" for sweep in inside if config_file.is_there(runs / sweep / wanted)]:
        return f"name it with its sweep: {' or '.join(alike)}"
    if here := _runs_in(Path(wanted)):
        return f"{wanted} is a folder here, with runs in it; name one: {_listed(here)}"
    if have := sorted(config.parent.name for config in runs.glob("[!.]*/config.json")):
        more = f"; sweeps: {', '.join(inside)}" if inside else ""
        return f"runs here: {', '.join(have)}{more}"
    if inside:
        return f"sweeps here: {', '.join(inside)}; {_ITS_RUNS.format(inside[0])}"
    return "start one: rsgrpo train, or rsgrpo prepare"


def _called(runs: Path, path: Path, name: str) -> str:
    """How a run beside `path` is named on the command line."""
    return name if path.parent == runs else str(path.with_name(name))


def _is_trained_or_started(run: Path) -> bool:
    """Whether a run has problems to train on, or a process at work that may be about to prepare them."""
    return (run / "prompts.parquet").is_file() or holder(run / LOCKS[0]) is not None

"""Every file of a run, damaged in every way: noticed before use, and named with a way out that works.

`verify` goes through each damaged run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.faults.damages import DAMAGES, cut, deleted, files_of, foreign

Damage = Callable[[Path, Path], None]


@pytest.fixture
def pair(pair_once: Path, tmp_path: Path, cli: Cli) -> Path:
    """Both runs, to be damaged."""
    return Path(shutil.copytree(pair_once, tmp_path / "runs"))


def kinds(run: Path) -> list[str]:
    """One file of each kind: of the steps, checkpoints and evaluations of one number the others are like."""
    seen: dict[str, str] = {}
    for name in files_of(run):
        seen.setdefault(re.sub(r"[0-9]+", "N", name), name)
    return list(seen.values())


def cases(pair: Path, names: list[str]) -> Iterator[tuple[str, Damage]]:
    """Every damage to every file that makes a difference."""
    for name in names:
        for damage in DAMAGES:
            same = (pair / "whole" / name).read_bytes() == (pair / "other" / name).read_bytes()
            # A run can do without these, and makes them again; without config.json it is none.
            spared = damage is deleted and (name in NOT_NEEDED or name.startswith("benchmarks/"))
            if not (damage is foreign and same) and not spared:
                yield name, damage


NOT_NEEDED = (
    "config.json",
    "metrics.parquet",
    "solved.parquet",
    "identity.json",
    "prompts.parquet",
)


def damaged(pair: Path, name: str, damage: Damage) -> Path:
    damage(pair / "whole" / name, pair / "other" / name)
    return pair / "whole"


def restored(pair: Path, pair_once: Path) -> None:
    shutil.rmtree(pair / "whole")
    shutil.copytree(pair_once / "whole", pair / "whole")


def test_a_sound_run_has_no_findings(cli: Cli, trained: Path) -> None:
    result = cli("verify", trained, "--json")
    assert (result.code, result.json["runs"][0]["findings"]) == (0, []), result.out
    assert result.json["runs"][0]["tables"] > 8


def test_verify_finds_damage(cli: Cli, trained: Path, trained_once: Path) -> None:
    # To each kind of file another damage, in turn; the slow part has them all.
    damages = [damage for damage in DAMAGES if damage is not foreign]
    for number, name in enumerate(kinds(trained)):
        damage = damages[number % len(damages)]
        if damage is deleted and name in NOT_NEEDED:
            damage = cut
        damage(trained / name, trained)
        check_found(cli, trained, name, damage)
        shutil.rmtree(trained)
        shutil.copytree(trained_once, trained)


@pytest.mark.parametrize(
    "name", ["rollouts/part-00000.parquet", "rollouts/manifest.json", "advantages.parquet", "update_metrics.parquet"]
)
def test_verify_finds_the_file_of_another_step(cli: Cli, trained: Path, name: str) -> None:
    shutil.copyfile(trained / "steps/000000" / name, trained / "steps/000001" / name)
    result = cli("verify", trained, "--no-load")
    assert (result.code, "step 1" in result.out or name in result.out) == (1, True), result.out


def check_found(cli: Cli, run: Path, name: str, damage: Damage) -> None:
    result = cli("verify", run, "--no-load")
    where = f"{name} {damage.__name__}: {result.out}{result.err}"
    named = (name, Path(name).name, "/".join(name.split("/")[:2]), *_others(name))
    assert result.code == 1, where
    assert any(text in result.out + result.err for text in named), where
    assert "bug" not in result.out + result.err, where


def _others(name: str) -> tuple[str, ...]:
    """What a damage may show in first: the one of these that was made from it."""
    step = re.match(r"steps/0*([0-9]+)/", name)
    return (f"step {step[1] or 0}",) if step else ("summed up",) if name.startswith("evals/") else ()

"""Every file of a run, damaged in every way: noticed before use, and named with a way out that works.

The quick part verifies each damaged run; the slow part also runs every command on it, and follows every hint.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.faults.damages import DAMAGES, LONG, cut, deleted, files_of, flipped, foreign

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
            spared = damage is deleted and is_not_needed(name)
            if not (damage is foreign and same) and not spared:
                yield name, damage


def is_not_needed(name: str) -> bool:
    at_top = ("config.json", "metrics.parquet", "solved.parquet", "identity.json", "prompts.parquet")
    return name in at_top or name.startswith("benchmarks/") or name.endswith("/policy_logprobs.parquet")


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
        if damage is deleted and is_not_needed(name):
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


@LONG
@pytest.mark.slow
def test_verify_finds_every_damage(cli: Cli, pair: Path, pair_once: Path) -> None:
    for name, damage in cases(pair, kinds(pair / "whole")):
        check_found(cli, damaged(pair, name, damage), name, damage)
        restored(pair, pair_once)


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


COMMANDS = (
    ["status", "--run"],
    ["show", "--prompt", "0", "--run"],
    ["report"],
    ["eval", "-n", "2", "--k", "1", "--run"],
    ["export", "--out", "out"],
    ["fork", "runs/new", "--run"],
    ["train", "--steps", "3", "--run"],
)


@LONG
@pytest.mark.slow
def test_commands_on_every_damage(cli: Cli, pair: Path, pair_once: Path, tmp_path: Path) -> None:
    # Two commands each, in turn.
    for number, (name, damage) in enumerate(cases(pair, kinds(pair / "whole"))):
        for command in (COMMANDS[number % len(COMMANDS)], COMMANDS[(number + 3) % len(COMMANDS)]):
            run = damaged(pair, name, damage)
            result = cli(*command, run)
            where = f"{name} {damage.__name__} {command[0]}: {result.out}{result.err}"
            assert "Traceback" not in where, where
            assert "this is a bug" not in where, where
            assert (result.code != 0) == ("error:" in result.err), where
            for made in (tmp_path / "out", pair / "new"):
                shutil.rmtree(made, ignore_errors=True)
            restored(pair, pair_once)


NO_COMMAND = ("move it away, too", "the same makes it again", "the branch leaves it behind")
"""What a finding says where another one has the command."""


def follow(cli: Cli, run: Path, line: str) -> None:
    """Do what the line of a finding says."""
    what, _, hint = line.partition(": ")
    named = re.search(re.escape(str(run)) + r"[^ :;]*", what)
    gone = re.search(r"remove ([^ ,]+)", hint)
    if gone:
        shutil.rmtree(gone[1])
    elif "move it away" in hint and named and Path(named[0]).exists():
        shutil.move(named[0], run.parent / "away")
        (run.parent / "away").unlink()
    if hint.endswith(NO_COMMAND):
        return
    command = hint.rpartition("rsgrpo ")[2].replace("NEW", "runs/branch").replace("FILE", "held.jsonl")
    result = cli(*shlex.split(command))
    # `verify` may name what is to be followed next.
    assert result.code == 0 or command.startswith("verify"), (line, result.err)


def follow_in_turn(cli: Cli, run: Path) -> Path:
    """Do what each finding says, in the order in which they are printed; the run that is sound then."""
    lines = cli("verify", run, "--no-load").out.splitlines()
    for line in lines:
        follow(cli, run, line)
    return run.parent / "branch" if any("rsgrpo fork NEW" in line for line in lines) else run


def flip(run: Path, names: tuple[str, ...]) -> None:
    """Damage files of a run."""
    for name in names:
        flipped(run / name, run)


ROLLOUTS, REWARDS, ADVANTAGES, UPDATE = (
    *("steps/000001/rollouts/part-00000.parquet", "steps/000001/rewards/part-00000.parquet"),
    *("steps/000001/advantages.parquet", "steps/000000/update_metrics.parquet"),
)


def test_an_update_of_another_step_is_one_finding(cli: Cli, trained: Path) -> None:
    check_foreign_update(cli, trained, trained / "steps/000001/update_metrics.parquet")


@pytest.mark.slow
def test_an_update_of_another_run_is_one_finding(cli: Cli, pair: Path) -> None:
    check_foreign_update(cli, pair / "whole", pair / "other" / UPDATE)


def check_foreign_update(cli: Cli, run: Path, other: Path) -> None:
    shutil.copyfile(other, run / UPDATE)
    findings = cli("verify", run, "--json").json["runs"][0]["findings"]
    again = f"move it away, then: rsgrpo update --run {run} --step 0"
    assert findings == [
        {"what": f"{run / UPDATE} is from a different update than the one that made policy 1", "hint": again}
    ]
    assert follow_in_turn(cli, run) == run
    assert cli("verify", run).code == 0


@pytest.mark.parametrize(
    "names",
    [
        # The samples come before what is made from them, a policy before its samples, the statistics last.
        ("metrics.parquet", ADVANTAGES, ROLLOUTS),
        ("checkpoints/000001/model.safetensors", ROLLOUTS, "steps/000001/rollouts/manifest.json"),
        ("checkpoints/000002/model.safetensors", UPDATE, "identity.json"),
        (REWARDS, "prompts.parquet", "solved.parquet"),
    ],
)
def test_several_ways_out_work_in_turn(cli: Cli, trained: Path, names: tuple[str, ...]) -> None:
    check_in_turn(cli, trained, names)


@pytest.mark.slow
def test_several_ways_out_of_an_evaluation_work_in_turn(cli: Cli, pair: Path) -> None:
    folder = "evals/000002/toy/"
    check_in_turn(
        cli, pair / "whole", (folder + "summary.parquet", folder + "problems.parquet", "benchmarks/toy.parquet", UPDATE)
    )


def check_in_turn(cli: Cli, run: Path, names: tuple[str, ...]) -> None:
    flip(run, names)
    assert len(cli("verify", run, "--no-load").out.splitlines()) == len(names)
    assert follow_in_turn(cli, run) == run
    assert cli("verify", run).code == 0


SCORE, ADVANTAGE, ROLLOUT, LEARN = (
    *(("score", "--step", "0", "--set", "score.format_weight=0.5"), ("advantage", "--step", "1", "--beta", "8")),
    *(("rollout", "--step", "1", "--temperature", "0.9"), ("update", "--step", "0", "--lr", "0.01")),
)
"""Stages run again with other settings."""


@pytest.mark.parametrize(
    ("commands", "names", "step"),
    [
        # What was summed up from the step, and the policies after it, are no findings of their own.
        ((SCORE,), (), 0),
        ((SCORE, ADVANTAGE), (UPDATE, "metrics.parquet"), 0),
        pytest.param((ADVANTAGE,), ("checkpoints/000001/model.safetensors", REWARDS), 1, marks=pytest.mark.slow),
        pytest.param((ROLLOUT,), (ADVANTAGES,), 1, marks=pytest.mark.slow),
        pytest.param((LEARN,), (ADVANTAGES, "solved.parquet"), 1, marks=pytest.mark.slow),
    ],
)
def test_a_branch_is_the_way_out_of_all_that_is_stale(
    cli: Cli, trained: Path, commands: tuple[tuple[str, ...], ...], names: tuple[str, ...], step: int
) -> None:
    for command in commands:
        result = cli(*command, "--force", "--run", trained)
        assert result.code == 0, result.err
    flip(trained, names)
    found = cli("verify", trained, "--no-load").out
    assert found.count("rsgrpo fork NEW") == 1
    assert f"--step {step}" in found
    branch = follow_in_turn(cli, trained)
    assert branch.name == "branch"
    assert cli("verify", branch).code == 0
    assert cli("train", "--run", branch, "--steps", "3").code == 0
    assert cli("verify", branch).code == 0


@pytest.mark.parametrize(
    "command", [ADVANTAGE, SCORE, *(pytest.param(one, marks=pytest.mark.slow) for one in (ROLLOUT, LEARN))]
)
def test_what_was_replaced_with_other_settings_is_made_again_as_it_was(
    cli: Cli, trained: Path, command: tuple[str, ...]
) -> None:
    assert cli(*command, "--force", "--run", trained).code == 0
    found = cli("verify", trained, "--no-load").out
    stopped = cli("train", "--run", trained, "--steps", "3")
    assert stopped.code == 1
    way = r"again with the run's own settings: rsgrpo ([^;]+); or branch off before it: rsgrpo fork"
    again, also = re.findall(way, f"{found}\n{stopped.err}")
    assert again == also
    assert cli(*shlex.split(again)).code == 0
    assert cli("verify", trained).code == 0
    assert cli("train", "--run", trained, "--steps", "3").code == 0


@LONG
@pytest.mark.slow
def test_the_way_out_works(cli: Cli, pair: Path, pair_once: Path) -> None:
    for name, damage in cases(pair, kinds(pair / "whole")):
        run = damaged(pair, name, damage)
        if name == "config.json":  # nothing else holds it: that is what is said
            assert "put the file back as it was" in cli("verify", run, "--no-load").out
            restored(pair, pair_once)
            continue
        for _ in range(4):  # what was made again may show that what was made from it is another's
            result = cli("verify", run, "--no-load")
            if result.code == 0 or "rsgrpo fork" in result.out.splitlines()[0]:
                break
            follow(cli, run, result.out.splitlines()[0])
        final = cli("verify", run, "--no-load")
        if "rsgrpo fork" in final.out:
            follow(cli, run, final.out.splitlines()[0])
            final = cli("verify", "runs/branch", "--no-load")
            shutil.rmtree(pair / "branch")
        assert final.code == 0, (name, damage.__name__, final.out)
        restored(pair, pair_once)

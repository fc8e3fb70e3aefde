"""An estimator of the user's own, from a module in the current directory, in every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.run.identity import read_identity
from rsgrpo_cli.schemas import ADVANTAGES
from tests.conftest import Cli

FUNCTIONS = textwrap.dedent("""
    import numpy as np
    from rsgrpo_cli.core.advantages import grpo

    def below(rewards, *, level=0.5, power=1):
        return np.sign(rewards - np.quantile(rewards, level)) ** power

    def standardised(rewards):
        return grpo(rewards)

    def column(rewards):
        return rewards[:, None]

    def nan(rewards):
        return rewards * np.nan

    def raises(rewards):
        raise RuntimeError("not today")

    def graded(completions, **columns):
        return [float(len(text)) for text in completions]
""")
LINE = FUNCTIONS.splitlines().index('    raise RuntimeError("not today")') + 1
SMALL = ["--set", "rollout.group_size=4", "--set", "rollout.prompts_per_step=4", "--set", "score.workers=1"]
OWN = ["--estimator", "mine:below", *SMALL, "--checkpoint-every", "1"]
EDITED = FUNCTIONS.replace("np.sign(", "2 * np.sign(")
pytestmark = pytest.mark.usefixtures("module")


def settings_of(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "config.json").read_text())["config"]["advantage"]
    return found


def advantages(run: str, step: int) -> Path:
    return Path(run) / "steps" / f"{step:06d}" / "advantages.parquet"


def largest(run: str, step: int) -> float:
    return float(max(map(abs, pq.read_table(advantages(run, step))["advantage"].to_pylist())))


@pytest.mark.slow
def test_a_run_in_processes_of_its_own_and_its_resumption(cli: Cli, tmp_path: Path) -> None:
    def rsgrpo(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rsgrpo_cli", *arguments]
        known = {name: value for name, value in os.environ.items() if not name.startswith("RSGRPO")}
        return subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, check=False)

    asked = [*OWN, "--set", "advantage.level=0.25"]
    first = rsgrpo("train", "--run", "runs/x", "--steps", "1", *asked)
    assert first.returncode == 0, first.stderr
    untrusted = rsgrpo("train", "--run", "runs/x", "--steps", "2")
    assert (untrusted.returncode, "--trust" in untrusted.stderr) == (2, True)
    resumed = rsgrpo("train", "--run", "runs/x", "--steps", "2", "--trust")
    assert resumed.returncode == 0, resumed.stderr
    at_once = cli("train", "--run", "runs/y", "--steps", "2", *asked)
    assert at_once.code == 0, at_once.err
    for step in (0, 1):
        one, other = (pq.read_table(tmp_path / advantages(f"runs/{run}", step)) for run in "xy")
        assert one.equals(other)
    weights = [next((tmp_path / f"runs/{run}/checkpoints/000002").glob("*.safetensors")).read_bytes() for run in "xy"]
    assert weights[0] == weights[1]


def test_the_settings_are_all_in_the_configuration_and_in_the_lineage(cli: Cli) -> None:
    result = cli("train", "--run", "runs/x", "--steps", "1", *OWN, "--set", "advantage.level=1")
    assert result.code == 0, result.err
    assert settings_of("runs/x") == {"estimator": "mine:below", "scale": "none", "level": 1.0, "power": 1}
    made = dict(read_lineage(advantages("runs/x", 0), ADVANTAGES).config)
    assert made.pop("identity").startswith("user mine:below ")
    assert made == settings_of("runs/x")
    assert "estimator mine:below, scale none, level 1.0, power 1" in cli("status", "--run", "runs/x").out
    (row,) = pq.read_table("runs/x/metrics.parquet").to_pylist()
    assert (row["estimator"], row["beta"]) == ("mine:below", None)
    for command in (["show", "--prompt", "5"], ["advantage"], ["train", "--steps", "1"]):
        looked = cli(*command, "--run", "runs/x")
        assert looked.code == 0, looked.err


def test_a_run_that_was_not_named_has_a_name_that_can_be_typed(cli: Cli) -> None:
    assert cli("prepare", "--set", "advantage.estimator=mine:below", *SMALL).code == 0
    assert [path.name for path in Path("runs").iterdir()] == ["toy-mine-below-001"]
    assert settings_of("runs/toy-mine-below-001")["level"] == 0.5


def test_one_that_does_what_grpo_does_gives_its_bytes(cli: Cli) -> None:
    for run, name in (("runs/x", "mine:standardised"), ("runs/y", "grpo")):
        flags = ["--estimator", name, "--reward", "mine:graded", "--set", "rollout.group_size=7", *SMALL[2:]]
        result = cli("train", "--run", run, "--steps", "2", *flags)
        assert result.code == 0, result.err
    for step in (0, 1):
        assert pq.read_table(advantages("runs/x", step)).equals(pq.read_table(advantages("runs/y", step)))
        assert largest("runs/x", step) > 0


def test_a_plan_has_its_settings(cli: Cli) -> None:
    for command in (["plan"], ["train", "--dry-run"]):
        planned = cli(*command, *OWN, "--json")
        assert planned.code == 0, planned.err
        assert planned.json["config"]["advantage"]["level"] == 0.5
        refused = cli(*command, *OWN, "--set", "advantage.levl=1")
        assert (refused.code, "it has: level, power" in refused.err) == (2, True)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--set", "advantage.levl=1"], "advantage.levl is not a setting of mine:below"),
        (["--set", "advantage.level=high"], "advantage.level must be a number"),
        (["--advantage-scale", "beta"], "scale beta undoes the 1/beta of rs_grpo"),
        (["--estimator", "nosuch:f"], "the estimator function nosuch:f cannot be loaded"),
        (["--estimator", "mine:missing"], "functions there: below, standardised"),
        (["--estimator", "mine:"], 'given as "package.module:function"'),
        (["--estimator", "below"], "or your own as package.module:function"),
    ],
)
def test_what_cannot_be_used_is_found_out_before_anything_is_sampled(cli: Cli, flags: list[str], told: str) -> None:
    refused = cli("train", "--run", "runs/x", "--steps", "1", *OWN, *flags)
    assert (refused.code, told in refused.err) == (2, True), refused.err
    assert "Traceback" not in refused.err
    assert not Path("runs/x").exists()


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("column", "returned ndarray of shape (4, 1) for 4 rewards"),
        ("nan", "returned nan for reward 1 of 4"),
        ("raises", f"raised RuntimeError in mine.py:{LINE}: not today"),
    ],
)
def test_what_is_no_advantage_stops_the_run_in_one_line(cli: Cli, function: str, told: str) -> None:
    stopped = cli("train", "--run", "runs/x", "--steps", "1", *OWN, "--estimator", f"mine:{function}")
    assert (stopped.code, told in stopped.err) == (1, True), stopped.err
    assert f"the estimator function mine:{function}, called for group 000000:toy-train-" in stopped.err
    assert "Traceback" not in stopped.err
    assert not advantages("runs/x", 0).exists()


def test_an_edited_one_is_refused_until_it_is_accepted(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *OWN).code == 0
    assert largest("runs/x", 0) == 1.0
    module.write_text(EDITED)
    refused = cli("train", "--run", "runs/x", "--steps", "2")
    assert refused.code == 1
    assert "the estimator mine:below is not the one that run x was made with: user mine:below" in refused.err
    assert "rsgrpo fork NEW --run runs/x" in refused.err
    assert "--accept-changes" in refused.err
    assert not advantages("runs/x", 1).exists()
    accepted = cli("train", "--run", "runs/x", "--steps", "2", "--accept-changes")
    assert accepted.code == 0, accepted.err
    assert (largest("runs/x", 0), largest("runs/x", 1)) == (1.0, 2.0)
    identity = read_identity(Path("runs/x"))
    assert identity
    assert cli("fork", "new", "--run", "runs/x").code == 0
    forked = read_identity(Path("runs/new"))
    assert forked
    assert forked.estimators == ()  # which may have another from here on
    assert [name.partition(" mine:below ")[0] for name in identity.estimators] == ["user"]
    assert cli("train", "--run", "runs/x", "--steps", "3").code == 0
    assert "nothing is stale" in cli("status", "--run", "runs/x").out


def test_one_that_lost_a_setting_is_another_one_first_of_all(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *OWN).code == 0
    module.write_text(FUNCTIONS.replace(", power=1", "").replace("** power", ""))
    refused = cli("train", "--run", "runs/x", "--steps", "2")
    assert (refused.code, "is not the one that run x was made with" in refused.err) == (1, True)
    accepted = cli("train", "--run", "runs/x", "--steps", "2", "--accept-changes")
    assert (accepted.code, "advantage.power is not a setting of mine:below" in accepted.err) == (2, True)


def test_a_step_made_with_another_is_told_with_flags_that_work(cli: Cli) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *SMALL, "--checkpoint-every", "1").code == 0
    for command in ("rollout", "score"):
        assert cli(command, "--run", "runs/x", "--step", "1").code == 0
    made = cli(
        "advantage", "--run", "runs/x", "--step", "1", "--estimator", "mine:below", "--set", "advantage.level=0.75"
    )
    assert made.code == 0, made.err
    assert "advantage.estimator mine:below, not the run's own rs_grpo, advantage.level 0.75: for this" in made.err
    flags = ["--set", "advantage.estimator=mine:below", "--set", "advantage.level=0.75"]
    assert f"rsgrpo fork NEW --run runs/x {' '.join(flags)}\n" in made.err
    assert cli("fork", "new", "--run", "runs/x", *flags).code == 0


def test_single_commands_notice_an_edit_as_well(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *OWN).code == 0
    for command in ("rollout", "score"):
        assert cli(command, "--run", "runs/x", "--step", "1").code == 0
    module.write_text(EDITED)
    refused = cli("advantage", "--run", "runs/x", "--step", "1")
    assert (refused.code, "is not the one that run x was made with" in refused.err) == (1, True)
    beside = cli("advantage", "--run", "runs/x", "--step", "1", "--tag", "new")
    assert beside.code == 0, beside.err
    accepted = cli("advantage", "--run", "runs/x", "--step", "1", "--accept-changes")
    assert accepted.code == 0, accepted.err
    assert largest("runs/x", 1) == 2.0


def test_steps_since_the_last_checkpoint_keep_their_advantages(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "3", *OWN, "--checkpoint-every", "3").code == 0
    shutil.rmtree("runs/x/checkpoints")  # as a run that was killed in its third step
    for name in ("advantages", "update_metrics"):
        Path(f"runs/x/steps/000002/{name}.parquet").unlink()
    module.write_text(EDITED)
    assert cli("train", "--run", "runs/x").code == 1
    resumed = cli("train", "--run", "runs/x", "--accept-changes")
    assert resumed.code == 0, resumed.err
    assert [largest("runs/x", step) for step in range(3)] == [1.0, 1.0, 2.0]


def test_a_fork_may_have_another(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *OWN).code == 0
    module.write_text(EDITED)
    made = cli("fork", "new", "--run", "runs/x", "--set", "advantage.level=0.75")
    assert made.code == 0, made.err
    assert settings_of("runs/new") == {"estimator": "mine:below", "scale": "none", "level": 0.75, "power": 1}
    assert cli("train", "--run", "runs/new", "--steps", "2").code == 0
    assert largest("runs/new", 1) == 2.0
    other = cli("fork", "other", "--run", "runs/x", "--estimator", "mine:standardised")
    assert other.code == 0, other.err
    assert settings_of("runs/other") == {"estimator": "mine:standardised", "scale": "none"}
    refused = cli("fork", "third", "--run", "runs/x", "--set", "advantage.levl=1")
    assert (refused.code, "it has: level, power" in refused.err) == (2, True)
    assert not Path("runs/third").exists()


def test_a_fork_with_the_name_again_loses_settings_that_the_function_has_lost(cli: Cli, module: Path) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *OWN).code == 0
    text = module.read_text()
    assert "power=1" in text
    module.write_text(text.replace("power=1", "force=1").replace("power", "force"))
    stopped = cli("train", "--run", "runs/x", "--steps", "2", "--accept-changes")
    assert (stopped.code, "advantage.power is not a setting of mine:below" in stopped.err) == (2, True), stopped.err
    assert "rsgrpo fork NEW --run runs/x --estimator mine:below" in stopped.err
    assert cli("fork", "new", "--run", "runs/x", "--estimator", "mine:below").code == 0
    assert settings_of("runs/new").keys() == {"estimator", "scale", "level", "force"}
    assert cli("train", "--run", "runs/new", "--steps", "2").code == 0


def test_it_is_tried_beside_a_run_and_compared(cli: Cli, trained: Path) -> None:
    tagged = cli("advantage", "--run", trained, "--step", "0", "--estimator", "mine:below", "--tag", "own")
    assert tagged.code == 0, tagged.err
    assert pq.read_table(trained / "steps/000000/advantages.own.parquet").num_rows == 32
    pytest.importorskip("matplotlib")
    compared = cli(
        "advantage", "--run", trained, "--json", "--compare", "rs_grpo:beta=4,mine:below:level=0.9,mine:below"
    )
    assert compared.code == 0, compared.err
    methods = compared.json["methods"]
    assert [one["label"] for one in methods] == ["rs_grpo beta=4", "mine:below level=0.9", "mine:below"]
    assert [one.get("level") for one in methods] == [None, 0.9, 0.5]
    for text, told in (
        ("mine:below:levl=1", "it has: level, power"),
        ("mine:column", "returned ndarray of shape (4, 1)"),
        ("mine:nosuch", "mine has no nosuch"),
        ("mine:", "is not NAME or NAME:KEY=VALUE"),
    ):
        refused = cli("advantage", "--run", trained, "--compare", f"dr_grpo,{text}")
        assert told in refused.err, refused.err
        assert refused.code in (1, 2)


def test_a_run_directory_is_no_program(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *OWN).code == 0
    run, mark = tmp_path / "runs" / "x", tmp_path / "imported"
    (run / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n{FUNCTIONS}")
    monkeypatch.chdir(run)
    for command in (["train", "--steps", "2"], ["fork", "../y", "--set", "advantage.level=0.1"]):
        refused = cli(*command, "--run", ".")
        assert (refused.code, "a run directory is data" in refused.err) == (2, True), refused.err
    assert not mark.exists()


def test_a_cell_has_the_defaults_of_the_function_as_its_run_has(cli: Cli) -> None:
    settings = [*OWN, "--steps", "1", "-n", "2", "--k", "1", "--eval-every", "1"]
    assert cli("train", "--run", "runs/s/seed0", *settings).code == 0
    listed = cli("sweep", "--name", "s", *settings, "--dry-run", "--json")
    assert listed.code == 0, listed.err
    assert [cell["done"] for cell in listed.json["cells"]] == [True]
    other = cli("sweep", "--name", "s", *settings, "--set", "advantage.level=0.25", "--dry-run")
    assert "cell seed0 of s is there with advantage.level 0.5, not 0.25" in other.err

"""What a message tells one to do next, done."""

import re
from pathlib import Path

import pytest

from tests.conftest import Cli

SMALL = ("--prompts-per-step", "4", "--group-size", "4", "--workers", "1")
pytestmark = pytest.mark.usefixtures("unasked")


def test_a_ruined_policy_names_the_checkpoint_before_it(cli: Cli) -> None:
    ruined = cli("train", "--run", "runs/x", "--steps", "2", *SMALL, "--lr", "1e10")
    assert ruined.code == 1
    assert "an update has ruined the policy" in ruined.err
    told = re.search(r"rsgrpo (fork NEW --run runs/x --step \d+ --lr) LOWER", ruined.err)
    assert told, ruined.err
    assert cli(*told[1].replace("NEW", "runs/y").split(), "1e-4").code == 0
    assert cli("train", "--run", "runs/y", "--json").json["steps"] == 2


def test_a_mended_reward_goes_on_in_the_run_that_it_stopped(cli: Cli) -> None:
    reward = Path("mine.py")
    reward.write_text("def f(completions, **columns):\n    raise ValueError('no')\n")
    stopped = cli("train", "--steps", "1", *SMALL, "--reward", "mine:f")
    assert stopped.code == 1
    told = re.search(r"the same command again with (--run \S+)", stopped.err)
    assert told, stopped.err
    reward.write_text("def f(completions, **columns):\n    return [float(len(text)) for text in completions]\n")
    again = cli("train", "--steps", "1", *SMALL, "--reward", "mine:f", *told[1].split(), "--json")
    assert (again.code, again.json["steps"]) == (0, 1), again.err
    assert len(list(Path("runs").glob("*/config.json"))) == 1


def test_a_wrong_number_of_rewards_says_which_run_is_kept(cli: Cli) -> None:
    Path("mine.py").write_text("def f(completions, **columns):\n    return [1.0]\n")
    stopped = cli("train", "--steps", "1", *SMALL, "--reward", "mine:f")
    assert stopped.code == 1
    (run,) = Path("runs").glob("*/config.json")
    assert f"{run.parent} is kept: continue with --run {run.parent}" in stopped.err


def test_a_step_without_any_reward_is_said_once(cli: Cli) -> None:
    Path("mine.py").write_text("def f(completions, **columns):\n    return [None for _ in completions]\n")
    result = cli("train", "--run", "runs/x", "--steps", "2", *SMALL, "--reward", "mine:f")
    assert result.code == 0
    assert result.err.count("no completion has a reward, so that nothing is learned from it") == 1


def test_what_was_left_out_of_the_training_set_is_said_by_train(cli: Cli) -> None:
    rows = ['"problem": "1+1?", "answer": "2"'] * 2 + ['"problem": "2+2?", "answer": null']
    Path("d.jsonl").write_text("".join(f"{{{row}}}\n" for row in rows))
    result = cli("train", "--run", "runs/x", "--dataset", "d.jsonl", "--steps", "1", "--max-tokens", "8", *SMALL[2:],
                 "--prompts-per-step", "1")  # fmt: skip
    assert result.code == 0, result.err
    assert "prepare: 1 prompt, 1 without answer, 1 duplicate" in result.err


def test_show_names_the_command_that_shows_a_problem(cli: Cli) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "2", *SMALL).code == 0
    assert cli("show", "--run", "runs/x", "--step", "0", "--json").json["source"] == "step 0"
    command = cli("show", "--run", "runs/x").out.rpartition("its completions: rsgrpo ")[2].split()
    shown = cli(*command, "--json").json
    assert (shown["step"], shown["prompt_id"]) == (1, command[-1])


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--group-size", "100000000000"), "must be at most 65536"),
        (("--benchmark", "toy,,sums"), "benchmark has an empty name"),
    ],
)
def test_values_that_mean_nothing(cli: Cli, flags: tuple[str, ...], text: str) -> None:
    result = cli("train", "--run", "runs/x", "--steps", "1", *flags)
    assert result.code in (1, 2)
    assert text in result.err
    assert not Path("runs/x").exists()


def test_fork_says_how_a_run_keeps_more_checkpoints(cli: Cli) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "2", *SMALL).code == 0
    Path("runs/x/steps/000000/advantages.parquet").unlink()
    result = cli("fork", "runs/y", "--run", "runs/x", "--step", "1")
    assert result.code == 1
    assert (
        "it has policies 0, 2; 0 is the base model; --checkpoint-every 1 --keep-checkpoints N keep more" in result.err
    )


HINTED = re.compile(r"rsgrpo (eval [^;\n]*)")


def test_the_commands_that_a_comparison_lacks_work(cli: Cli, trained: Path) -> None:
    Path("sums.jsonl").write_text('{"question": "Compute 2+3.", "gold": 5}\n{"question": "Compute 2*3.", "gold": 6}\n')
    compared = ["compare", f"{trained}@1", f"{trained}@2"]
    on = ["--benchmark", "sums.jsonl", "--prompt-column", "question", "--answer-column", "gold", "--max-tokens", "8"]
    assert cli("eval", "--run", trained, "--policy", "1", "--max-tokens", "8", "-n", "2", "--k", "1").code == 0
    # No evaluation, then one on another benchmark, then one with too few samples.
    missing = cli(*compared)
    assert missing.code == 1
    assert cli("eval", "--run", trained, "--policy", "2", *on, "-n", "2", "--k", "1").code == 0
    other = cli(*compared)
    assert (other.code, "different problems" in other.err) == (2, True), other.err
    for told in (missing, other):
        assert (command := HINTED.search(told.err)), told.err
        assert cli(*command[1].split()).code == 0
    few = cli(*compared, "--benchmark", "toy", "--k", "4")
    assert few.code == 2
    commands = HINTED.findall(few.err)
    assert len(commands) == 2
    for command in commands:
        assert cli(*command.split(), "--max-tokens", "8").code == 0
    assert cli(*compared, "--benchmark", "toy", "--k", "4").code == 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["show", "--policy", "9"], "it has any policy up to 2; 0 is the base model"),
        (["eval", "--policy", "9"], "it has any policy up to 2; 0 is the base model"),
        (["rollout", "--step", "9"], "it has any policy up to 2; 0 is the base model"),
        (["fork", "runs/y", "--step", "9"], "it has any policy up to 2; 0 is the base model"),
        (["show", "--step", "9"], "it has steps 0 to 1"),
        (["show", "--step", "9", "--prompt", "0"], "it has steps 0 to 1"),
        (["score", "--step", "9"], "it has steps 0 to 1"),
        (["advantage", "--step", "9"], "it has steps 0 to 1"),
        (["update", "--step", "9"], "it has steps 0 to 1"),
        (["eval", "--policy", "9.mine"], "it has steps 0 to 1"),
    ],
)
def test_what_cannot_be_there_is_told_from_what_is(cli: Cli, trained: Path, command: list[str], told: str) -> None:
    result = cli(*command, "--run", trained)
    assert (result.code, told in result.err, "rsgrpo" in result.err) == (1, True, False), result.err


def test_a_step_names_the_first_command_that_it_lacks(cli: Cli) -> None:
    few = ["--set", "rollout.prompts_per_step=4", "--set", "rollout.group_size=2"]
    assert cli("prepare", "--run", "runs/x", *few).code == 0
    asking = ["score", "advantage", "update"]
    for lacking, what in (("rollout", "rollouts"), ("score", "rewards"), ("advantage", "advantages")):
        for asked in asking:
            for step in ([], ["--step", "0"]):
                said = cli(asked, "--run", "runs/x", *step).err
                assert re.search(f"make (the {what}|them) first: rsgrpo {lacking} --run runs/x", said), said
        assert cli(lacking, "--run", "runs/x").code == 0
        asking.pop(0)


def test_a_run_on_a_file_is_evaluated_on_another(cli: Cli) -> None:
    Path("mine.jsonl").write_text('{"quest": "Compute 2+3.", "gold": 5}\n{"quest": "Compute 2*3.", "gold": 6}\n')
    Path("held.jsonl").write_text(
        '{"quest": "Compute 4+3.", "gold": 7}\n{"problem": "other", "quest": "x", "gold": 6}\n'
    )
    own = ["--dataset", "mine.jsonl", "--prompt-column", "quest", "--answer-column", "gold", "--max-tokens", "8"]
    assert cli("train", "--run", "runs/x", "--steps", "1", *SMALL, *own, "--prompts-per-step", "2").code == 0
    pair = ["compare", "runs/x@0", "runs/x@1"]
    asked = [*pair, "--benchmark", "mine.jsonl"]  # on which it was trained
    for command in (pair, asked, ["show", "--policy", "1"], ["figure", "passk", "runs/x"]):
        result = cli(*command, *(["--run", "runs/x"] if "show" in command else []))
        assert re.search(r"rsgrpo eval --run runs/x (--policy \d )?--benchmark FILE", result.err), result.err
    # Its columns are called as those that the run was trained on.
    sampling = ["--benchmark", "held.jsonl", "-n", "2", "--k", "1"]
    assert cli("eval", "--run", "runs/x", *sampling).code == 0
    command = ["train", "--run", "runs/y", "--steps", "1", *SMALL, *own, "--prompts-per-step", "2", "--eval-every", "1"]
    assert cli(*command, *sampling).code == 0
    assert cli("plan", "--steps", "1", *own, "--benchmark", "held.jsonl").code == 0
    Path("held.jsonl").write_text('{"q": "Compute 4+3.", "a": 7}\n')
    refused = cli("train", "--run", "runs/z", "--steps", "1", *SMALL, *own, *sampling)
    assert "columns: q, a; choose one: rsgrpo eval --prompt-column NAME" in refused.err
    renamed = ["--prompt-column", "q", "--answer-column", "a"]
    assert cli("eval", "--run", "runs/x", *sampling, "--tag", "other", *renamed).code == 0

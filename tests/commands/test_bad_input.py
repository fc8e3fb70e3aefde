"""What bad input gets: one line that says what is wrong, one that says what to do, and nothing overwritten."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import SafetensorError

from tests.conftest import SMALL, Cli, Result


def refused(result: Result, code: int, *texts: str) -> None:
    assert result.code == code, (result.out, result.err)
    assert "Traceback" not in result.err
    flat = " ".join(result.err.split())
    for text in texts:
        assert text in flat, flat
    assert not result.out


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (["train", "--model", "none/such"], 1, ["model none/such is not in the local cache", "--model"]),
        (["train", "--model", "nowhere"], 1, ["no model at 'nowhere'", "give a directory"]),
        (["train", "--dataset", "foo"], 2, ["unknown dataset 'foo'", "known: toy, "]),
        (["train", "--dataset", "foo.jsonl"], 1, ["no dataset file at foo.jsonl"]),
        (["train", "--estimator", "foo"], 2, ["unknown estimator 'foo'", "rs_grpo, grpo"]),
        (["train", "--engine", "foo"], 2, ["rollout.engine"]),
        (["train", "--reward", "foo"], 2, ["unknown reward 'foo'", "package.module:function"]),
        (["train", "--reward", "no.such:thing"], 2, ["no.such:thing cannot be loaded", "No module named 'no'"]),
        (["train", "--beta", "nan"], 2, ["advantage.beta: must be a finite number"]),
        (["train", "--beta", "inf"], 2, ["advantage.beta: must be a finite number"]),
        (["train", "--beta", "x"], 2, ["--beta: must be a number, not 'x'"]),
        (["train", "--steps", "1.5"], 2, ["--steps: must be a whole number, not '1.5'"]),
        (["export", "--interpolate", "2"], 2, ["--interpolate: must be at most 1, not '2'"]),
        (["train", "--set", "beta=1"], 2, ["beta is not a setting", "did you mean advantage.beta?"]),
        (["train", "--k", "0"], 2, ["--k '0': k is 1 or more", "write --k 1,32,1024"]),
        (["train", "--group-size", "1"], 2, ["rollout.group_size", "at least 2"]),
        (["train", "--steps", "1" + "0" * 20], 2, ["train.steps: must be at most 999,999,999"]),
        (["train", "--k", "1" + "0" * 20], 2, ["samples per problem are too many"]),
        (["train", "--nonsense"], 2, ["no such option: --nonsense"]),
        (["train", "--set", "rollout.foo=1"], 2, ["rollout.foo is not a setting"]),
        (["train", "--set", "model=3"], 2, ["model is a section of settings", "model.FIELD"]),
        (["train", "--set", "model.name=toy", "--set", "model.name.x=3"], 2, ["model.name.x is not a setting"]),
        (["train", "--model", ""], 1, ["no model at ''", "give a directory"]),
        (["advantage", "--tag", "../x"], 2, ["--tag '../x' cannot be part of a file name", "A-Z, a-z, 0-9"]),
        (["train", "--set", "rollout"], 2, ["--set 'rollout' has no value"]),
        (["train", "--config", "none.toml"], 1, ["no configuration file at none.toml"]),
        (["train", "--k", "1,x"], 2, ["is not a list of whole numbers", "--k 1,32,1024"]),
        (["train", "--k", "1,64", "-n", "32"], 2, ["pass@64 needs at least 64 samples", "--num-samples 64"]),
        (["train", "--device", "cuda"], 1, ["no CUDA device here", "--device"]),
        (
            ["train", "--prompts-per-step", "5000"],
            2,
            ["takes 5000 prompts and there are 768", "--prompts-per-step 768"],
        ),
        (["rollout"], 1, ["no run under runs/ yet", "rsgrpo train"]),
        (["status", "--run", "foo"], 1, ["no run at runs/foo"]),
        (["train", "--run", "new\nline"], 2, ["'new\\nline' has a character that cannot be printed", "use A-Z"]),
        (["train", "--run", "x\udce9"], 2, ["is not UTF-8", "export LC_ALL=C.UTF-8"]),
        (["train", "--dataset", "x\udce9.jsonl"], 2, ["is not UTF-8", "export LC_ALL=C.UTF-8"]),
        (["compare", "a", "b"], 1, ["no run at runs/a"]),
    ],
)
def test_flags(cli: Cli, arguments: list[str], code: int, texts: list[str]) -> None:
    refused(cli(*arguments), code, *texts)


EVERY = ("train --run dang", "status --run dang", "fork dang --run ./x", "sweep --name dang --seeds 0", "ls dang")


@pytest.mark.parametrize("arguments", EVERY)
def test_a_link_to_nowhere_in_place_of_a_run(cli: Cli, tmp_path: Path, trained: Path, arguments: str) -> None:
    trained.rename(tmp_path / "x")
    (tmp_path / "runs/dang").symlink_to("/nowhere")
    told = "error: runs/dang is a symbolic link to /nowhere, which is not there"
    refused(cli(*arguments.split()), 1, told, "or remove the link: rm runs/dang")


@pytest.mark.parametrize("arguments", [*EVERY, "train", "status", "ls"])
def test_runs_that_cannot_be_a_folder(cli: Cli, tmp_path: Path, trained: Path, arguments: str) -> None:
    trained.rename(tmp_path / "x")
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").touch()
    told = ["error: runs is a file where a folder belongs", "move it away"]
    refused(cli(*arguments.split()), 2, *told)
    (tmp_path / "runs").unlink()
    (tmp_path / "runs").symlink_to("/nowhere")
    told = ["error: runs is a symbolic link to /nowhere, which is not there", "or remove the link: rm runs"]
    refused(cli(*arguments.split()), 1, *told)


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ("prepare --group-size 4", "no such option: --group-size", "as a setting: --set rollout.group_size=4"),
        ("train --compile", "no such option: --compile", "as a setting: --set model.compile=VALUE"),
        ("update --minibatch=2", "no such option: --minibatch", "similar ones: --minibatches"),
        ("train --beat 4", "no such option: --beat", "similar ones: --beta"),
        ("eval --nope 1", "no such option: --nope", "rsgrpo eval --help lists the options and arguments"),
        ("eval --group-size 4", "no such option: --group-size", "rsgrpo eval --help lists the options and arguments"),
        ("status --run", "option '--run' requires an argument", "rsgrpo status --help lists the options and arguments"),
        ("status a b", "got unexpected extra argument(s) (b)", "rsgrpo status --help lists the options and arguments"),
        ("figure", "missing argument 'KIND'", "rsgrpo figure --help lists the options and arguments"),
        ("nothing", "no such command 'nothing'", "rsgrpo --help lists the commands"),
        ("--nothing train", "no such option: --nothing", "rsgrpo --help lists the commands"),
    ],
)
def test_a_command_line_that_does_not_fit_is_told_as_every_error(
    cli: Cli, arguments: str, error: str, hint: str
) -> None:
    assert cli(*arguments.split()) == Result(2, "", f"error: {error}\n  {hint}\n")
    if not arguments.endswith("--run"):  # which would take --json for its value
        assert cli(*arguments.split(), "--json").json == {"error": error, "hint": hint}


@pytest.mark.parametrize(
    ("name", "content", "flags", "code", "texts"),
    [
        ("a.jsonl", "", [], 1, ["a.jsonl has no rows"]),
        ("a.jsonl", '{"problem": "x"\n', [], 1, ["line 1 is not JSON"]),
        ("a.jsonl", '{"text": "x", "answer": "1"}\n', [], 2, ["none of the columns problem", "--prompt-column"]),
        ("a.jsonl", '{"problem": "x", "label": "1"}\n', [], 2, ["none of the columns answer", "--answer-column"]),
        ("a.jsonl", '{"problem": "x", "answer": "1"}\n', ["--answer-column", "gold"], 2, ["no column 'gold'"]),
        ("a.jsonl", '{"problem": 3, "answer": "1"}\n', [], 1, ["a.jsonl line 1: column 'problem' is int"]),
        ("a.jsonl", '{"problem": "x", "answer": ""}\n', [], 1, ["no problem with an answer"]),
        (
            "a.jsonl",
            '{"problem": "x", "answer": "", "solution": "so 3", "label": "3"}\n',
            [],
            1,
            ["no problem with an answer", "another column may have them: --answer-column solution or label"],
        ),
        (
            "a.jsonl",
            '{"problem": "x", "answer": "\\\\frac{1}{"}\n',
            [],
            1,
            ['a.jsonl line 1: the answer "\\\\frac{1}{" cannot be verified'],
        ),
        # As it stands in the file, and on the line that an editor shows.
        (
            "a.jsonl",
            '\n{"problem": "x", "answer": "1"}\n\n{"problem": "y", "answer": ["no idea", "\\\\dfrac"]}\n',
            [],
            1,
            ['a.jsonl line 4: the answer ["no idea", "\\\\dfrac"] cannot be verified'],
        ),
        ("a.jsonl", '{"problem": "x", "answer": "3 5 -> 8"}\n', [], 1, ["cannot be verified", "--reward countdown"]),
        ("a.parquet", "not parquet", [], 1, ["a.parquet cannot be read as Parquet"]),
    ],
)
def test_datasets(
    cli: Cli, tmp_path: Path, name: str, content: str, flags: list[str], code: int, texts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    refused(cli("prepare", "--run", "runs/x", "--dataset", name, *flags), code, *texts)
    assert not (tmp_path / "runs/x/prompts.parquet").exists()


def test_stages_without_their_input(cli: Cli) -> None:
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    refused(cli("score", "--run", "runs/x"), 2, "run x has no rollouts yet", "rsgrpo rollout")
    refused(
        cli("advantage", "--run", "runs/x"), 2, "run x has no rewards yet", "make the rollouts first: rsgrpo rollout"
    )
    refused(cli("update", "--run", "runs/x"), 2, "run x has no advantages yet", "first: rsgrpo rollout")
    refused(cli("score", "--run", "runs/x", "--step", "3"), 1, "no complete rollouts in", "it has no steps yet")
    refused(cli("rollout", "--run", "runs/x", "--step", "3"), 1, "run x has no policy 3")
    refused(
        cli("eval", "--run", "runs/x", "--policy", "2"), 1, "run x has no policy 2", "only policy 0, the base model"
    )
    refused(cli("show", "--run", "runs/x", "--prompt", "foo"), 1, "no prompt 'foo'", "toy-train-000000")


def test_damaged_and_foreign_artifacts(cli: Cli, trained: Path) -> None:
    rewards = trained / "steps/000001/rewards/part-00000.parquet"
    good = rewards.read_bytes()
    rewards.write_bytes(good[:-30])
    refused(
        cli("advantage", "--run", trained),
        1,
        "rewards/part-00000.parquet is damaged or cut short",
        "run the stage that makes it",
    )
    pq.write_table(pa.table({"a": [1]}), rewards)
    refused(cli("advantage", "--run", trained), 1, "it was not written by rsgrpo")
    rewards.write_bytes((trained / "steps/000001/advantages.parquet").read_bytes())
    refused(cli("advantage", "--run", trained), 1, "does not hold rewards: it holds advantages")
    rewards.write_bytes(good)
    assert cli("advantage", "--run", trained).code == 0
    (trained / "config.json").write_text("{")
    refused(cli("status", "--run", trained), 1, "config.json is not valid JSON")


def test_a_reward_that_is_not_finite_leaves_no_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def bad(completions, **columns):\n    return [float('nan')] * len(completions)\n"
    )
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert cli("rollout", "--run", "runs/x").code == 0
    refused(cli("score", "--run", "runs/x", "--reward", "mine:bad"), 1, "mine:bad", "returned nan for sample 0")
    assert not (tmp_path / "runs/x/steps/000000/rewards").exists()


def test_a_reward_that_always_fails_is_a_bug_not_a_result(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def broken(completions, **columns):\n    return undefined_name\n")
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    assert cli("rollout", "--run", "runs/x").code == 0
    refused(cli("score", "--run", "runs/x", "--reward", "mine:broken"), 1, "failed on every completion", "NameError")
    assert not (tmp_path / "runs/x/steps/000000/rewards").exists()


def test_a_run_keeps_what_it_was_created_with(cli: Cli, trained: Path) -> None:
    refused(cli("train", "--run", trained, "--beta", "8"), 2, "was created with beta 2.0, not 8.0", "rsgrpo fork")
    refused(cli("train", "--run", trained, "--model", "x/y"), 2, "was created with model toy, not x/y")
    refused(cli("eval", "--run", trained, "--model", "x/y"), 2, "run trained trains toy, not x/y")
    refused(cli("train", "--run", trained, "--seed", "3"), 2, "was created with seed 0, not 3")
    otherwise = cli("rollout", "--run", trained, "--set", "model.dtype=bfloat16")
    refused(otherwise, 2, "run trained has model.dtype float32, not bfloat16", "rsgrpo fork")


def test_a_directory_that_is_something_else(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/thesis.tex").write_text("precious")
    refused(cli("train", "--run", "runs/x"), 2, "exists and is not a run", "another --run")
    assert [entry.name for entry in (tmp_path / "runs/x").iterdir()] == ["thesis.tex"]


def test_a_name_that_is_taken(cli: Cli, trained: Path) -> None:
    before = (trained / "config.json").read_bytes()
    refused(cli("fork", "--run", trained, trained), 2, "is a run already", "another name")
    assert (trained / "config.json").read_bytes() == before


def test_evaluations(cli: Cli, trained: Path) -> None:
    refused(cli("eval", "--run", trained, "--k", "1,64", "-n", "32"), 2, "pass@64 needs", "--num-samples 64")
    refused(cli("eval", "--run", trained, "--benchmark", "foo"), 2, "unknown dataset 'foo'")
    refused(cli("compare", trained, trained), 1, "has no evaluation", "rsgrpo eval")
    refused(cli("report", trained), 1, "has no evaluation")


def test_a_ctrl_c_that_no_stage_listens_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rsgrpo_cli.planning.checks.all_checks", lambda **_: interrupted())
    assert cli("doctor", "--offline") == Result(130, "", "stopped at once\n")  # there is nothing to resume
    monkeypatch.setattr("rsgrpo_cli.commands.context.resolve", interrupted)
    refused(cli("train"), 130, "stopped at once; what was finished is kept", "run the same command again to resume")


def test_a_second_ctrl_c_names_the_run_to_resume(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rsgrpo_cli.pipeline.training.train", interrupted)
    told = f"to resume: run the same command again with --run {trained}"
    refused(cli("train", "--run", trained), 130, "stopped at once; what was finished is kept", told)


def test_a_full_disk(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr("rsgrpo_cli.policy.optimizer_state.save_file", full)
        train = ["train", "--run", "runs/x", "--steps", "1", *SMALL]
        refused(cli(*train), 1, "no space left to write runs/x/checkpoints/000001", "free some space")
        assert not list((tmp_path / "runs/x/checkpoints").iterdir())  # half a checkpoint gives its space back
    assert cli(*train).code == 0


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("model.safetensors", b"short", ["checkpoint 2 of run trained is damaged", "model.safetensors has 5 bytes"]),
        ("tokenizer.json", None, ["tokenizer.json is missing", "remove"]),
        ("manifest.json", b"{}", ["manifest.json is damaged: it has no '"]),
    ],
)
def test_damaged_checkpoints(cli: Cli, trained: Path, name: str, content: bytes | None, texts: list[str]) -> None:
    folder = trained / "checkpoints" / "000002"
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    for command in (["train", "--steps", "3", "--run"], ["eval", "--k", "1", "-n", "1", "--run"], ["export"]):
        result = cli(*command, trained)
        assert result.code == 1
        assert "Traceback" not in result.err
        assert "bug in rsgrpo" not in result.err
        assert all(text in result.err for text in texts), (command, result.err)
    shutil.rmtree(folder)
    assert cli("train", "--run", trained, "--steps", "2").code == 0  # from the one before


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is not valid JSON"),
        ("[]", "has no 'version'"),
        ('{"version": 1}', "has no 'config'"),
        ('{"version": 9, "config": {}}', "is not a run configuration of this version"),
        ('{"version": 1, "config": {"model": 3}}', "model: must be a section of settings, not 3"),
        ('{"version": 1, "config": {"rollout": {"group_size": 1}}}', "rollout.group_size: must be at least 2"),
    ],
)
def test_damaged_configurations(cli: Cli, tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "runs/x").mkdir(parents=True)
    (tmp_path / "runs/x/config.json").write_text(content)
    refused(cli("status", "--run", "runs/x"), 1, "config.json", text, "put the file back as it was")


def test_an_event_that_is_none(cli: Cli, trained: Path) -> None:
    with open(trained / "events.jsonl", "a") as file:
        file.write('{"a": 1}\n[]\nhalf a li')
    assert cli("status", "--run", trained).code == 0


def test_json_errors_are_json(cli: Cli) -> None:
    result = cli("status", "--run", "foo", "--json")
    assert result.code == 1
    assert result.json["error"].startswith("no run at")


def test_an_error_nobody_thought_of_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("rsgrpo_cli.report.inspect.state", broken)
    refused(cli("status"), 1, "ZeroDivisionError: oops", "RSGRPO_DEBUG=1")


def test_a_ctrl_c_before_the_command_line_stands() -> None:
    program = """
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "rsgrpo_cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from rsgrpo_cli.__main__ import main
main()
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (130, "stopped at once; nothing had begun\n")

"""A researcher's first day: own data, own rewards, an interrupted run, a copied one, another model. Real processes.

Each test is one thing that a person does; the runs that several of them look at are made once for the module, and a
test that changes a run works on a copy of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.bundled import bundled_data

pytestmark = pytest.mark.day
STEPS = 12
MODELS = {"gpt2": {"n_embd": 48, "n_layer": 2, "n_head": 2, "n_positions": 128, "resid_pdrop": 0.1, "attn_pdrop": 0.1}}
REWARDS = '''
import re


def _value(completion):
    box = re.fullmatch(r"\\\\boxed\\{([0-9+*()-]+)\\}", completion.strip())
    try:
        return eval(box[1], {"__builtins__": {}}) if box else None
    except (SyntaxError, TypeError):
        return None


def right(completions, target, **columns):
    """1 for an expression with the value that the data set's own column `target` asks for."""
    return [int(_value(completion) == wanted) for completion, wanted in zip(completions, target)]


def near(completions, target, difficulty, **columns):
    """Nearer is better, and a completion without a value is left out."""
    values = [_value(completion) for completion in completions]
    return [
        None if value is None else -difficulty[i] * abs(value - target[i]) / 100 for i, value in enumerate(values)
    ]
'''
SMALL = ["--group-size", "4", "--prompts-per-step", "6", "--max-tokens", "20", "--lr", "0.001", "--workers", "1"]

Word = str | Path | int
Line = list[Word]


@dataclass(frozen=True)
class Shell:
    """A directory in which a person types commands."""

    path: Path

    def start(self, *arguments: Word) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "rsgrpo_cli", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.path, env=environment(self.path), stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: Word, code: int = 0) -> tuple[str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, f"{arguments}\n{out}\n{err}"
        assert "Traceback" not in err
        assert "this is a bug" not in err
        return out, err

    def json(self, *arguments: Word) -> Any:
        return json.loads(self.run(*arguments, "--json")[0].splitlines()[-1])


def environment(path: Path) -> dict[str, str]:
    """Offline, with the data sets of the documentation in a folder and its model in the Hub's cache."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("RSGRPO")}
    folders = {"HOME": str(path), "HF_HOME": str(path / "hub"), "RSGRPO_DATA_DIR": str(path / "data")}
    # The runs are the user's own, so the functions that they name may be called.
    return known | folders | {"RSGRPO_TRUST": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A directory with a file of one's own problems, two reward functions, and nothing else."""
    folder = tmp_path_factory.mktemp("day")
    (folder / "my_rewards.py").write_text(REWARDS)
    (folder / "bare.jinja").write_text("{{ problem }}")
    puzzles = read_puzzles("train", 40)
    odd: list[dict[str, Any]] = [
        {"problem": "Make 7 from 3 4.", "answer": None, "target": 7, "difficulty": 1},
        {"problem": "Make 9 from 4 5.", "answer": float("nan"), "target": 9, "difficulty": 1},
        {"problem": "", "answer": 5, "target": 5, "difficulty": 1},
    ]
    write_jsonl(folder / "mine.jsonl", [own_row(index, *puzzle) for index, puzzle in enumerate(puzzles)] + odd)
    write_jsonl(folder / "held_out.jsonl", [own_row(index, *p) for index, p in enumerate(read_puzzles("test", 10))])
    return Shell(folder)


def read_puzzles(split: str, count: int) -> list[tuple[str, int]]:
    lines = (bundled_data() / f"puzzles_{split}.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[:count]]
    return [(row["problem"], int(row["answer"].split("->")[1])) for row in rows]


def own_row(index: int, problem: str, target: int) -> dict[str, Any]:
    """A problem with its answer in one of the forms that people's files have."""
    forms: list[Any] = [
        target,
        str(target),
        f"${target}$",
        [str(target)],
        f"x = {target}",
        float(target),
        f"{target / 1000}e3",
    ]
    forms.append(f"First we look at the numbers. The answer is $\\boxed{{{target}}}$.")
    return {"problem": problem, "answer": forms[index % len(forms)], "target": target, "difficulty": index % 3 + 1}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


OWN = ["--dataset", "mine.jsonl", "--answer-column", "answer", "--prompt-template", "bare.jinja"]
HELD_OUT = ["--benchmark", "held_out.jsonl"]


@pytest.fixture(scope="module")
def run(shell: Shell) -> Path:
    """A run with an own 0/1 reward that was interrupted with Ctrl-C and gone on with."""
    train: Line = [
        "train",
        "--run",
        "runs/mine",
        *OWN,
        "--reward",
        "my_rewards:right",
        *SMALL,
        "--steps",
        STEPS,
    ]
    process = shell.start(*train, "--checkpoint-every", "10")
    wait_for(shell.path / "runs/mine/steps/000003/rewards/part-00000.parquet", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert not out
    saved = int(newest(shell.path / "runs/mine/checkpoints"))
    assert saved >= 3, "what was done before Ctrl-C is done again"
    assert "--run runs/mine" in err.splitlines()[-1]
    result = shell.json(*train, "--checkpoint-every", "1")
    assert result["policy"] == STEPS
    return shell.path / "runs/mine"


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while process.poll() is None and not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert path.exists(), process.communicate()[1] if process.poll() is not None else "it takes too long"


def newest(folder: Path) -> str:
    return max(path.name for path in folder.iterdir() if (path / "manifest.json").is_file())


@pytest.fixture
def copy(run: Path, shell: Shell, tmp_path: Path) -> Path:
    """A copy of the run that a test may do anything with."""
    return shutil.copytree(run, tmp_path / "copy")


# -- data -------------------------------------------------------------------------------------------------------------


def test_own_problems_are_taken_as_they_are_meant(shell: Shell) -> None:
    made = shell.json("prepare", "--run", "runs/golds", *OWN, "--reward", "math")
    assert made["prompts"] == 40
    assert made["without_answer"] == 2
    rows = pq.read_table(shell.path / "runs/golds/prompts.parquet").to_pylist()
    assert all(row["messages"][-1]["content"] == f"Make {target_of(row)} from {numbers_of(row)}." for row in rows)
    # Every form of the answer is met by the number itself.
    graded = shell.json("train", "--run", "runs/golds", *SMALL, "--steps", "1")
    assert graded["policy"] == 1
    check = "import sys, json; from rsgrpo_cli.rewards.math.reward import MathReward\n"
    check += "from rsgrpo_cli.rewards.types import Sample\npairs = json.load(sys.stdin)\n"
    check += "reward = MathReward(workers=1, deadline=10)\n"
    check += "print([v.reward for v in reward([Sample('\\\\boxed{%d}' % t, g) for g, t in pairs])]); reward.close()"
    pairs = json.dumps([(row["ground_truth"], int(target_of(row))) for row in rows])
    graded = subprocess.run([sys.executable, "-c", check], input=pairs, capture_output=True, text=True, check=True)
    assert json.loads(graded.stdout) == [1.0] * 40


def target_of(row: dict[str, Any]) -> str:
    return re.match(r"Make (\d+)", row["messages"][-1]["content"])[1]  # type: ignore[index]


def numbers_of(row: dict[str, Any]) -> str:
    return str(row["messages"][-1]["content"]).split("from ")[1].rstrip(".")


# -- training and looking ---------------------------------------------------------------------------------------------


def test_an_interrupted_run_is_the_run_that_was_not(run: Path, shell: Shell) -> None:
    train: Line = [
        "train",
        "--run",
        "runs/whole",
        *OWN,
        "--reward",
        "my_rewards:right",
        *SMALL,
        "--steps",
        STEPS,
    ]
    assert shell.json(*train, "--checkpoint-every", "1")["policy"] == STEPS
    weights = f"checkpoints/{STEPS:06d}/model.safetensors"
    assert (shell.path / "runs/whole" / weights).read_bytes() == (run / weights).read_bytes()


def test_a_reward_of_zeros_and_ones_has_pass_at_k(run: Path, shell: Shell) -> None:
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert all(row["pass@1"] == pytest.approx(row["reward_mean"]) and row["pass@G"] >= row["pass@1"] for row in rows)
    status = shell.json("status", "--run", run)
    assert (status["steps_done"], status["stale"]) == (STEPS, [])


def test_a_graded_reward_trains_and_evaluates(shell: Shell) -> None:
    train = ["train", "--run", "runs/graded", *OWN, "--reward", "my_rewards:near", *SMALL, "--steps", "2"]
    _, err = shell.run(*train, "--eval-every", "2", "--k", "1", "-n", "4", *HELD_OUT)
    shown = [line.split() for line in err.splitlines() if line.strip()[:1].isdigit()]
    assert len(shown) == 2
    assert newest(shell.path / "runs/graded/checkpoints") == "000002"
    rewards = pq.read_table(shell.path / "runs/graded/metrics.parquet")["reward_mean"].to_pylist()
    assert all(reward < 0 for reward in rewards)
    for look in ("status", "show --prompt 0", "report"):
        words = look.split()
        shell.run(*words, *(["runs/graded"] if look == "report" else ["--run", "runs/graded"]))


def test_everything_can_be_looked_at(run: Path, shell: Shell) -> None:
    for words in (
        ["status"],
        ["show", "--prompt", "0"],
        ["advantage", "--step", "3", "--compare", "grpo,rs_grpo:beta=8"],
    ):
        out, _ = shell.run(*words, "--run", run)
        assert out
        assert shell.json(*words, "--run", run)


# -- evaluating -------------------------------------------------------------------------------------------------------


def test_evaluations_grow_and_are_compared_at_equal_size(copy: Path, shell: Shell) -> None:
    evaluate: Line = ["eval", "--run", copy, *HELD_OUT, "--k", "1,4"]
    shell.run(*evaluate, "--policy", "0", "-n", "4")
    shell.run(*evaluate, "--policy", STEPS - 1, "-n", "8")
    large = shell.json(*evaluate, "-n", "16")
    small = shell.json(*evaluate, "-n", "4")
    assert small["sampled"] == 0
    summary = pq.read_table(copy / f"evals/{STEPS:06d}/held_out/summary.parquet").to_pylist()
    assert {row["n_samples"] for row in summary} == {16}, "a smaller evaluation has shrunk a larger one"
    out = shell.json("compare", f"{copy}@0", f"{copy}@{STEPS}", "--k", "1,4")
    assert out
    by_k = {row["k"]: row["value"] for row in large["summary"] if row["metric"] == "pass"}
    assert by_k[1] <= by_k[4]
    assert "held_out" in shell.run("status", "--run", copy)[0]


def test_another_policy_has_no_evaluation_of_the_old_one(copy: Path, shell: Shell) -> None:
    shell.run("eval", "--run", copy, *HELD_OUT, "--k", "1", "-n", "4")
    shell.run("update", "--run", copy, "--step", STEPS - 1, "--lr", "0.01", "--force")
    assert any("eval" in line for line in shell.json("status", "--run", copy)["stale"])
    shell.run("export", copy, "--out", copy / "model")
    assert "pass@1" not in (copy / "model/README.md").read_text()


# -- branching --------------------------------------------------------------------------------------------------------


def test_beta_changes_for_one_step_and_for_a_fork(run: Path, copy: Path, shell: Shell, tmp_path: Path) -> None:
    before = (copy / "steps/000003/advantages.parquet").read_bytes()
    shell.run("advantage", "--run", copy, "--step", "3", "--beta", "8", "--tag", "beta8")
    assert (copy / "steps/000003/advantages.parquet").read_bytes() == before
    shell.run("fork", tmp_path / "fork", "--run", copy, "--step", STEPS - 1, "--beta", "8", "--steps", STEPS + 1)
    result = shell.json("train", "--run", tmp_path / "fork")
    assert result["policy"] == STEPS + 1
    betas = pq.read_table(tmp_path / "fork/metrics.parquet")["beta"].to_pylist()
    assert betas[: STEPS - 1] != [8.0] * (STEPS - 1)
    assert betas[STEPS - 1 :] == [8.0, 8.0]
    assert content(run) == content(copy, without="advantages.beta8.parquet")


def content(run: Path, without: str = "lock") -> dict[str, bytes]:
    files = [path for path in run.rglob("*") if path.is_file()]
    timed = {"events.jsonl", "lock", "run.log", without}
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files if path.name not in timed}


# -- carrying away ----------------------------------------------------------------------------------------------------


def test_an_export_loads_in_plain_transformers(run: Path, shell: Shell, tmp_path: Path) -> None:
    shell.run("export", run, "--out", tmp_path / "model")
    code = f"""
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained({str(tmp_path / "model")!r})
tokenizer = AutoTokenizer.from_pretrained({str(tmp_path / "model")!r})
chat = [{{"role": "user", "content": "Make 24 from 3 8."}}]
ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=16, do_sample=False)[0]))
"""
    env = environment(shell.path)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert "boxed" in made.stdout


def test_config_and_checkpoints_alone_are_enough(run: Path, shell: Shell, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(run / "config.json", away)
    shutil.copytree(run / "checkpoints", away / "checkpoints")
    (away / "NOTES.txt").write_text("from the cluster")
    before = content(away)
    _, err = shell.run("eval", "--run", away, "--benchmark", "nosuch.jsonl", code=1)
    assert "nosuch.jsonl" in err
    assert before.items() <= content(away).items(), "a mistyped command has deleted something"
    shell.run("eval", "--run", away, *HELD_OUT, "--k", "1", "-n", "4")
    shell.run("export", away, "--out", tmp_path / "model")
    shell.run("status", "--run", away)
    assert shell.json("train", "--run", away, "--steps", STEPS + 2)["policy"] == STEPS + 2
    assert (away / "NOTES.txt").is_file()


def test_old_rollouts_can_be_deleted(copy: Path, shell: Shell) -> None:
    for step in range(STEPS - 2):
        shutil.rmtree(copy / f"steps/{step:06d}/rollouts")
    shell.run("status", "--run", copy)
    shell.run("eval", "--run", copy, *HELD_OUT, "--k", "1", "-n", "4")
    assert shell.json("train", "--run", copy, "--steps", STEPS + 3)["policy"] == STEPS + 3
    rows = pq.read_table(copy / "metrics.parquet").to_pylist()
    assert [row["step"] for row in rows] == list(range(STEPS + 3))


# -- another model ----------------------------------------------------------------------------------------------------


def test_a_model_with_dropout_is_trained_as_it_is_sampled(shell: Shell) -> None:
    make_model("gpt2", shell.path / "gpt2")
    train = ["train", "--model", "gpt2", *SMALL, "--steps", "3", "--checkpoint-every", "1", "--beta", "4"]
    own = [*OWN, "--reward", "my_rewards:near", "--minibatches", "2"]
    for name in ("runs/gpt2-a", "runs/gpt2-b"):
        shell.run(*train, *own, "--run", name)
    metrics = pq.read_table(shell.path / "runs/gpt2-a/steps/000000/update_metrics.parquet").to_pylist()
    assert metrics[0]["logprob_diff_max"] < 1e-5
    pair = [shell.path / f"runs/gpt2-{name}/checkpoints/000003/model.safetensors" for name in "ab"]
    assert pair[0].read_bytes() == pair[1].read_bytes()


def make_model(kind: str, folder: Path) -> None:
    """A tiny random model of another architecture with the bundled model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    ids = {"vocab_size": 27, "eos_token_id": 1, "bos_token_id": None, "pad_token_id": 0}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **MODELS[kind], **ids))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 0
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bundled_data() / "model").save_pretrained(folder)

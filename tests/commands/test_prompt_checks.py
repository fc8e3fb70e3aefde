"""What is wrong with a model's reading of the prompts comes out before anything is sampled."""

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.pipeline import session
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import ROLLOUTS
from tests.conftest import Cli

TINY = ["--group-size", "2", "--prompts-per-step", "2", "--max-tokens", "8"]
EACH = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}{{ '<|assistant|>' }}"
CLOCK = EACH + "{{ strftime_now('%d%m') }}"
USERS = "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}{% endif %}{% endfor %}"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('system not supported') }}{% endif %}" + EACH
ROWS = '{"problem": "3+4", "answer": "7"}\n{"problem": "1+1", "answer": "2"}\n'

Model = Callable[..., Path]


@pytest.fixture
def model(cli: Cli, tmp_path: Path) -> Model:
    """The bundled model in a directory of its own, with another template or another configuration."""

    def make(template: str | None = None, **config: Any) -> Path:
        folder = tmp_path / "m"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(model_directory("toy"), folder)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template)
        settings = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(settings))
        (tmp_path / "a.jsonl").write_text(ROWS)
        return folder

    return make


@pytest.mark.parametrize(
    ("template", "flags", "message", "hint"),
    [
        (USERS, ["--set", "prepare.instruction_role=system"], "leaves out the system turn", "instruction_role=user"),
        (USERS, ["--system-prompt", "3"], "leaves out the system turn", "leave the system prompt out"),
        (NO_SYSTEM, ["--system-prompt", "3"], "refuses a prompt: system not supported", "leave the system prompt out"),
        (NO_SYSTEM, ["--set", "prepare.instruction_role=system"], "system not supported", "instruction_role=user"),
    ],
)
def test_a_turn_that_does_not_reach_the_model(
    cli: Cli, model: Model, template: str, flags: list[str], message: str, hint: str
) -> None:
    model(template)
    result = cli("prepare", "--model", "m", "--run", "a", "--dataset", "a.jsonl", *flags)
    assert (result.code, message in result.err, hint in result.err) == (1, True, True), result.err
    assert cli("prepare", "--model", "m", "--run", "b", "--dataset", "a.jsonl").code == 0


def test_positions_that_are_not_enough_are_said_by_every_command(cli: Cli, model: Model, tmp_path: Path) -> None:
    model(model_type="gpt2", max_position_embeddings=24, rope_parameters=None, n_embd=48, n_head=2, n_layer=2)
    common = ["--model", "m", "--run", "a", "--set", "rollout.max_tokens=32"]
    for command in (["prepare"], ["train", "--steps", "1", "--group-size", "2"]):
        result = cli(*command, *common)
        assert result.code == 2
        assert "with rollout.max_tokens 32 it does not fit the model's 24 positions" in result.err
        assert "--set rollout.max_tokens=" in result.err
    assert "positions: 24, and a completion leaves none of them" in cli("plan", *common[:2], "--max-tokens", "32").out
    result = cli("eval", "--model", "m", "--run", "b", "--benchmark", "toy", "--max-tokens", "32", "--k", "1")
    assert (result.code, "with eval.max_tokens 32" in result.err) == (2, True)
    assert not (tmp_path / "runs" / "a").exists()
    # The way out that is named is one.
    fits = result.err.partition("eval.max_tokens=")[2].split()[0]
    assert cli("prepare", *common[:-2], "--set", f"rollout.max_tokens={fits}", "--run", "c").code == 0


def test_positions_beyond_those_trained_are_warned_of_once(cli: Cli, model: Model) -> None:
    model()
    result = cli("train", "--model", "m", "--run", "a", "--steps", "1", *TINY[:-2], "--max-tokens", "120")
    assert result.code == 0, result.err
    assert result.err.count("goes beyond the model's 128 positions, where it was not trained") == 1


def test_a_single_stage_with_longer_completions_is_checked_too(cli: Cli, model: Model) -> None:
    model()
    assert cli("prepare", "--model", "m", "--run", "a", "--set", "rollout.max_tokens=8").code == 0
    result = cli("rollout", "--run", "a", "--max-tokens", "126", *TINY[:-2])
    assert "goes beyond the model's 128 positions" in result.err


def test_an_encoder_is_refused_before_it_is_loaded(cli: Cli, model: Model) -> None:
    folder = model(model_type="bert", architectures=["BertLMHeadModel"])
    (folder / "model.safetensors").write_bytes(b"nothing that loads")
    result = cli("train", "--model", "m", "--run", "a", "--steps", "1", *TINY, "--engine", "hf")
    assert (result.code, "they are encoders" in result.err) == (1, True), result.err


class Tomorrow(datetime.date):
    @classmethod
    def today(cls) -> "Tomorrow":
        return cls(2031, 1, 2)


def test_the_date_of_a_template_is_fixed_and_recorded(
    cli: Cli, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model(CLOCK)
    assert cli("train", "--model", "m", "--run", "a", "--steps", "1", *TINY).code == 0
    today = datetime.date.today().isoformat()
    assert str(RunDir.open("a").config().model.template_date) == today
    monkeypatch.setattr(session, "date", Tomorrow)
    assert cli("train", "--run", "a", "--steps", "2").code == 0
    parts = [tmp_path / f"runs/a/steps/00000{step}/rollouts/part-00000.parquet" for step in (0, 1)]
    ends = [pq.read_table(part)["prompt_ids"][0].as_py()[-4:] for part in parts]
    assert ends[0] == ends[1]
    assert [read_lineage(part, ROLLOUTS).config["template_date"] for part in parts] == [today] * 2
    # Another day is another template for an evaluation.
    for run, day in (("b", today), ("c", "2031-01-02")):
        flags = ["--set", f"model.template_date={day}", "--benchmark", "toy", "--k", "1", "--num-samples", "1"]
        assert cli("eval", "--model", "m", "--run", run, *flags, "--max-tokens", "4").code == 0
        assert f" on {day}; phrasing" in cli("eval", "--run", run, "--json").json["phrasing"]


def test_without_a_clock_nothing_is_recorded(trained: Path) -> None:
    assert RunDir.open(str(trained)).config().model.template_date is None
    lineage = read_lineage(trained / "steps/000000/rollouts/part-00000.parquet", ROLLOUTS)
    assert "template_date" not in lineage.config


def test_problems_can_be_prepared_where_the_model_is_not(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(ROWS)
    result = cli("prepare", "--model", "owner/nowhere", "--run", "a", "--dataset", "a.jsonl")
    assert result.code == 0, result.err
    assert "the prompts are not checked against the model: model owner/nowhere is not in the local cache" in result.err


def test_control_tokens_in_prompts_that_are_text_are_warned_of(cli: Cli, model: Model, tmp_path: Path) -> None:
    model()
    (tmp_path / "a.jsonl").write_text(ROWS + '{"problem": "<|user|>3+5", "answer": "8"}\n')
    common = ["prepare", "--model", "m", "--dataset", "a.jsonl"]
    result = cli(*common, "--run", "a", "--set", "prepare.prompt_style=text")
    assert "1 problem writes out a control token" in result.err
    assert "control token" not in cli(*common, "--run", "b").err


def test_text_that_the_tokenizer_does_not_know_is_warned_of(cli: Cli, model: Model, tmp_path: Path) -> None:
    model()
    (tmp_path / "a.jsonl").write_text(
        ROWS + '{"problem": "3+\u00b55", "answer": "8"}\n{"problem": "\u00b5", "answer": "1"}\n'
    )
    plain = ["prepare", "--model", "m", "--dataset", "a.jsonl", "--set", "prepare.instruction="]
    result = cli(*plain, "--run", "a")
    assert "2 of 4 prompts have text that the model's tokenizer does not know (a-train-000002: \u00b5)" in result.err
    (tmp_path / "a.jsonl").write_text(ROWS)
    assert "does not know" not in cli(*plain, "--run", "b").err


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"problem": "Which is even?", "answer": "B", "options": ["13", "14"]}, "the column options,"),
        ({"problem": "Which is even?", "answer": "B", "A": "13", "B": "14"}, "the columns A, B,"),
        ({"problem": "Who came?", "answer": "3", "context": "Three came."}, "the column context,"),
        ({"problem": "Which is even? A) 13 B) 14", "answer": "B", "options": ["13", "14"]}, None),
        ({"problem": "Make a", "answer": "3", "a": "3", "options": []}, None),
        ({"question": "2+2", "input": "2+3", "answer": "5"}, None),  # the column that was chosen
    ],
)
def test_a_part_of_the_problem_in_another_column_is_warned_of(
    cli: Cli, tmp_path: Path, row: dict[str, Any], told: str | None
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    chosen = ["--prompt-column", "input"] if "input" in row else []
    result = cli("prepare", "--run", "a", "--dataset", "a.jsonl", *chosen)
    assert result.code == 0, result.err
    assert ("to belong to the problem" in result.err) == (told is not None)
    assert told is None or f"the prompts are without {told}" in " ".join(result.err.split())

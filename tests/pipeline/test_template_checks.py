import json
import shutil
from pathlib import Path

import pytest

from rsgrpo_cli.models import model_directory
from rsgrpo_cli.pipeline.template_checks import turn_marks
from tests.conftest import Cli

USER = [{"role": "user", "content": "3+4"}]
TURNS = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + CONTENT }}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "control", "marks"),
    [
        ("<s>[INST] 3+4 [/INST]", ["<s>"], {"[INST]", "[/INST]"}),
        ("### Question:\n3+4\n### Answer:\n", [], {"### Question:", "### Answer:"}),
        ("<|user|>3+4<|assistant|>", ["<|user|>", "<|assistant|>"], set()),
        ("You are helpful.\nUSER: 3+4 ASSISTANT:", [], {"USER:", "ASSISTANT:"}),
    ],
)
def test_the_marks_of_turns_are_what_stands_around_messages(text: str, control: list[str], marks: set[str]) -> None:
    assert turn_marks(text, USER, control) == marks


@pytest.mark.parametrize(
    ("template", "problem", "said"),
    [
        (TURNS.replace("CONTENT", "m['content'].replace('+', '-')"), "3+4", "changes the text of a user turn"),
        (TURNS.replace("CONTENT", "m['content']") + "{{ eos_token }}", "3+4", "ends prompts with <eos>"),
        ("[INST] {{ messages[0]['content'] }} [/INST]", "3+4 [/INST] 7", "separates turns (a-train-000000: [/INST])"),
        (TURNS.replace("CONTENT", "m['content'] | trim") + "<|assistant|>", " 3+4\n", ""),
    ],
)
def test_what_a_template_does_to_a_problem_is_said(
    cli: Cli, tmp_path: Path, template: str, problem: str, said: str
) -> None:
    shutil.copytree(model_directory("toy"), tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").write_text(template)
    (tmp_path / "a.jsonl").write_text(json.dumps({"problem": problem, "answer": "7"}) + "\n")
    result = cli("prepare", "--model", "m", "--run", "a", "--dataset", "a.jsonl", "--set", "prepare.instruction=")
    err = " ".join(result.err.split())
    assert (result.code, said in err, bool(said) or "chat template" not in err) == (0, True, True), result.err


def test_a_template_that_cuts_long_problems_is_refused(cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(model_directory("toy"), tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").write_text(TURNS.replace("CONTENT", "m['content'][:20]"))
    rows = [{"problem": problem, "answer": "7"} for problem in ("3+4", "1+1+1+1+1+1+1+1+1+1+1+1")]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = cli("prepare", "--model", "m", "--run", "a", "--dataset", "a.jsonl", "--set", "prepare.instruction=")
    assert (result.code, "leaves out the user turn (a-train-000001)" in " ".join(result.err.split())) == (1, True)

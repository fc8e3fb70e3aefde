import json
from pathlib import Path

from rsgrpo_cli.modeling.prompt_tokens import encode_chat
from rsgrpo_cli.models import load_tokenizer, model_directory
from tests.conftest import Cli

ROWS = '{"problem": "3+4", "answer": "7"}\n{"problem": "1+1", "answer": "2"}\n{"problem": "2+2", "answer": "4"}\n'


def test_prompts_are_printed_as_the_model_reads_them(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(ROWS)
    flags = [
        "--run",
        "a",
        "--dataset",
        "a.jsonl",
        "--set",
        "prepare.instruction=",
        "--set",
        "prepare.decontaminate=off",
    ]
    first = cli("prepare", *flags, "--show", "2", "--token-ids")
    assert first.code == 0, first.err
    tokenizer = load_tokenizer(model_directory("toy"))
    ids = encode_chat(tokenizer, [{"role": "user", "content": "3+4"}])
    assert first.out.splitlines()[1:5] == [
        f"--- a-train-000000: {len(ids)} tokens, reference answer 7",
        "<|user|>3+4<|assistant|>",
        "--- the completion begins here",
        f"token ids: {' '.join(map(str, ids))}",
    ]
    assert "a-train-000001" in first.out
    assert "a-train-000002" not in first.out
    # A run that is prepared already shows the same.
    again = json.loads(cli("prepare", "--run", "a", "--show", "1", "--token-ids", "--json").out)
    assert (again["skipped"], [prompt["token_ids"] for prompt in again["shown"]]) == (True, [ids])
    assert again["shown"][0]["text"] == "<|user|>3+4<|assistant|>"


def test_token_ids_need_show(cli: Cli) -> None:
    result = cli("prepare", "--run", "a", "--token-ids")
    assert (result.code, "--show 3 --token-ids" in result.err) == (2, True)

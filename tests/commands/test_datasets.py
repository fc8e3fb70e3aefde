"""Datasets known by name, several benchmarks at once and prompt templates, from the command line."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.commands.typed import num_samples
from rsgrpo_cli.core.intervals import bootstrap_macro_interval
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.pipeline.preparation import SPARE_ROWS
from tests.conftest import SMALL, Cli

SUM = "Compute {0}+{1}."


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def sums(count: int, first: int = 0) -> list[dict[str, Any]]:
    pairs = [divmod(number, 10) for number in range(first, first + count)]
    return [{"problem": SUM.format(a, b), "answer": a + b} for a, b in pairs]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two stand-ins for competitions, of sums that the bundled model can read."""
    monkeypatch.setenv("RSGRPO_DATA_DIR", str(tmp_path / "data"))
    write(tmp_path / "data/aime24.jsonl", sums(30))
    write(tmp_path / "data/aime25.jsonl", sums(30, first=40))
    return tmp_path / "data"


def test_a_limit_reads_no_more_rows_than_give_so_many_problems(cli: Cli, tmp_path: Path) -> None:
    no_answer = [{"problem": f"Compute {number}.", "answer": ""} for number in range(SPARE_ROWS + 50)]
    write(tmp_path / "a.jsonl", [*no_answer, *sums(5), *sums(5), *sums(20, first=5)])
    for name, more in (("whole", ""), ("broken", "not a row\n" * 10_000)):
        with open(tmp_path / "a.jsonl", "a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in no_answer * 4) + more)
        limited = ["prepare", "--run", f"runs/{name}", "--dataset", "a.jsonl", "--limit", "8", "--json"]
        made = cli(*limited)
        assert (made.code, made.json["prompts"], made.json["duplicates"]) == (0, 8, 5), made.err
    kept = [pq.read_table(tmp_path / "runs" / name / "prompts.parquet") for name in ("whole", "broken")]
    assert kept[0].equals(kept[1])
    assert kept[0]["prompt_id"].to_pylist()[4:6] == [f"a-train-{SPARE_ROWS + 50 + row:06d}" for row in (4, 10)]
    refused = cli("prepare", "--run", "runs/x", "--dataset", "a.jsonl", "--limit", "26")
    assert (refused.code, "is not JSON" in refused.err) == (1, True)


def test_the_list(cli: Cli) -> None:
    listed = cli("datasets", "--json").json["datasets"]
    found = {(row["name"], row["use"]): row["rows"] for row in listed}
    assert found["gsm8k", "training"] == 7473
    assert found["toy", "evaluation"] == 256
    assert "HuggingFaceH4/MATH-500" in cli("datasets").out


def test_a_benchmark_that_cannot_be_had(cli: Cli, data: Path) -> None:
    result = cli("eval", "--model", "toy", "--benchmark", "aime24,hmmt_feb24", "-n", "2", "--k", "1")
    assert (result.code, "has no hmmt_feb24.jsonl, the file of hmmt_feb24" in result.err) == (1, True)
    assert not Path("runs/eval-toy").exists()  # found out before anything was sampled
    write(data / "aime24.jsonl", sums(29))
    result = cli("prepare", "--run", "runs/x", "--dataset", "aime24")
    assert (result.code, "has 29 rows and aime24 (test) has 30" in result.err) == (1, True)


def test_several_benchmarks_at_once(cli: Cli, data: Path) -> None:
    arguments = ["eval", "--model", "toy", "--benchmark", "aime24,aime25", "--k", "1", "-n", "2,aime25=3"]
    result = cli(*arguments, "--set", "prepare.instruction=", "--set", "eval.max_tokens=8", "--json")
    assert result.code == 0, result.err
    assert [(one["benchmark"], one["sampled"]) for one in result.json["benchmarks"]] == [
        ("aime24", 60),
        ("aime25", 90),
    ]
    tables = [pq.read_table(f"runs/eval-toy/evals/000000/{name}/problems.parquet") for name in ("aime24", "aime25")]
    shares = [np.array(t["correct"]) / np.array(t["n"]) for t in tables]
    first = result.json["macro"][0]
    assert (first["k"], first["n_problems"], first["n_samples"]) == (1, 60, 2)
    assert 0 < first["value"] == pytest.approx((shares[0].mean() + shares[1].mean()) / 2)
    interval = bootstrap_macro_interval(shares)
    assert (first["ci_low"], first["ci_high"]) == pytest.approx((interval.low, interval.high))
    errors = [one["summary"] for one in result.json["benchmarks"]]
    squares = [next(r["sampling_error"] for r in rows if (r["metric"], r["k"]) == ("pass", 1)) ** 2 for rows in errors]
    assert first["sampling_error"] == pytest.approx(math.sqrt(sum(squares)) / 2)
    shown = cli(*arguments, "--set", "prepare.instruction=", "--set", "eval.max_tokens=8")
    assert "macro mean of 2 benchmarks, 60 problems" in shown.out
    assert "no instruction added" in shown.out


def test_a_k_that_one_of_them_has_too_few_samples_for(cli: Cli, data: Path) -> None:
    asked = ["eval", "--model", "toy", "--benchmark", "aime24,aime25", "--k", "1,8"]
    result = cli(*asked, "-n", "8,aime25=4", "--set", "eval.max_tokens=8", "--set", "prepare.instruction=", "--json")
    assert result.code == 0, result.err
    ks = [{row["k"] for row in one["summary"] if row["metric"] == "maj"} for one in result.json["benchmarks"]]
    assert ks == [{1, 8}, {1}]
    assert [row["k"] for row in result.json["macro"]] == [1]
    result = cli("eval", "--model", "toy", "--benchmark", "aime24,aime25", "--k", "8", "-n", "8,aime25=4")
    assert result.code == 2
    assert "pass@8 needs at least 8 samples per problem of aime25, not 4: use --num-samples aime25=8" in result.err
    result = cli(*asked, "-n", "8,aime52=8")
    assert (result.code, "names aime52, which is not evaluated" in result.err) == (2, True)
    result = cli("train", *asked[3:5], "--k", "1", "-n", "8,aime52=8", "--eval-every", "1", "--run", "runs/x")
    assert (result.code, "names aime52, which is not evaluated" in result.err) == (2, True)
    assert not Path("runs/x").exists()
    result = cli(*asked[:4], "aime24,aime24", "-n", "8", "--k", "1")
    assert (result.code, "two benchmarks are called aime24" in result.err) == (2, True)


def test_how_many_samples() -> None:
    assert num_samples("32") == 32
    assert num_samples("1024,math500=64") == {"default": 1024, "math500": 64}
    assert num_samples("math500=64") == {"math500": 64}
    for text in ("x", "1,2", "math500", "math500=", "=3x", ""):
        with pytest.raises(UsageError, match="--num-samples"):
            num_samples(text)


def test_training_evaluates_on_all_of_them(cli: Cli, data: Path) -> None:
    flags = ["--dataset", "sums", "--benchmark", "aime24,aime25", "--eval-every", "1", "-n", "2", "--k", "1"]
    result = cli("train", "--run", "runs/x", "--steps", "1", *flags, *SMALL)
    assert result.code == 0, result.err
    assert {path.parent.name for path in Path("runs/x/evals/000001").glob("*/summary.parquet")} == {"aime24", "aime25"}
    assert "policy 1 on aime24: pass@1" in result.err


def test_a_benchmark_that_training_cannot_have_stops_it_before_the_first_step(cli: Cli, data: Path) -> None:
    flags = ["--dataset", "sums", "--benchmark", "aime24,hmmt_feb24", "--eval-every", "5", "-n", "2", "--k", "1"]
    result = cli("train", "--run", "runs/x", "--steps", "1", *flags, *SMALL)
    assert (result.code, "the file of hmmt_feb24" in result.err) == (1, True)
    assert not Path("runs/x/steps").exists()


def test_training_problems_that_stand_in_a_benchmark(cli: Cli, data: Path) -> None:
    known = "What is the sum of all the whole numbers from one to ten?"
    write(data / "aime24.jsonl", [{"problem": known, "answer": 55}, *sums(29)])
    write(Path("mine.jsonl"), [{"problem": f"Tell me. {known}", "answer": 55}, *sums(20, first=60)])
    flags = ["--dataset", "mine.jsonl", "--benchmark", "aime24"]
    result = cli("prepare", "--run", "runs/x", *flags, "--json")
    assert (result.json["prompts"], result.json["overlap"]) == (21, {"aime24": 1})
    assert "aime24: 1 of 30 problems is in mine (#1); the 1 training problems are kept" in result.err
    result = cli("prepare", "--run", "runs/y", *flags, "--set", "prepare.decontaminate=drop", "--json")
    assert (result.json["prompts"], result.json["in_benchmarks"]) == (20, 1)
    # What a policy was trained on is said again when it is evaluated.
    assert cli("train", "--run", "runs/z", "--steps", "1", *flags, *SMALL).code == 0
    measured = ["eval", "--run", "runs/z", "--set", "eval.max_tokens=4", "-n", "1", "--k", "1"]
    said = "1 of 30 problems of aime24 are in the training data"
    assert said in cli(*measured).err
    assert said not in cli(*measured, "--policy", "0").err


def test_a_sample_is_called_one(cli: Cli, data: Path) -> None:
    write(data / "math12k_sample.jsonl", sums(5))
    result = cli("prepare", "--run", "runs/x", "--dataset", "math12k")
    assert (result.code, "math12k: a sample of 5 of 12000 rows" in result.err) == (0, True)


def test_a_template_from_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.j2").write_text("Q: {{ problem }}\nA:", encoding="utf-8-sig")  # the mark reaches no model
    template = ["--prompt-template", "mine.j2"]
    assert cli("prepare", "--run", "runs/x", "--dataset", "sums", *template, "--limit", "3").code == 0
    prompt = pq.read_table("runs/x/prompts.parquet")["messages"][0].as_py()[0]["content"]
    assert prompt.startswith("Q: Compute ")
    assert prompt.endswith("\nA:")
    # The run has the text, not the file's name.
    (tmp_path / "mine.j2").unlink()
    assert "nothing to do" in cli("prepare", "--run", "runs/x").out
    result = cli("prepare", "--run", "runs/y", *template)
    assert (result.code, "no template file at mine.j2" in result.err) == (1, True)


def test_long_prompts(cli: Cli) -> None:
    # In the bundled chat template, 254 of the 384 sums have 9 tokens and the others 11.
    limit = ["prepare", "--dataset", "sums", "--max-prompt-tokens"]
    made = cli(*limit, "10", "--run", "runs/x", "--json").json
    assert (made["prompts"], made["too_long"]) == (254, 130)
    assert cli(*limit, "9", "--run", "runs/y", "--limit", "5", "--json").json["prompts"] == 5
    result = cli(*limit, "8", "--run", "runs/z")
    assert (result.code, "every prompt of dataset sums (train) is too long" in result.err) == (1, True)


def test_what_was_prepared_is_enough_to_go_on(cli: Cli, data: Path) -> None:
    write(data / "math12k_sample.jsonl", sums(20))
    flags = ["--dataset", "math12k", "--steps", "1", *SMALL]
    assert cli("train", "--run", "runs/x", *flags).code == 0
    (data / "math12k_sample.jsonl").unlink()
    result = cli("train", "--run", "runs/x", "--steps", "2")
    assert (result.code, "using the problems prepared before" in result.err) == (0, True), result.err
    result = cli("prepare", "--run", "runs/x", "--force")
    assert (result.code, "has no math12k.jsonl" in result.err) == (1, True)


def test_chats_that_ask_for_no_box_or_for_another_form(cli: Cli, tmp_path: Path) -> None:
    texts = ["Compute 1+1.", "Compute 1+2.", "Compute 1+3.\nEnd with a line of the form Answer: x"]
    rows = [{"prompt": [{"role": "user", "content": text}], "answer": 2 + row} for row, text in enumerate(texts)]
    write(tmp_path / "chats.jsonl", rows)
    flags = ["prepare", "--model", "toy", "--dataset", "chats.jsonl"]
    result = cli(*flags, "--run", "runs/x")
    assert r"that do not ask for \boxed{}, in which answers are graded: 2 of 3; to ask for it: --set" in result.err
    assert r"another form of answer than \boxed{}, in which answers are graded: 1 of 3;" in result.err
    assert "3 prompts (2 that ask for no box, 1 that ask for another form than a box)" in result.out
    (setting,) = re.findall(r"to ask for it: --set (prepare\.instruction)='(.*)'", result.err)
    mended = cli(*flags, "--run", "runs/y", "--set", "=".join(setting), "--json")
    assert (mended.code, mended.json.get("without_box"), mended.json["other_form"]) == (0, None, 1)


def test_a_folder_without_the_split_or_the_configuration(cli: Cli, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "several" / f"{name}.jsonl", sums(3))
    parts = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("a", "b"))
    (tmp_path / "several/README.md").write_text(f"---\nconfigs:\n{parts}---\n")
    write(tmp_path / "one/test.jsonl", sums(3))
    prepare = ["prepare", "--model", "toy", "--run", "runs/x", "--dataset"]
    for dataset, ways in (("several", "several:a, several:b"), ("several:c", "several:a, several:b")):
        refused = cli(*prepare, dataset)
        assert (refused.code, f"write one of: {ways}\n" in refused.err) == (2, True), refused.err
    refused = cli(*prepare, "several:a/test")
    assert (refused.code, "write one of: several:a/train\n" in refused.err) == (2, True), refused.err
    assert "write one of: one:/test\n" in cli(*prepare, "one").err
    assert cli(*prepare, "one:/test", "--json").json["prompts"] == 3


def test_a_template_that_asks_for_no_box(cli: Cli, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", sums(3))
    flags = ["prepare", "--model", "toy", "--dataset", "a.jsonl", "--prompt-template", "mine.j2"]
    (tmp_path / "mine.j2").write_text("Question: {{ problem }}\nAnswer:")
    assert "3 of 3; write {{ instruction }} in the prompt template\n" in cli(*flags, "--run", "runs/x").err
    (tmp_path / "mine.j2").write_text("Question: {{ problem }}\n{{ instruction }}\nAnswer:")
    assert "boxed" not in cli(*flags, "--run", "runs/y").err


def test_an_evaluation_says_which_rows_of_a_benchmark_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    gaps = [{"problem": "Compute 7+7.", "answer": answer} for answer in (None, "notfound")]
    write(tmp_path / "a.jsonl", [*sums(3), sums(1)[0] | {"answer": "99"}, *gaps])
    result = cli("eval", "--run", "runs/x", "--model", "toy", "--benchmark", "a.jsonl", "-n", "1", "--max-tokens", "4")
    left_out = "2 without answer, 1 duplicate (1 with a different answer from the one kept)"
    assert (result.code, f"warning: a: rows left out: {left_out}\n" in result.err) == (0, True), result.err

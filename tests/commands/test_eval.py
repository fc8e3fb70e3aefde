import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.pipeline.keeping import prune
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.run.locks import in_use
from rsgrpo_cli.run.run_dir import RunDir
from tests.conftest import Cli


def parts(folder: str) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(Path(folder).glob("part-*.parquet"))}


def test_topping_up_samples_only_what_is_missing(cli: Cli, trained: Path) -> None:
    folder = f"{trained}/evals/000002/toy"
    first = cli("eval", "--run", trained, "-n", "2", "--k", "1", "--json").json
    before = parts(f"{folder}/rollouts")
    second = cli("eval", "--run", trained, "-n", "4", "--k", "1,4", "--json").json
    assert (first["sampled"], second["sampled"]) == (256 * 2, 256 * 2)
    after = parts(f"{folder}/rollouts")
    assert before.items() <= after.items()  # untouched
    assert parts(f"{folder}/rewards").keys() == after.keys()
    # An evaluation only grows: the summary goes on to cover all that is there, for all k that were asked for.
    third = cli("eval", "--run", trained, "-n", "2", "--k", "1,2", "--json").json
    assert (third["sampled"], third["num_samples"]) == (0, 4)
    assert [row for row in third["summary"] if (row["metric"], row["k"]) != ("maj", 2)] == second["summary"]
    assert [row["k"] for row in third["summary"] if row["metric"] == "maj"] == [1, 2, 4]
    said = cli("eval", "--run", trained, "-n", "2", "--k", "1,2").out
    assert "2 samples per problem were asked for, and 4 are there: the numbers are of all of them" in said


def test_a_file_has_its_number_of_samples_by_each_of_its_names(cli: Cli, trained: Path) -> None:
    rows = [{"problem": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(2)]
    for name in ("kurz", "groß"):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    on = ("eval", "--run", trained, "--benchmark", "./kurz.jsonl,groß.jsonl", "--k", "1")
    made = cli(*on, "-n", "1,kurz.jsonl=2,groß=3", "--json").json["benchmarks"]
    assert [one["num_samples"] for one in made] == [2, 3]
    for numbers, told in (("kurze=2", "names kurze, which is not evaluated"), ("kurz=2,kurz.jsonl=3", "two numbers")):
        refused = cli(*on, "-n", f"1,{numbers}")
        assert (refused.code, told in refused.err) == (2, True)
    # Its evaluations are called kurz; what they are read from is told, as a command that works.
    refused = cli("eval", "--run", trained, "--benchmark", "kurz", "-n", "2", "--k", "1")
    assert (refused.code, "kurz is what the evaluations on ./kurz.jsonl are called" in refused.err) == (2, True)
    hint = refused.err.partition("give that: rsgrpo ")[2].split()
    assert cli(*hint, "-n", "2", "--k", "1").code == 0


def test_an_evaluation_in_two_goes_equals_one_in_one(cli: Cli, trained: Path) -> None:
    for samples in ("1", "4"):
        assert cli("eval", "--run", trained, "-n", samples, "--k", "1").code == 0
    assert cli("eval", "--run", trained, "-n", "4", "--k", "1", "--tag", "once").code == 0
    twice, once = (pq.read_table(f"{trained}/evals/000002/{name}/problems.parquet") for name in ("toy", "toy.once"))
    assert twice.equals(once)


def test_what_is_printed(cli: Cli, trained: Path) -> None:
    result = cli("eval", "--run", trained, "-n", "8", "--k", "1,8")
    assert "toy: 256 problems, 8 samples each, temperature 1, top_p 1" in result.out
    for text in ("pass@1", "pass@8", "maj@8", "± sampling", "95% over problems", "status wrong", "distinct answers"):
        assert text in result.out
    summary = pq.read_table(f"{trained}/evals/000002/toy/summary.parquet").to_pylist()
    assert [row["k"] for row in summary if row["metric"] == "pass"] == [1, 2, 4, 8]


@pytest.mark.parametrize("more", [["--benchmark", "toy"], ["--benchmark", "toy,sums"], ["--interpolate", "0.5"]])
def test_too_many_timeouts_are_an_error_behind_the_numbers(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    command = ["eval", "--run", trained, "-n", "2", "--k", "1", *more]
    assert cli(*command).code == 0
    own = Evaluation.value

    def many_timeouts(one: Evaluation, metric: str, k: int | None = None) -> dict[str, Any] | None:
        return {"value": 0.25} if metric == "status_timeout" else own(one, metric, k)

    monkeypatch.setattr(Evaluation, "value", many_timeouts)
    result = cli(*command)
    assert (result.code, "pass@1" in result.out) == (1, True)
    assert "25.0% of the answers timed out in the verifier" in result.err
    told = json.loads(cli(*command, "--json").out)  # one object
    assert told["hint"] == "give it longer: --timeout, then --rescore"
    assert {"summary", "benchmarks", "line"} & told.keys()


def test_lenient_reading_of_a_math_benchmark(cli: Cli, trained: Path) -> None:
    result = cli("eval", "--run", trained, "--benchmark", "sums", "-n", "4", "--k", "1", "--json").json
    values = {(row["metric"], row["k"]): row["value"] for row in result["summary"]}
    assert values["pass_lenient", 1] >= values["pass", 1] > 0
    problems = pq.read_table(f"{trained}/evals/000002/sums/problems.parquet").to_pylist()
    assert all(row["correct_lenient"] >= row["correct"] for row in problems)


def test_stored_samples_can_be_graded_again(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "--benchmark", "sums", "-n", "4", "--k", "1").code == 0
    before = parts(f"{trained}/evals/000002/sums/rollouts")
    again = cli("eval", "--run", trained, "--benchmark", "sums", "-n", "4", "--k", "1", "--rescore", "--json").json
    assert (again["sampled"], again["changed_verdicts"]) == (0, 0)
    assert parts(f"{trained}/evals/000002/sums/rollouts") == before
    # Another verifier is noticed, and asked about.
    other = ["eval", "--run", trained, "--benchmark", "sums", "-n", "4", "--k", "1", "--reward", "math"]
    refused = cli(*other)
    assert (refused.code, "--rescore" in refused.err) == (1, True)
    assert cli(*other, "--rescore").code == 0


def test_samples_of_different_settings_are_not_mixed(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "-n", "2", "--k", "1").code == 0
    cold = ["eval", "--run", trained, "-n", "2", "--k", "1", "--temperature", "0.5"]
    refused = cli(*cold)
    assert (refused.code, "drawn with other settings" in refused.err, "--tag NAME" in refused.err) == (1, True, True)
    assert cli(*cold, "--tag", "cold").code == 0
    assert cli(*cold, "--force").code == 0


def test_a_model_without_a_run(cli: Cli, trained: Path) -> None:
    model = trained / "checkpoints" / "000002"
    result = cli("eval", "--model", model, "--benchmark", "toy", "-n", "2", "--k", "1,2", "--json")
    assert result.code == 0, result.err
    assert (result.json["policy"], result.json["sampled"]) == (0, 512)
    # The same model again continues with the same samples.
    again = cli("eval", "--model", model, "--benchmark", "toy", "-n", "4", "--k", "1,2", "--json")
    assert again.json["sampled"] == 512
    # The checkpoint and the run's policy are the same weights: the same samples.
    own = cli("eval", "--run", trained, "--policy", "2", "-n", "4", "--k", "1,2", "--json").json
    values = [[row["value"] for row in found["summary"]] for found in (own, again.json)]
    assert values[0] == values[1]
    assert cli("status", "--json").json["run"] == "runs/trained"  # what was only evaluated is not the newest run


def test_policies_are_evaluated_beside_one_another(cli: Cli, trained: Path) -> None:
    run = RunDir(trained)
    with run.lock(print), run.lock(print, evaluating=1):
        assert cli("eval", "--run", trained, "-n", "2", "--k", "1").code == 0
        refused = cli("eval", "--run", trained, "--policy", "1", "-n", "2", "--k", "1")
    assert (refused.code, "the evaluations of policy 1 of run trained are in use" in refused.err) == (1, True)


def test_a_policy_that_is_being_evaluated_is_not_pruned(cli: Cli, trained: Path) -> None:
    run, told = RunDir(trained), list[str]()
    with in_use(run.checkpoint(1) / "manifest.json") as held:
        prune(run, keep=1, warn=told.append)
        assert (held, run.versions(), told) == (True, [1, 2], [])
    prune(run, keep=1, warn=told.append)
    assert run.versions() == [2]
    with in_use(run.checkpoint(1) / "manifest.json") as held:
        assert not held


def test_a_file_as_benchmark(cli: Cli, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "held_out.jsonl").write_text(
        '{"question": "Compute 2+3.", "gold": 5}\n{"question": "Compute 2*3.", "gold": 6}\n'
    )
    flags = ["--benchmark", "held_out.jsonl", "--answer-column", "gold", "-n", "4", "--k", "1"]
    result = cli("eval", "--run", trained, *flags, "--json")
    assert result.code == 0, result.err
    assert result.json["sampled"] == 8
    assert (trained / "evals/000002/held_out/summary.parquet").exists()


def test_compare_and_report(cli: Cli, trained: Path, tmp_path: Path) -> None:
    for policy in ("0", "2"):
        assert cli("eval", "--run", trained, "--policy", policy, "-n", "8", "--k", "1,8").code == 0
    found = cli("compare", f"{trained}@0", f"{trained}@2", "--json").json
    assert [row["k"] for row in found["differences"]] == [1, 2, 4, 8]
    for row in found["differences"]:
        assert row["difference"] == pytest.approx(row["after"] - row["before"])
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]
        assert row["better"] + row["worse"] + row["tied"] == 256
        assert 0 < row["p_value"] <= 1
    counts = [
        dict(zip(table["prompt_id"].to_pylist(), table["correct"].to_pylist(), strict=True))
        for table in (pq.read_table(f"{trained}/evals/00000{v}/toy/problems.parquet") for v in (0, 2))
    ]
    solved = [name for name in counts[0] if not counts[0][name] and counts[1][name]]
    assert found["newly_solved"] == solved
    text = cli("compare", f"{trained}@0", trained, "--k", "1,8").out
    assert "pass@8" in text
    assert f"newly solved ({len(solved)})" in text
    figure = tmp_path / "curve.svg"
    shown = cli("report", f"base={trained}@0", f"after={trained}", "--figure", figure)
    assert shown.code == 0, shown.err
    assert "base" in shown.out
    assert figure.read_text().startswith("<?xml")
    first = figure.read_bytes()
    cli("report", f"base={trained}@0", f"after={trained}", "--figure", figure)
    assert figure.read_bytes() == first


def test_different_benchmarks_are_not_compared(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "--policy", "0", "-n", "2", "--k", "1").code == 0
    assert cli("eval", "--run", trained, "--policy", "2", "-n", "2", "--k", "1", "--benchmark", "sums").code == 0
    result = cli("compare", f"{trained}@0", f"{trained}@2")
    assert (result.code, "different problems" in result.err) == (2, True)
    assert cli("report", f"{trained}@0", f"{trained}@2").code == 2


def test_k_beyond_the_samples_of_a_comparison(cli: Cli, trained: Path) -> None:
    for policy, samples in (("0", "2"), ("2", "4")):
        assert cli("eval", "--run", trained, "--policy", policy, "-n", samples, "--k", "1").code == 0
    result = cli("compare", f"{trained}@0", f"{trained}@2", "--k", "4")
    assert (result.code, "pass@4 needs 4 samples per problem; there are 2" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("model", "run"),
    [
        ("toy", "eval-toy"),
        ("owner/name@v1", "eval-owner-name-v1"),
        ("./nodir", "eval-nodir"),
        ("../my models/./a/", "eval-my-models-a"),
        ("/data/b", "eval-data-b"),
    ],
)
def test_a_run_that_only_evaluates_is_called_after_its_model(cli: Cli, model: str, run: str) -> None:
    # None of them but toy is there; the name is told before that is noticed.
    assert f"runs/{run}\n" in cli("eval", "--model", model, "--benchmark", "toy", "-n", "1", "--k", "1").err

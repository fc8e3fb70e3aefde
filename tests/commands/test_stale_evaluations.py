"""An evaluation belongs to the weights that it was made with, and only grows."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import write_table
from rsgrpo_cli.errors import Interrupted
from rsgrpo_cli.pipeline import evaluation
from rsgrpo_cli.pipeline.stopping import StopSignal
from tests.conftest import SMALL, Cli, run_quietly

EVAL = ("-n", "2", "--k", "1,2")
UPDATE = ("--step", "1", "--lr", "0.02")


@pytest.fixture(scope="module")
def measured_once(trained_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with an evaluation of policies 0 and 2, only copied from."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(trained_once, folder / "runs/trained")
    for policy in ("0", "2"):
        run_quietly(folder, "eval", "--run", "runs/trained", "--policy", policy, *EVAL)
    return folder / "runs/trained"


@pytest.fixture
def measured(cli: Cli, measured_once: Path, tmp_path: Path) -> Path:
    """A run of two steps with an evaluation of policies 0 and 2."""
    return Path(shutil.copytree(measured_once, tmp_path / "runs/trained"))


def test_replacing_an_evaluated_policy_needs_a_decision(cli: Cli, measured: Path) -> None:
    before = (measured / "checkpoints/000002/manifest.json").read_bytes()
    result = cli("update", "--run", measured, *UPDATE)
    assert (result.code, "evals/000002/toy was made from it" in result.err) == (1, True), result.err
    assert "--tag" not in result.err  # which an update does not have
    assert (measured / "checkpoints/000002/manifest.json").read_bytes() == before
    assert cli("update", "--run", measured, *UPDATE, "--force").code == 0
    # What is stale is at stake no more.
    assert cli("update", "--run", measured, "--step", "1", "--lr", "0.03").code == 0


def test_a_pruned_policy_is_not_replaced_behind_its_evaluation(cli: Cli, measured: Path) -> None:
    shutil.rmtree(measured / "checkpoints/000002")
    result = cli("update", "--run", measured, *UPDATE)
    assert (result.code, "evals/000002/toy was made from it" in result.err) == (1, True), result.err
    assert cli("update", "--run", measured, "--step", "1").code == 0  # the same policy again
    assert cli("status", "--run", measured, "--json").json["stale"] == []


def test_samples_stay_where_the_policy_cannot_be_sampled_again(cli: Cli, measured: Path) -> None:
    folder = measured / "evals/000002/toy"
    before = {path: path.read_bytes() for path in folder.rglob("*.parquet")}
    shutil.rmtree(measured / "checkpoints/000002")
    shutil.copytree(measured / "checkpoints/000001", measured / "checkpoints/000002")
    result = cli("eval", "--run", measured, "--policy", "2", *EVAL, "--force")
    assert (result.code, "it is not the policy that step 1 of this run made" in result.err) == (1, True), result.err
    assert {path: path.read_bytes() for path in folder.rglob("*.parquet")} == before


def test_every_reader_notices_a_replaced_policy(cli: Cli, measured: Path) -> None:
    assert cli("report", measured).code == 0
    assert cli("update", "--run", measured, *UPDATE, "--force").code == 0
    again = f"rsgrpo eval --run {measured} --policy 2 --benchmark toy --force"
    status = cli("status", "--run", measured)
    why = "the evaluation of policy 2 on toy is of another policy 2, which has been replaced since"
    assert f"stale: {why}: {again}" in status.out
    assert "evaluated: policy 2 on toy (stale)" in status.out
    assert "evaluated: policy 0 on toy\n" in status.out
    result = cli("compare", f"{measured}@0", measured)
    assert (result.code, why in result.err, again in result.err) == (1, True, True), result.err
    shown = cli("report", f"{measured}@0", measured, "--figure", "curve.svg")
    assert (shown.code, f"stale: {why}: {again}" in shown.out) == (0, True), shown.err
    assert shown.out.count("(stale)") == Path("curve.svg").read_text().count("(stale)") == 1
    stale = [policy["stale"] for policy in cli("report", f"{measured}@0", measured, "--json").json["policies"]]
    assert stale == [None, "is of another policy 2, which has been replaced since"]
    exported = cli("export", measured, "--out", "out")
    assert (exported.code, "left out of the model card" in exported.err) == (0, True), exported.err
    card = Path("out/README.md").read_text()
    assert "pass@" not in card
    assert "The evaluation of policy 2 on toy is left out because it is stale: it is of another policy 2" in card
    grown = cli("eval", "--run", measured, "-n", "4", "--k", "1")
    assert (grown.code, again in grown.err) == (1, True), grown.err
    # The way out that is named works.
    result = cli(*again.split()[1:], *EVAL)
    assert result.code == 0, result.err
    assert cli("status", "--run", measured, "--json").json["stale"] == []
    assert cli("compare", f"{measured}@0", measured).code == 0


def test_the_best_checkpoint_is_not_chosen_by_a_stale_evaluation(cli: Cli) -> None:
    flags = ["--eval-every", "1", "-n", "2", "--k", "1", "--keep-checkpoints", "9", "--steps", "2"]
    assert cli("train", "--run", "runs/x", *flags, *SMALL, "--set", "update.learning_rate=0.05").code == 0
    assert cli("update", "--run", "runs/x", "--step", "0", "--lr", "0.04", "--force").code == 0
    assert cli("update", "--run", "runs/x", "--step", "1", "--force").code == 1  # its rollouts are stale now
    keep_one = ["--set", "train.keep_checkpoints=1"]
    result = cli("update", "--run", "runs/x", "--step", "0", "--lr", "0.03", "--force", *keep_one)
    assert result.code == 0, result.err
    assert [path.name for path in Path("runs/x/checkpoints").iterdir()] == ["000002"]


def test_train_does_not_take_a_stale_evaluation_for_its_own(cli: Cli) -> None:
    flags = ["--eval-every", "1", "-n", "2", "--k", "1", "--steps", "1", *SMALL]
    assert cli("train", "--run", "runs/x", *flags).code == 0
    assert cli("update", "--run", "runs/x", "--step", "0", "--lr", "0.02", "--force").code == 0
    result = cli("train", "--run", "runs/x", "--steps", "2")
    assert (result.code, "which has been replaced since" in result.err) == (1, True), result.err
    assert "rsgrpo eval --run runs/x --policy 1 --benchmark toy --force" in result.err


def test_a_fork_has_its_policies_evaluations(cli: Cli, measured: Path) -> None:
    assert cli("fork", "runs/y", "--run", measured, "--step", "2").code == 0
    assert cli("status", "--run", "runs/y", "--json").json["stale"] == []
    assert cli("compare", "runs/y@0", "runs/y@2").code == 0
    # Its base model under another name is another policy 0.
    shutil.copytree(measured / "checkpoints/000002", "other")
    assert cli("fork", "runs/z", "--run", measured, "--step", "0", "--set", "model.name=other").code == 0
    assert cli("status", "--run", "runs/z", "--json").json["evaluations"] == []


def test_two_versions_of_a_benchmark_are_kept_apart(cli: Cli, trained: Path) -> None:
    rows = ['{"problem": "Compute 2+3.", "answer": 5}', '{"problem": "Compute 2*3.", "answer": 6}']
    Path("a.jsonl").write_text("\n".join(rows))
    flags = ["--run", trained, "--benchmark", "a.jsonl", *EVAL]
    for policy in ("0", "2"):
        assert cli("eval", *flags, "--policy", policy).code == 0
    Path("a.jsonl").write_text(rows[1])
    refused = cli("eval", *flags)
    assert (refused.code, "--tag NAME" in refused.err, "--force" in refused.err) == (1, True, True), refused.err
    Path("again").mkdir()  # another file of the same short name
    Path("again/a.jsonl").write_text(rows[0])
    other = cli("eval", "--run", trained, "--benchmark", "again/a.jsonl", *EVAL)
    assert (other.code, "--tag NAME" in other.err) == (1, True), other.err
    assert cli("status", "--run", trained, "--json").json["stale"] == []
    assert cli("eval", *flags, "--tag", "new").code == 0
    assert cli("report", trained, "--benchmark", "a.new").code == 0
    assert cli("eval", *flags, "--force").code == 0
    (stale,) = cli("status", "--run", trained, "--json").json["stale"]
    assert "the evaluation of policy 0 on a is of other problems" in stale
    assert "--benchmark a.jsonl --force" in stale


def test_another_template_does_not_spoil_what_was_measured(cli: Cli, measured: Path) -> None:
    Path("t.jinja").write_text("Solve: {{ problem }}")
    before = (measured / "benchmarks/toy.parquet").read_bytes()
    refused = cli("eval", "--run", measured, *EVAL, "--prompt-template", "t.jinja")
    assert (refused.code, "--tag NAME" in refused.err) == (1, True), refused.err
    assert (measured / "benchmarks/toy.parquet").read_bytes() == before
    assert cli("eval", "--run", measured, *EVAL, "--prompt-template", "t.jinja", "--tag", "t").code == 0
    assert cli("report", measured, "--benchmark", "toy.t").code == 0
    assert cli("status", "--run", measured, "--json").json["stale"] == []


def test_an_interrupted_growth_leaves_the_old_summary(
    cli: Cli, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cli("report", measured, "--json").json
    asked: list[str] = []

    def stop(self: StopSignal, done: str, again: str) -> None:
        asked.append(done)
        if len(asked) > 3:
            raise Interrupted("stopped", "")

    with monkeypatch.context() as patched:
        patched.setattr(StopSignal, "check", stop)
        assert cli("eval", "--run", measured, "-n", "8", "--k", "1,8").code == 130
    assert cli("report", measured, "--json").json == before
    assert cli("status", "--run", measured, "--json").json["stale"] == []
    assert cli("compare", f"{measured}@0", measured).code == 0
    # A smaller request in between sums up what every problem has.
    assert cli("eval", "--run", measured, *EVAL, "--json").json["num_samples"] == 2
    assert cli("eval", "--run", measured, "-n", "8", "--k", "1,8", "--json").json["num_samples"] == 8


def test_killed_between_problems_and_summary(cli: Cli, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, *rest: Any) -> str:
        if path.name == "summary.parquet":
            raise KeyboardInterrupt
        return write_table(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "write_table", killed)
        assert cli("eval", "--run", measured, "-n", "4", "--k", "1,4").code == 130
    assert "was summed up only in part" in cli("report", measured).out
    again = cli("eval", "--run", measured, "-n", "4", "--k", "1,4", "--json").json
    assert again["sampled"] == 0
    assert cli("report", measured, "--json").json["policies"][0]["num_samples"] == 4


def test_comparing_at_as_many_samples_of_each(cli: Cli, measured: Path) -> None:
    small = cli("compare", f"{measured}@0", measured, "--json").json
    assert cli("eval", "--run", measured, "-n", "4", "--k", "1,4").code == 0
    grown = cli("compare", f"{measured}@0", measured, "--json").json
    assert (grown["samples"], grown["compared_samples"]) == ([2, 4], 2)
    for name in ("differences", "newly_solved", "newly_lost"):
        assert grown[name] == small[name]  # the first two samples are the same as before
    text = cli("compare", f"{measured}@0", measured).out
    assert f"compared at 2 samples per problem: the first 2 of the 4 of {measured.name}@2" in text
    shown = cli("report", f"{measured}@0", measured)
    assert "samples each" not in shown.out
    policies = cli("report", f"{measured}@0", measured, "--json").json["policies"]
    assert [row["num_samples"] for row in policies] == [2, 4]


@pytest.mark.parametrize("reward", ["len(text) % 2", "len(text) % 3"], ids=["verdicts", "grades"])
def test_comparing_rewards_of_ones_own_at_as_many_samples(cli: Cli, tmp_path: Path, reward: str) -> None:
    source = f"def f(completions, **c):\n    return [float({reward}) for text in completions]\n"
    (tmp_path / "mine.py").write_text(source)
    assert cli("train", "--run", "runs/x", "--steps", "1", "--reward", "mine:f", *SMALL).code == 0
    for policy in ("0", "1"):
        assert cli("eval", "--run", "runs/x", "--policy", policy, *EVAL).code == 0
    small = cli("compare", "runs/x@0", "runs/x@1", "--json").json
    assert cli("eval", "--run", "runs/x", "-n", "4", "--k", "1,4").code == 0
    grown = cli("compare", "runs/x@0", "runs/x@1", "--json").json
    assert grown["compared_samples"] == 2
    assert grown["differences"] == small["differences"]


def test_what_else_differs_is_said(cli: Cli, measured: Path) -> None:
    assert cli("eval", "--run", measured, *EVAL, "--temperature", "0.5", "--force").code == 0
    for command in (["compare", f"{measured}@0", measured], ["report", f"{measured}@0", measured]):
        result = cli(*command)
        assert result.code == 0, result.err
        assert "different: temperature: 1.0 (trained@0 (base)), 0.5 (trained@2)" in result.out
    assert cli("compare", measured, measured, "--json").json["unlike"] == []


def test_the_same_problems_in_other_words_are_not_compared(cli: Cli, measured: Path) -> None:
    Path("t.jinja").write_text("Solve: {{ problem }}")
    assert cli("fork", "runs/y", "--run", measured, "--step", "2").code == 0
    flags = ["--run", "runs/y", *EVAL, "--prompt-template", "t.jinja", "--force"]
    assert cli("eval", *flags).code == 0
    result = cli("compare", measured, "runs/y@2")
    assert (result.code, "the same problems, worded differently" in result.err) == (2, True), result.err


def test_an_evaluation_that_is_missing_names_its_command(cli: Cli, trained: Path) -> None:
    result = cli("compare", f"{trained}@0", trained)
    assert (result.code, f"measure it: rsgrpo eval --run {trained} --policy 0" in result.err) == (1, True), result.err
    assert cli("eval", "--run", trained, *EVAL).code == 0
    result = cli("compare", f"{trained}@0", trained)
    assert f"rsgrpo eval --run {trained} --policy 0 --benchmark toy --num-samples 2 --k 1,2; evaluated: 2" in result.err
    result = cli("compare", f"{trained}@0", trained, "--benchmark", "toy")
    assert "--policy 0 --benchmark toy --num-samples 2 --k 1,2; evaluated: 2" in result.err


@pytest.mark.parametrize("flags", [[], ["--benchmark", "own.a"]])
def test_the_command_measures_what_can_be_compared(cli: Cli, trained: Path, tmp_path: Path, flags: list[str]) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text('{"prompt": "1+1?", "answer": "2"}\n{"prompt": "2+1?", "answer": "3"}\n')
    tagged = ("--benchmark", own, "--tag", "a")
    assert cli("eval", "--run", trained, *tagged, *EVAL).code == 0
    result = cli("compare", f"{trained}@0", trained, *flags)
    wanted = f"rsgrpo eval --run {trained} --policy 0 --benchmark {own} --tag a --num-samples 2 --k 1,2; evaluated: 2"
    assert (result.code, wanted in result.err) == (1, True), result.err
    assert cli("eval", "--run", trained, "--policy", "0", *tagged, *EVAL).code == 0
    assert cli("compare", f"{trained}@0", trained, *flags).code == 0


def test_a_pruned_policys_evaluation_is_read_and_grows(cli: Cli, measured: Path) -> None:
    shutil.rmtree(measured / "checkpoints")
    again = cli("eval", "--run", measured, "--policy", "2", *EVAL, "--json")
    assert (again.code, again.json["sampled"]) == (0, 0), again.err
    result = cli("eval", "--run", measured, "--policy", "2", "-n", "4", "--k", "1")
    assert (result.code, "policy 2 of run trained has no checkpoint: rebuilding it" in result.err) == (0, True)
    assert cli("report", f"{measured}@2").code == 0


def test_verdicts_that_are_lost_are_made_again(cli: Cli, measured: Path) -> None:
    folder = measured / "evals/000002/toy"
    part = sorted((folder / "rewards").iterdir())[0]
    part.unlink()
    assert "has lost verdicts that were summed up" in cli("report", measured).out
    assert cli("eval", "--run", measured, *EVAL, "--json").json["sampled"] == 0
    assert "stale" not in cli("report", measured).out


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--k", "0"], "k is 1 or more"),
        (["--k", "4", "-n", "2"], "pass@4 needs at least 4 samples"),
        (["--k", "99999999999"], "99,999,999,999 samples per problem are too many"),
        (["-n", "toy=99999999999", "--k", "1"], "too many"),
        (["--set", "eval.k=[]"], "there is no k"),
        (["-n", "0"], "eval.num_samples"),
    ],
)
def test_numbers_that_make_no_sense(cli: Cli, trained: Path, flags: list[str], text: str) -> None:
    result = cli("eval", "--run", trained, *flags)
    assert (result.code, text in result.err) == (2, True), result.err
    assert not (trained / "evals").exists()


def test_a_k_that_is_repeated_counts_once(cli: Cli, trained: Path) -> None:
    summary = cli("eval", "--run", trained, "-n", "2", "--k", "2,1,2", "--json").json["summary"]
    assert [row["k"] for row in summary if row["metric"] == "maj"] == [1, 2]


def test_summaries_of_older_runs_are_read(cli: Cli, measured: Path) -> None:
    (measured / "identity.json").unlink()
    assert cli("status", "--run", measured, "--json").json["stale"] == []
    assert pq.read_table(measured / "evals/000002/toy/summary.parquet").num_rows
    assert cli("report", f"{measured}@0", measured).code == 0

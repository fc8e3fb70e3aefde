"""Runs that were evaluated on several benchmarks, or on others by the same name: what is compared, or said."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import SMALL, Cli, Result

FEW = ["-n", "2", "--k", "1,2", "--max-tokens", "4"]


def problems(path: str, *sums: tuple[int, int], columns: tuple[str, str] = ("problem", "answer")) -> str:
    Path(path).parent.mkdir(exist_ok=True)
    rows = [f'{{"{columns[0]}": "Compute {a}+{b}.", "{columns[1]}": "{a + b}"}}' for a, b in sums]
    Path(path).write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def two(cli: Cli, trained: Path) -> tuple[Path, Path]:
    """Two runs alike, evaluated on two files of one name."""
    other = trained.with_name("other")
    shutil.copytree(trained, other)
    for run, file in ((trained, problems("p/sums.jsonl", (2, 3), (2, 4))), (other, problems("q/sums.jsonl", (1, 7)))):
        assert cli("eval", "--run", run, "--benchmark", file, *FEW).code == 0
    return trained, other


def follow(cli: Cli, hint: str) -> list[Result]:
    """Run the loop over runs that a hint has."""
    loop = re.search(r"for run in ([^;]+); do rsgrpo ([^;]+); done", hint)
    assert loop is not None, hint
    return [cli(*loop[2].replace('"$run"', run).split()) for run in loop[1].split()]


@pytest.mark.parametrize("labels", [("", ""), ("a=", "b=")])
def test_files_of_one_name_can_be_compared_as_the_hint_says(
    cli: Cli, two: tuple[Path, Path], labels: tuple[str, str]
) -> None:
    places = [f"{label}{run}" for label, run in zip(labels, two, strict=True)]
    refused = cli("compare", *places)
    assert refused.code == 2
    assert [done.code for done in follow(cli, refused.err)] == [0, 0]
    chosen = re.search(r"then choose it: (.+)", refused.err)
    assert chosen is not None
    compared = cli("compare", *places, *chosen[1].split(), "--json")
    assert compared.code == 0, compared.err


def test_two_runs_are_compared_on_the_benchmark_that_both_have(cli: Cli, two: tuple[Path, Path]) -> None:
    run, other = two
    third = problems("more.jsonl", (3, 3))
    assert cli("eval", "--run", run, "--benchmark", third, *FEW).code == 0
    several = cli("compare", run, run).err
    assert f"{run} was evaluated on more, sums, and {run} was evaluated on more, sums" in several
    assert "choose one: --benchmark more or --benchmark sums" in several
    (other / "evals/000002/sums").rename(other / "gone")
    assert f"measure it: rsgrpo eval --run {other} --benchmark {third} --max-tokens 4" in cli("compare", run, other).err
    assert cli("eval", "--run", other, "--benchmark", third, *FEW).code == 0
    compared = cli("compare", run, other, "--json")
    assert (compared.code, compared.json["benchmark"]) == (0, "more")


def test_a_benchmark_is_named_as_it_was_given(cli: Cli, two: tuple[Path, Path]) -> None:
    run, other = two
    file = problems("p/épreuves.jsonl", (3, 3), (3, 4))
    for one in two:
        assert cli("eval", "--run", one, "--benchmark", file, *FEW).code == 0
    compared = cli("compare", run, other, "--benchmark", file, "--json")
    assert (compared.code, compared.json["benchmark"][:8]) == (0, "preuves-"), compared.err
    assert cli("compare", f"a={run}", f"b={other}", "--benchmark", "épreuves").code == 0


def test_a_policy_is_not_told_by_the_evaluation_of_another(cli: Cli, two: tuple[Path, Path]) -> None:
    run, other = two
    file = problems("base.jsonl", (3, 3), (3, 4))
    for one, policy in ((run, "0"), (other, "2")):
        assert cli("eval", "--run", one, "--policy", policy, "--benchmark", file, *FEW).code == 0
    for place in (run, f"{run}@2"):
        lacking = cli("compare", f"a={place}", f"b={other}", "--benchmark", "base")
        assert (lacking.code, "trained has no evaluation on base" in lacking.err) == (1, True), lacking.err
    assert f"measure it: rsgrpo eval --run {run} --policy 2 --benchmark {file} --max-tokens 4" in lacking.err
    assert cli("eval", "--run", other, "--policy", "0", "--benchmark", "q/sums.jsonl", *FEW).code == 0
    both = cli("compare", f"a={run}@2", f"b={other}@0", "--benchmark", "base")
    for one, policy in ((run, "2"), (other, "0")):
        assert f"rsgrpo eval --run {one} --policy {policy} --benchmark {file}" in both.err


def test_an_evaluation_on_problems_that_were_replaced_is_measured_again(cli: Cli, two: tuple[Path, Path]) -> None:
    run, _ = two
    problems("p/sums.jsonl", (9, 9))
    assert cli("eval", "--run", run, "--policy", "0", "--benchmark", "p/sums.jsonl", *FEW, "--force").code == 0
    refused = cli("compare", f"a={run}@0", f"b={run}", "--benchmark", "sums")
    again = f"measure again: rsgrpo eval --run {run} --policy 2 --benchmark p/sums.jsonl --force"
    assert (refused.code, again in refused.err) == (1, True), refused.err
    assert cli(*again.split("rsgrpo ")[1].split(), *FEW).code == 0
    compared = cli("compare", f"a={run}@0", f"b={run}@2", "--benchmark", "sums")
    assert compared.code == 0, compared.err
    assert not {"nan", "*"} & set(re.findall(r"nan|(?<=\d)\*", compared.out))  # one problem has no interval


def test_a_benchmark_that_only_one_of_two_has_is_measured_by_its_file(cli: Cli, two: tuple[Path, Path]) -> None:
    run, other = two
    file = problems("mine.jsonl", (3, 3), columns=("quest", "gold"))
    named = ["--benchmark", file, "--prompt-column", "quest", "--answer-column", "gold"]
    assert cli("eval", "--run", other, *named, *FEW).code == 0
    for places in ([run, other], [other, run]):
        lacking = cli("compare", *places, "--benchmark", "mine")
        assert f"measure it: rsgrpo eval --run {run} {' '.join(named)} --max-tokens 4" in lacking.err
    unknown = cli("compare", run, other, "--benchmark", "nowhere")
    assert f"measure it: rsgrpo eval --run {run} --benchmark FILE; FILE is a file with the problems" in unknown.err
    (run / "evals/000002/sums").rename(run / "gone")
    assert cli("eval", "--run", run, "--benchmark", "toy", "--tag", "x", *FEW).code == 0
    apart = cli("compare", run, other)
    assert f"{run} was evaluated on toy.x, and {other} was evaluated on mine, sums" in apart.err
    assert f"measure the same: rsgrpo eval --run {other} --policy 2 --benchmark toy --tag x" in apart.err


def test_a_pass_at_k_that_one_benchmark_lacks_is_said_to_be_left_out(cli: Cli) -> None:
    few, many = problems("few.jsonl", (2, 3)), problems("many.jsonl", (3, 4))
    sampled = ("-n", "4,few=2", "--k", "1,2,4", "--max-tokens", "4", "--benchmark", f"{few},{many}")
    assert cli("train", "--run", "runs/mb", "--steps", "1", "--eval-every", "1", *sampled, *SMALL).code == 0
    shown = cli("compare", "x=runs/mb")
    assert (shown.code, "pass@4" in shown.out) == (0, False), shown.err
    assert "pass@4 left out: few has 2 samples per problem; with it: --benchmark many" in shown.err
    assert "pass@4" in cli("compare", "x=runs/mb", "--benchmark", "many").out
    assert "left out" not in cli("compare", "x=runs/mb", "--k", "1").err

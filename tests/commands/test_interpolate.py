"""Weights on the line from the base model to a policy."""

import shlex
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.bundled import bundled_data
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import PROBLEMS, ROLLOUTS
from rsgrpo_cli.studies import results
from tests.conftest import SMALL, Cli

FEW = ("-n", "1", "--k", "1", "--workers", "1")


def test_a_policy_is_evaluated_on_its_way_to_the_base_model(cli: Cli, trained: Path) -> None:
    made = cli("eval", "--run", trained, "--interpolate", "0,.5,1", *FEW, "--json").json
    assert [(one["policy"], one["interpolation"]) for one in made["line"]] == [(0, 0.0), (2, 0.5), (2, 1.0)]
    run = RunDir(trained)
    assert run.interpolated() == [(2, 0.5, "toy")]
    # The ends are the base model's and the policy's own evaluations, and nothing is drawn twice.
    assert run.benchmarks_of(0) == run.benchmarks_of(2) == ["toy"]
    again = cli("eval", "--run", trained, "--interpolate", "0,.5,1", *FEW)
    assert (again.code, "sampling" in again.err) == (0, False)
    told = cli("status", "--run", trained)
    assert "evaluated: policy 2 at 0.5 on toy\n" in told.out
    # What is computed from many runs sees all three, and nothing else takes the middle one for the policy.
    kept = results.of_run(run)
    assert [(one.policy, one.interpolation) for one in kept.evaluations] == [(0, 1.0), (2, 1.0), (2, 0.5)]
    assert cli("compare", f"{trained}@0", trained).code == 0


def test_weights_on_the_line_are_compared_by_name(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "--interpolate", "0,.5,1", *FEW).code == 0
    half, whole = f"{trained}@2at0.5", f"{trained}@2"
    two = cli("compare", half, whole, "--json").json
    assert (two["before"], two["after"]) == (f"{trained.name}@2at0.5", f"{trained.name}@2")
    three = cli("compare", f"{trained}@0", f"{trained}@2at.5", whole, "--json").json
    labels = ["base", f"{trained.name}@2at0.5", f"{trained.name}@2"]
    assert list(three["groups"]) == labels
    # One problem-by-problem difference, whichever way it is asked for; and the middle is not the policy itself.
    values = {
        entry["label"]: entry["value"] for entry in three["entries"] if (entry["metric"], entry["at"]) == ("pass", 1)
    }
    assert [two["differences"][0][name] for name in ("before", "after")] == [values[label] for label in labels[1:]]
    evaluated = [RunDir(trained).evaluation(2, "toy", at) / "problems.parquet" for at in (0.5, 1)]
    right = [sum(read_table(path, PROBLEMS)["correct"].to_pylist()) for path in evaluated]
    assert values[labels[1]] == pytest.approx(right[0] / 256) != pytest.approx(right[1] / 256)
    assert values[labels[2]] == pytest.approx(right[1] / 256)


def test_weights_on_the_line_that_were_not_evaluated(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "--interpolate", "0,.5,1", *FEW).code == 0
    for places in (["@2at0.7"], ["@2at0.7", "@2"], ["@2at0.7", "@2", "@0"]):
        result = cli("compare", *(f"{trained}{place}" for place in places))
        assert (result.code, result.out) == (1, "")
        assert "policy 2 at 0.7" in result.err
        assert "--policy 2" in result.err
        assert "--interpolate 0.7" in result.err
        assert "2at0.5" in result.err.partition("evaluated")[2]
    more = cli("compare", f"{trained}@2at0.5", "--k", "2")
    assert "--policy 2 --interpolate 0.5 --benchmark toy -n 2" in more.err
    base = cli("compare", f"{trained}@0at0.5", trained)
    assert (base.code, "where the line begins" in base.err) == (2, True)


@pytest.mark.parametrize(("fraction", "meant"), [("0.5", "2at0.5"), ("1.75", "1at0.75"), ("9.7", "2at0.7")])
def test_a_fraction_is_no_policy_and_what_may_be_meant_is_named(
    cli: Cli, trained: Path, fraction: str, meant: str
) -> None:
    policy, _, at = meant.partition("at")
    for place in (f"{trained}@{fraction}", "trained"):
        words = ["compare", place] if "@" in place else ["eval", "--run", place, "--policy", fraction]
        refused = cli(*words)
        assert (refused.code, f"no policy {fraction}" in refused.err) == (1, True)
        assert f"runs/trained@{meant}; " in refused.err
        assert refused.err.endswith(f"--policy {policy} --interpolate {at}\n")
    assert cli("eval", "--run", trained, "--policy", policy, "--interpolate", at, *FEW).code == 0
    assert cli("compare", f"{trained}@{meant}").code == 0


def test_the_command_for_more_samples_draws_them_alike(cli: Cli, trained: Path) -> None:
    warm = ("--benchmark", "toy", "--tag", "warm", "--temperature", "0.5")
    assert cli("eval", "--run", trained, "--interpolate", "0.5", *warm, *FEW).code == 0
    assert cli("eval", "--run", trained, *warm, *FEW).code == 0
    for places in ([f"{trained}@2at0.5"], [f"{trained}@2at0.5", f"{trained}@2"]):
        result = cli("compare", *places, "--benchmark", "toy.warm", "--k", "2")
        first = result.err.partition("draw more: rsgrpo ")[2].partition(";")[0]
        assert "--temperature 0.5" in first
        assert "--interpolate 0.5" in first
    made = cli(*shlex.split(first), "--k", "1,2", "--workers", "1")
    assert made.code == 0, made.err
    assert cli("compare", f"{trained}@2at0.5", "--benchmark", "toy.warm", "--k", "2").code == 0


def test_an_export_takes_the_same_name(cli: Cli, trained: Path) -> None:
    for number, arguments in enumerate([[f"{trained}@2at0.5"], [f"{trained}@2", "--interpolate", "0.5"]]):
        assert cli("export", *arguments, "--out", f"out{number}").code == 0
    assert Path("out0/model.safetensors").read_bytes() == Path("out1/model.safetensors").read_bytes()
    result = cli("export", f"{trained}@2at0.5", "--interpolate", "0.7", "--out", "out2")
    assert (result.code, "two places on the line are named: 0.5 and 0.7" in result.err) == (2, True)


def test_halfway_weights_are_the_mean_of_both(cli: Cli, trained: Path) -> None:
    for at in ("0.5", "1"):
        assert cli("export", trained, "--interpolate", at, "--out", f"out{at}").code == 0
    base = load_file(bundled_data() / "model" / "model.safetensors")
    whole, half = (load_file(Path(f"out{at}") / "model.safetensors") for at in ("1", "0.5"))
    assert any((whole[name] != base[name]).any() for name in base)
    for name in base:
        assert (half[name] - (base[name] + whole[name]) / 2).abs().max() < 1e-7
    card = (Path("out0.5") / "README.md").read_text()
    assert "at 0.5 on the line to it from the base model" in card
    assert "on the line" not in (Path("out1") / "README.md").read_text()


def test_an_adapter_is_scaled(cli: Cli) -> None:
    assert cli("train", "--run", "runs/lora", "--steps", "1", "--lora-rank", "2", *SMALL).code == 0
    for at in ("0.25", "1"):
        assert cli("export", "runs/lora", "--interpolate", at, "--out", f"out{at}").code == 0
        assert cli("export", "runs/lora", "--interpolate", at, "--merge", "--out", f"merged{at}").code == 0
    whole, part = (load_file(Path(f"out{at}") / "adapter_model.safetensors") for at in ("1", "0.25"))
    for name in whole:
        assert (part[name] == (whole[name] * 0.25 if "lora_B" in name else whole[name])).all()
    base = load_file(bundled_data() / "model" / "model.safetensors")
    complete, some = (load_file(Path(f"merged{at}") / "model.safetensors") for at in ("1", "0.25"))
    assert max((some[n] - (base[n] + 0.25 * (complete[n] - base[n]))).abs().max() for n in base) < 1e-6
    assert cli("eval", "--run", "runs/lora", "--interpolate", "0.25", *FEW).code == 0


def test_the_samples_come_from_the_interpolated_weights(cli: Cli, trained: Path) -> None:
    # What is exported and evaluated as a model of its own says the same as the run's evaluation on the line.
    assert cli("export", trained, "--interpolate", "0.5", "--out", "half").code == 0
    assert cli("eval", "--run", trained, "--interpolate", "0.5", *FEW).code == 0
    assert (
        cli("eval", "--run", "runs/half", "--model", "half", "--benchmark", "toy", "--max-tokens", "20", *FEW).code == 0
    )
    tables = [
        read_table(next(Path(place).glob("rollouts/part-*.parquet")), ROLLOUTS, ["completion_ids"])
        for place in (RunDir(trained).evaluation(2, "toy", 0.5), "runs/half/evals/000000/toy")
    ]
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("text", ["2", "-0.1", "x", "0.1234567", ""])
def test_what_is_no_place_on_the_line_is_refused(cli: Cli, trained: Path, text: str) -> None:
    result = cli("eval", "--run", trained, f"--interpolate={text}", *FEW)
    assert (result.code, "--interpolate" in result.err) == (2, True)


def test_there_is_no_line_from_the_base_model_to_itself(cli: Cli) -> None:
    assert cli("train", "--run", "a", *SMALL, "--steps", "1").code == 0
    result = cli("eval", "--run", "a", "--policy", "0", "--interpolate", "0.5")
    assert (result.code, result.out) == (2, "")
    assert "policy 0 is the base model, where the line begins" in result.err
    for wrong in (["--interpolate", "0.5"], ["--policy", "3.beta8"]):
        fresh = cli("eval", "--model", "toy", *wrong)
        assert fresh.code in (1, 2)
        assert "runs/eval-toy was removed again" in fresh.err
        assert not Path("runs/eval-toy").exists()

"""Weights on the line from the base model to a policy."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from rsgrpo_cli.artifacts import read_table
from rsgrpo_cli.bundled import bundled_data
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.schemas import ROLLOUTS
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

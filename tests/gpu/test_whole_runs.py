"""Whole runs on the GPU: that they are made there, that they are what the CPU makes, and that either goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.gpu.conftest import SMALL, Rsgrpo, rollouts, run_in

pytestmark = pytest.mark.gpu
STEPS = 3


@pytest.fixture(scope="module")
def made(device: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/there, made with `--device auto`, and runs/here, made on the CPU; only copied from."""
    folder = tmp_path_factory.mktemp("made")
    train: tuple[str | int, ...] = ("train", "--steps", STEPS, *SMALL)
    run_in(folder, *train, "--run", "runs/there", "--device", "auto", program=("watched_rsgrpo.py", "devices.json"))
    run_in(folder, *train, "--run", "runs/here", "--device", "cpu")
    return folder


@pytest.fixture
def copies(made: Path, tmp_path: Path) -> Path:
    """runs/there and runs/here, to be changed."""
    return Path(shutil.copytree(made / "runs", tmp_path / "runs"))


def test_weights_gradients_and_moments_are_on_the_gpu(made: Path, device: str) -> None:
    found = json.loads((made / "devices.json").read_text())
    assert found == {name: [device] for name in ("weights", "gradients", "moments")} | {"initialised": device == "cuda"}


def test_all_numbers_of_the_run_are_finite(made: Path) -> None:
    metrics = pq.read_table(made / "runs" / "there" / "metrics.parquet")
    assert len(metrics) == STEPS
    for name in ("loss", "grad_norm", "entropy", "logprob_diff_mean", "tokens_per_second", "seconds_step"):
        assert np.isfinite(metrics[name].to_numpy()).all(), name
    for step in range(STEPS):
        said = rollouts(made / "runs" / "there", step)["sampling_logprobs"].combine_chunks().values.to_numpy()
        assert np.isfinite(said).all()
        assert (said <= 0).all()


def test_peak_memory_is_that_of_the_card(made: Path, card: str) -> None:
    peak = pq.read_table(made / "runs" / "there" / "metrics.parquet")["peak_memory_bytes"].to_numpy()
    weights = (made / "runs" / "there" / "checkpoints" / "000003" / "model.safetensors").stat().st_size
    assert (peak > 4 * weights).all()  # weights, gradient, two moments
    assert (peak < 400e6).all()  # the process holds more RAM than that for torch alone


def test_sampler_and_trainer_agree_in_float32(made: Path) -> None:
    for name in ("there", "here"):
        metrics = pq.read_table(made / "runs" / name / "metrics.parquet")
        assert max(metrics["logprob_diff_mean"].to_pylist()) < 1e-4
        assert max(metrics["logprob_diff_max"].to_pylist()) < 1e-3


def test_the_cpu_draws_the_same_completions(made: Path) -> None:
    there, here = (rollouts(made / "runs" / name, 0) for name in ("there", "here"))
    for column in ("group_id", "sample_index", "prompt_id", "seed", "prompt_ids"):
        assert there[column].equals(here[column]), column
    shared = [_shared(*pair) for pair in zip(_rows(there), _rows(here), strict=True)]
    total = sum(len(ids) for ids, _ in _rows(here))
    assert sum(len(apart) for apart in shared) >= 0.95 * total
    assert max(apart.max(initial=0) for apart in shared) < 1e-3


def _rows(table: pa.Table) -> list[tuple[list[int], list[float]]]:
    return list(zip(table["completion_ids"].to_pylist(), table["sampling_logprobs"].to_pylist(), strict=True))


def _shared(one: tuple[list[int], list[float]], other: tuple[list[int], list[float]]) -> np.ndarray:
    """How far log-probabilities are apart, of the tokens before the first that differs."""
    length = min(len(one[0]), len(other[0]))
    differs = np.flatnonzero(np.array(one[0][:length]) != np.array(other[0][:length]))
    stop = int(differs[0]) if len(differs) else length
    apart: np.ndarray = np.abs(np.array(one[1][:stop]) - np.array(other[1][:stop]))
    return apart


@pytest.mark.parametrize("name", ["there", "here"])
def test_a_run_goes_on_on_the_other_device(copies: Path, rsgrpo: Rsgrpo, device: str, name: str) -> None:
    """The device decides nothing: it is no setting of an artifact, and checkpoints are of no device."""
    other = {"there": "cpu", "here": device}[name]
    rsgrpo("train", "--run", f"runs/{name}", "--steps", STEPS + 1, "--device", other)
    metrics = pq.read_table(copies / name / "metrics.parquet")
    assert metrics["step"].to_pylist() == list(range(STEPS + 1))
    assert np.isfinite(metrics["loss"].to_numpy()).all()
    rsgrpo("verify", f"runs/{name}")


@pytest.mark.parametrize("name", ["there", "here"])
def test_a_fork_goes_on_on_the_other_device(copies: Path, rsgrpo: Rsgrpo, device: str, name: str) -> None:
    other = {"there": "cpu", "here": device}[name]
    rsgrpo("fork", "runs/fork", "--run", f"runs/{name}", "--step", STEPS, "--beta", "8", "--steps", STEPS + 1)
    rsgrpo("train", "--run", "runs/fork", "--device", other)
    assert (copies / "fork" / "checkpoints" / f"{STEPS + 1:06d}" / "model.safetensors").is_file()


def test_a_policy_without_checkpoint_is_rebuilt_where_it_was_made(copies: Path, rsgrpo: Rsgrpo, device: str) -> None:
    shutil.rmtree(copies / "there" / "checkpoints" / "000002")
    evaluate = ("eval", "--run", "runs/there", "--policy", "2", "-n", "2", "--k", "1")
    rsgrpo(*evaluate, "--device", device)


def test_a_policy_that_another_device_rebuilds_is_known_as_inexact(copies: Path, rsgrpo: Rsgrpo, card: str) -> None:
    shutil.rmtree(copies / "there" / "checkpoints" / "000002")
    evaluate = ("eval", "--run", "runs/there", "--policy", "2", "-n", "2", "--k", "1", "--device", "cpu")
    refused = rsgrpo(*evaluate, code=1)
    assert "cannot be rebuilt bit for bit" in refused.stderr
    accepted = rsgrpo(*evaluate, "--accept-inexact")
    assert "was not rebuilt bit for bit" in accepted.stderr


def test_evaluations_of_both_devices_agree(copies: Path, rsgrpo: Rsgrpo, device: str) -> None:
    evaluate = ("eval", "--run", "runs/there", "-n", "8", "--k", "1,8", "--json")
    there = json.loads(rsgrpo(*evaluate, "--device", device).stdout.splitlines()[-1])
    here = json.loads(rsgrpo(*evaluate, "--device", "cpu", "--tag", "cpu", "--force").stdout.splitlines()[-1])
    for name in ("pass@1", "pass@8"):
        assert there[name] == pytest.approx(here[name], abs=0.05), name


def test_points_between_the_base_and_the_policy(copies: Path, rsgrpo: Rsgrpo, device: str) -> None:
    evaluate = ("eval", "--run", "runs/there", "-n", "2", "--k", "1", "--device", device)
    rsgrpo(*evaluate, "--interpolate", "0,0.5,1")
    rsgrpo("export", "runs/there", "--interpolate", "0.5", "--out", "between")
    rsgrpo("export", "runs/there", "--average", "2,3", "--out", "mean")
    rsgrpo("export", "runs/there", "--merge", "--out", "merged")
    for name in ("between", "mean", "merged"):
        assert (copies.parent / name / "model.safetensors").is_file()
    rsgrpo("verify", "runs/there")


READING = {
    "ls": ("ls",),
    "status": ("status", "--run", "runs/there"),
    "show": ("show", "--run", "runs/there"),
    "verify": ("verify", "runs/there"),
    "score": ("score", "--run", "runs/there", "--step", "0", "--tag", "again"),
    "advantage": ("advantage", "--run", "runs/there", "--step", "0", "--beta", "8", "--tag", "again"),
    "merge": ("export", "runs/there", "--merge", "--out", "merged"),
    "train that is done": ("train", "--run", "runs/there"),
}


@pytest.mark.parametrize("command", READING)
def test_a_command_that_computes_nothing_leaves_the_card_alone(
    copies: Path, rsgrpo: Rsgrpo, tmp_path: Path, command: str
) -> None:
    """Its context alone takes half a GB of the card, and seconds."""
    rsgrpo(*READING[command], program=("watched_rsgrpo.py", tmp_path / "devices.json"))
    assert not json.loads((tmp_path / "devices.json").read_text())["initialised"]

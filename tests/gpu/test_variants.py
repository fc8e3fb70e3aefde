"""One step of every kind of update on the GPU."""

import shutil
import sysconfig
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.gpu.conftest import SMALL, Rsgrpo, rollouts

pytestmark = pytest.mark.gpu
VARIANTS: dict[str, tuple[str, ...]] = {
    "bfloat16": ("--dtype", "bfloat16"),
    "float64": ("--dtype", "float64"),
    "lora": ("--lora-rank", "4"),
    "lora, bfloat16": ("--lora-rank", "4", "--dtype", "bfloat16"),
    "lora, KL": ("--lora-rank", "4", "--kl-coef", "0.1"),
    "checkpointing": ("--gradient-checkpointing",),
    "checkpointing, bfloat16": ("--gradient-checkpointing", "--dtype", "bfloat16"),
    "checkpointing, float64": ("--gradient-checkpointing", "--dtype", "float64"),
    "KL": ("--kl-coef", "0.1"),
    "KL, bfloat16": ("--kl-coef", "0.1", "--dtype", "bfloat16"),
    "entropy bonus": ("--set", "update.entropy_coef=0.01"),
    "several steps": ("--minibatches", "2", "--epochs", "2"),
    "several steps, small micro-batches": ("--minibatches", "2", "--micro-batch-tokens", "64"),
    "resampling": ("--zero-variance", "resample"),
}
FARTHEST = {"bfloat16": 0.05, "float64": 1e-6}
"""Nats per token between sampler and trainer, on average; in float32 1e-4."""


def check_step(run: Path, dtype: str) -> None:
    """A step whose numbers are finite, in which the trainer says what the sampler said."""
    metrics = pq.read_table(run / "metrics.parquet").to_pylist()[0]
    for name in ("loss", "grad_norm", "entropy", "kl"):
        assert metrics[name] is None or np.isfinite(metrics[name]), name
    assert metrics["grad_norm"] > 0
    assert metrics["logprob_diff_mean"] < FARTHEST.get(dtype, 1e-4)
    assert np.isfinite(rollouts(run, 0)["sampling_logprobs"].combine_chunks().values.to_numpy()).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_every_kind(rsgrpo: Rsgrpo, device: str, tmp_path: Path, variant: str) -> None:
    flags = VARIANTS[variant]
    dtype = flags[flags.index("--dtype") + 1] if "--dtype" in flags else "float32"
    rsgrpo("train", "--run", "runs/made", "--device", device, "--steps", "1", *SMALL, *flags)
    check_step(tmp_path / "runs" / "made", dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_step(rsgrpo: Rsgrpo, device: str, tmp_path: Path, dtype: str) -> None:
    compilers = [name for name in ("gcc", "cc", "clang") if shutil.which(name)]
    if not compilers or not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        pytest.skip("no C compiler, or no headers of Python: Triton needs both")
    flags = ("--set", "model.compile=true", "--dtype", dtype, "--steps", "2")
    rsgrpo("train", "--run", "runs/made", "--device", device, *SMALL, *flags)
    check_step(tmp_path / "runs" / "made", dtype)

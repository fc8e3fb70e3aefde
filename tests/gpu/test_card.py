"""What the commands say of the card, and how several processes share it."""

import json
from pathlib import Path

import pytest
import torch

from rsgrpo_cli.console import size
from rsgrpo_cli.models import choose_device
from tests.gpu.conftest import SMALL, Rsgrpo

pytestmark = pytest.mark.gpu


def test_auto_is_the_gpu(card: str) -> None:
    assert [choose_device(name) for name in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_doctor_names_the_card_and_its_memory(card: str, rsgrpo: Rsgrpo) -> None:
    checks = json.loads(rsgrpo("doctor", "--json").stdout)["checks"]
    found = {check["name"]: check for check in checks}["GPU"]
    known = torch.cuda.get_device_properties(0)
    assert found["state"] == "ok"
    assert f"{known.name} with {size(known.total_memory)}" in found["found"]


def test_a_plan_is_for_the_memory_that_the_card_has_free(card: str, rsgrpo: Rsgrpo) -> None:
    plan = json.loads(rsgrpo("plan", "--json").stdout)
    assert plan["device"] == torch.cuda.get_device_name()
    assert plan["free_bytes"] == pytest.approx(torch.cuda.mem_get_info()[0], rel=0.2)  # other tests run beside this one
    assert plan["fits"]
    here = json.loads(rsgrpo("plan", "--device", "cpu", "--json").stdout)
    assert here["device"] == "CPU"


def test_more_ranks_than_cards_are_refused_in_one_line(card: str, rsgrpo: Rsgrpo, tmp_path: Path) -> None:
    ranks = torch.cuda.device_count() + 1
    refused = rsgrpo("train", "--run", "runs/made", "--ranks", ranks, *SMALL, code=2)
    assert f"{ranks} ranks need as many GPUs, and this machine has" in refused.stderr
    assert not (tmp_path / "runs" / "made" / "steps").exists()


def test_more_samplers_than_cards_are_refused_in_one_line(card: str, rsgrpo: Rsgrpo) -> None:
    workers = torch.cuda.device_count() + 1
    refused = rsgrpo("train", "--run", "runs/made", "--data-parallel", workers, "--steps", "1", *SMALL, code=2)
    assert f"{workers} workers need {workers} GPUs, and {torch.cuda.device_count()}" in refused.stderr


@pytest.mark.parametrize("flags", [("--ranks", "2"), ("--data-parallel", "2")], ids=["ranks", "samplers"])
def test_on_the_cpu_several_processes_work_beside_a_card(rsgrpo: Rsgrpo, device: str, flags: tuple[str, ...]) -> None:
    rsgrpo("train", "--run", "runs/made", "--device", "cpu", "--steps", "1", *SMALL, *flags)


def test_one_sampler_beside_the_trainer(rsgrpo: Rsgrpo, device: str, tmp_path: Path) -> None:
    """A worker of its own process, on the same card."""
    flags = ("--device", device, "--data-parallel", "1", "--steps", "2", *SMALL)
    rsgrpo("train", "--run", "runs/beside", *flags)
    assert (tmp_path / "runs" / "beside" / "checkpoints" / "000002" / "model.safetensors").is_file()

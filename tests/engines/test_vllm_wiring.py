"""The vllm engine and the pipeline around it, with a stand-in for vLLM itself; the real one is in test_vllm.py."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import read_lineage, read_table
from rsgrpo_cli.config import ModelConfig, VllmConfig, resolve
from rsgrpo_cli.engines.registry import choose_engine
from rsgrpo_cli.engines.types import Sampling
from rsgrpo_cli.engines.vllm import Setup, VllmEngine, lora_room, max_model_len
from rsgrpo_cli.engines.vllm_process import explained, output_to, require_vllm
from rsgrpo_cli.errors import DependencyError, UsageError
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.policy.checkpoints import open_policy
from rsgrpo_cli.policy.fingerprint import take_probe
from rsgrpo_cli.schemas import ROLLOUTS
from tests.conftest import SMALL, Cli
from tests.engines.fake_vllm import LLM, fake_vllm

__all__ = ["fake_vllm"]

TRAIN = ["train", "--run", "runs/x", "--engine", "vllm", *SMALL, "--set", "rollout.prompts_per_step=2"]
FULL, LORA = ["--steps", "2"], ["--steps", "2", "--lora-rank", "4"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "x"


def setup(tmp_path: Path, vllm: VllmConfig | None = None, longest: int = 20) -> Setup:
    base = model_directory("toy")
    probe = take_probe(open_policy(resolve({}), base, None, version=0, train=False))
    return Setup(base, "base", probe, ModelConfig(), vllm or VllmConfig(), longest, False, tmp_path / "vllm.log")


# -- which weights it has ---------------------------------------------------------------------------------------------


def test_full_training_starts_it_once_and_reloads_every_step(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    assert cli(*TRAIN, *FULL).code == 0
    # Policy 0 is what it starts with; policy 1 comes from its checkpoint; policy 2 nobody samples from.
    assert fake_vllm.calls == ["start", "reload", "reset", "shutdown"]


def test_lora_gets_a_name_that_was_never_used(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    assert cli(*TRAIN, *LORA, "--steps", "3").code == 0
    assert fake_vllm.calls == ["start", "reset", "adapter policy-1", "reset", "adapter policy-2", "shutdown"]


@pytest.mark.parametrize("kind", [FULL, LORA], ids=["full", "lora"])
def test_without_a_checkpoint_the_weights_come_by_a_directory_that_goes_again(
    cli: Cli, run: Path, fake_vllm: type[LLM], kind: list[str]
) -> None:
    assert cli(*TRAIN, *kind, "--steps", "3", "--checkpoint-every", "5").code == 0
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["000003"]
    assert sum(call == "reload" or call.startswith("adapter") for call in fake_vllm.calls) == 2
    assert not (run / ".weights").exists()


@pytest.mark.parametrize("lost", ["checkpoints", "no checkpoints"])
def test_the_trainer_reports_how_far_the_sampler_is_off(cli: Cli, run: Path, fake_vllm: type[LLM], lost: str) -> None:
    often = ["--checkpoint-every", "5"] if lost == "no checkpoints" else []
    assert cli(*TRAIN, *FULL, "--prompts-per-step", "8", *often).code == 0
    rows = [row for row in pq.read_table(run / "metrics.parquet").to_pylist() if row["groups_mixed"]]
    assert rows
    for row in rows:
        # The same model computed in another order: rounding, and no stale weights.
        assert 0 < row["logprob_diff_max"] < 1e-3
        assert 1 < row["importance_ratio_max"] < 1.001
        assert row["ratio_capped_fraction"] == 0


def test_completions_say_which_weights_made_them(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    assert cli(*TRAIN, *FULL).code == 0
    for step in (0, 1):
        (part,) = (run / "steps" / f"{step:06d}" / "rollouts").glob("part-*.parquet")
        policy = read_lineage(part, ROLLOUTS).inputs["policy"]
        for row in read_table(part, ROLLOUTS).to_pylist():
            assert row["weight_versions"] == [{"version": policy, "start": 0, "end": len(row["completion_ids"])}]


def test_completions_of_other_weights_stop_the_run(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    fake_vllm.broken.add("naming")
    result = cli(*TRAIN, *FULL)
    assert result.code == 1
    assert "error: vLLM sampled with the weights default, not with " in result.err
    assert not list((run / "steps").rglob("part-*.parquet"))


def test_an_evaluation_of_a_checkpoint_needs_no_trainer(
    cli: Cli, run: Path, fake_vllm: type[LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*TRAIN, *FULL).code == 0
    fake_vllm.calls.clear()
    monkeypatch.setattr("rsgrpo_cli.policy.checkpoints.open_policy", None)
    evaluated = cli("eval", "--run", "runs/x", "-n", "1", "--k", "1", "--benchmark", "sums", "--json")
    assert evaluated.code == 0, evaluated.err
    assert fake_vllm.calls == ["start", "reload", "reset", "shutdown"]


def test_the_base_model_is_asked_for_its_probe_once(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    assert cli("prepare", "--run", "runs/x", "--limit", "2").code == 0
    rollout = ["rollout", "--run", "runs/x", "--engine", "vllm", "--prompts-per-step", "2", "--group-size", "2"]
    assert cli(*rollout).code == 0
    (probe,) = run.glob("base_probe.*.json")
    told = json.loads(probe.read_text())
    assert told["logprobs"] == told["base_logprobs"]
    probe.write_text(json.dumps(told | {"base_logprobs": [value - 1 for value in told["logprobs"]]}))
    wrong = cli(*rollout, "--force")
    assert wrong.code == 1
    assert "the sampler's weights are not the trainer's" in wrong.err


# -- stale ------------------------------------------------------------------------------------------------------------


def test_weights_that_were_not_reloaded_stop_the_run(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    fake_vllm.broken.add("reload")
    result = cli(*TRAIN, *FULL)
    assert result.code == 1
    assert "error: the sampler" in result.err
    assert fake_vllm.calls[-1] == "shutdown"
    # Nothing was sampled from the stale weights, and once the sampler is mended the run goes on.
    assert not list((run / "steps" / "000001").glob("rollouts/part-*"))
    fake_vllm.broken.clear()
    assert cli(*TRAIN, *FULL).code == 0


def test_even_an_update_too_small_for_the_tolerance(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    fake_vllm.broken.add("reload")
    result = cli(*TRAIN, *FULL, "--lr", "1e-7", "--prompts-per-step", "8")
    assert result.code == 1
    assert "still has the weights of an earlier policy: loading changed nothing" in result.err


def test_an_adapter_that_is_not_applied(
    cli: Cli, run: Path, fake_vllm: type[LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LLM, "_model", lambda self, request: self.plain)
    result = cli(*TRAIN, *LORA)
    assert result.code == 1
    assert "error: the sampler" in result.err


def test_a_cache_that_cannot_be_emptied(cli: Cli, run: Path, fake_vllm: type[LLM]) -> None:
    fake_vllm.broken.add("reset")
    result = cli(*TRAIN, *FULL)
    assert result.code == 1
    assert "keeps what it computed with other weights" in result.err


# -- one completion ---------------------------------------------------------------------------------------------------


def test_completions_come_back_to_their_prompts(tmp_path: Path, fake_vllm: type[LLM]) -> None:
    engine = VllmEngine(setup(tmp_path))
    prompts = [engine.encode([{"role": "user", "content": text}]) for text in ("Make 24 from 3 5 7 2.", "Compute 1+2.")]
    made = engine.generate(prompts, [[1, 2, 3], [4]], Sampling(1.0, 1.0, 20))
    assert [len(own) for own in made] == [3, 1]
    alone = engine.generate(prompts[1:], [[4]], Sampling(1.0, 1.0, 20))
    assert alone[0] == made[1]
    short = engine.generate(prompts[:1], [[1]], Sampling(1.0, 1.0, 2))[0][0]
    assert (short.finish_reason, len(short.token_ids), len(short.logprobs)) == ("length", 2, 2)
    assert {generation.finish_reason for own in made for generation in own} == {"stop"}
    assert all(generation.token_ids[-1] == 1 for own in made for generation in own)  # <eos>, from the configuration


def test_what_it_is_started_with(tmp_path: Path, fake_vllm: type[LLM]) -> None:
    arguments = VllmEngine(setup(tmp_path))._llm.arguments
    assert arguments["logprobs_mode"] == "processed_logprobs"
    assert arguments["dtype"] == "float32"
    assert arguments["max_model_len"] == 128  # the bundled model's own limit
    # On a CPU: no prompt is read in pieces, whatever its length.
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= arguments["max_model_len"]
    assert arguments["block_size"] == 32  # shorter than most prompts, of which a group shares whole blocks
    assert "gpu_memory_utilization" not in arguments


def test_a_prompt_without_room(tmp_path: Path, fake_vllm: type[LLM]) -> None:
    engine = VllmEngine(setup(tmp_path, VllmConfig(max_model_len=64)))
    with pytest.raises(UsageError, match="a prompt of 45 tokens and 20 more do not fit vLLM's limit of 64") as raised:
        engine.generate([[6] * 44, [6] * 45], [[1], [2]], Sampling(1.0, 1.0, 20))
    assert "vllm.max_model_len=65" in raised.value.hint


# -- settings ---------------------------------------------------------------------------------------------------------


def test_how_long_a_prompt_and_its_completion_may_be(tmp_path: Path) -> None:
    toy, longest = setup(tmp_path).base, 20
    assert max_model_len(VllmConfig(), longest, toy) == 128
    assert max_model_len(VllmConfig(max_model_len=100), longest, toy) == 100
    large = tmp_path / "large"
    large.mkdir()
    (large / "config.json").write_text('{"model_type": "gemma3", "text_config": {"max_position_embeddings": 131072}}')
    assert max_model_len(VllmConfig(), 1024, large) == 1024 + 4096


def test_rank() -> None:
    assert [lora_room(rank) for rank in (1, 8, 9, 64, 300)] == [8, 8, 16, 64, 320]
    with pytest.raises(UsageError, match="up to rank 512, not 513"):
        lora_room(513)


@pytest.mark.parametrize(
    ("installed", "gpu", "device", "chosen"),
    [
        (True, True, "auto", "vllm"),
        (True, True, "cpu", "hf"),
        (True, False, "auto", "hf"),
        (False, True, "auto", "hf"),
    ],
)
def test_what_auto_means(monkeypatch: pytest.MonkeyPatch, installed: bool, gpu: bool, device: str, chosen: str) -> None:
    monkeypatch.setattr("rsgrpo_cli.engines.registry.find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    assert choose_engine("auto", device) == chosen
    assert choose_engine("hf", device) == "hf"
    assert choose_engine("vllm", "cpu") == "vllm"  # on the CPU, when asked for


# -- failures ---------------------------------------------------------------------------------------------------------


def test_without_vllm_it_says_what_to_install(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.engines.vllm_process.find_spec", lambda name: None)
    with pytest.raises(DependencyError):
        require_vllm("float32")
    result = cli(*TRAIN, *FULL)
    assert result.code == 1
    assert result.err.splitlines()[-2:] == [
        "error: the vllm engine needs the package vllm",
        "  pip install 'rsgrpo[vllm]'",
    ]
    assert not run.exists()  # the name can be used again


def test_float64_is_refused_before_anything_is_loaded(cli: Cli, run: Path) -> None:
    result = cli(*TRAIN, *FULL, "--dtype", "float64")
    assert result.code == 2
    assert result.err.splitlines()[-2:] == [
        "error: vLLM does not compute in float64",
        "  --engine hf, or --dtype float32",
    ]
    assert not run.exists()


LOGS = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB": "not enough GPU memory for vLLM",
    "ValueError: Free memory on device (10.1/79 GiB) on startup is less than": "not enough GPU memory for vLLM",
    "ValueError: To serve at least one request with the models's max seq len (32768), (1.0 GiB KV cache is needed":
        "vLLM's key-value cache has no room",
    "(EngineCore pid=12) ERROR 11-25 [core.py:9] RuntimeError: something new": "vLLM did not start: RuntimeError: some",
}  # fmt: skip


@pytest.mark.parametrize(("line", "said"), LOGS.items())
def test_the_reason_is_looked_up_in_the_log(tmp_path: Path, line: str, said: str) -> None:
    log = tmp_path / "vllm.log"
    log.write_text(f"INFO loading\nTraceback (most recent call last):\n{line}\n")
    error = explained("vLLM did not start", RuntimeError("Engine core failed. See root cause above."), log)
    assert error.message.startswith(said)
    assert str(log) in error.hint


def test_without_a_log_the_error_itself_is_told(tmp_path: Path) -> None:
    error = explained("vLLM stopped", ValueError("prompt is too long"), tmp_path / "none.log")
    assert error.message == "vLLM stopped: ValueError: prompt is too long"


@pytest.mark.parametrize(("broken", "said"), [("start", "vLLM did not start"), ("generate", "vLLM stopped")])
def test_failures_are_one_line(cli: Cli, run: Path, fake_vllm: type[LLM], broken: str, said: str) -> None:
    fake_vllm.broken.add(broken)
    result = cli(*TRAIN, *FULL)
    assert result.code == 1
    assert f"error: {said}: RuntimeError" in result.err
    assert "Traceback" not in result.err


def test_its_output_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with output_to(tmp_path / "vllm.log"):
        os.system("echo from a child")
        os.write(2, b"to stderr\n")
    os.write(1, b"to stdout\n")
    assert (tmp_path / "vllm.log").read_text() == "from a child\nto stderr\n"
    assert capfd.readouterr() == ("to stdout\n", "")

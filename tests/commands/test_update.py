"""An update of one optimizer step or of several, as a user runs it: what it keeps of the policy before."""

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.engines.hf import HfEngine
from rsgrpo_cli.engines.types import Generation
from rsgrpo_cli.policy import optimize
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.stages import update as stage
from tests.commands.test_stages import artifacts
from tests.conftest import SMALL, Cli

SEVERAL = ["--minibatches", "2", "--epochs", "2"]


def test_train_and_single_commands_leave_the_same(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--run", "runs/loop", "--steps", "1", *SEVERAL, *SMALL).code == 0
    settings = [*SMALL, "--set", "update.minibatches=2", "--set", "update.epochs=2"]
    assert cli("prepare", "--run", "runs/single", *settings).code == 0
    for command in ("rollout", "score", "advantage", "update"):
        assert cli(command, "--run", "runs/single").code == 0
    for name in ("policy_logprobs", "update_metrics"):
        pair = [tmp_path / "runs" / run / "steps/000000" / f"{name}.parquet" for run in ("loop", "single")]
        assert pair[0].read_bytes() == pair[1].read_bytes()
    assert len(pq.read_table(pair[0])) == 4
    row = pq.read_table(tmp_path / "runs/loop/metrics.parquet").to_pylist()[0]
    assert row["optimizer_steps"] == 4
    assert row["grad_norm_max"] >= row["grad_norm"] > 0


def test_an_update_that_died_resumes_with_its_policy_logprobs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ["train", "--run", "runs/x", "--steps", "1", *SEVERAL, *SMALL]
    assert cli(*train).code == 0
    made = tmp_path / "runs/x/checkpoints/000001/model.safetensors"
    weights, logprobs = made.read_bytes(), tmp_path / "runs/x/steps/000000/policy_logprobs.parquet"
    written = os.stat(logprobs).st_mtime_ns
    (made.parent / "manifest.json").unlink()  # as if killed before the checkpoint was complete
    monkeypatch.delattr(stage, "logprobs_and_entropies")  # nobody asks for them again
    assert cli(*train).code == 0
    assert os.stat(logprobs).st_mtime_ns == written
    assert made.read_bytes() == weights


def test_a_gradient_in_no_fixed_order_is_warned_of_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_one_order(_: str) -> None:
        raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation, but you set")

    warning = "this model's gradient is added up in no fixed order on a GPU"
    train = ["train", "--run", "runs/x", "--steps", "2", *SMALL]
    assert warning not in cli("train", "--run", "runs/ordered", "--steps", "1", *SMALL).err
    monkeypatch.setattr(optimize, "in_one_order", in_one_order)
    made = cli(*train)
    assert (made.code, made.err.count(warning)) == (0, 1), made.err


def test_one_step_keeps_what_the_trainer_said_of_each_token(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "--run", "runs/kept", "--steps", "2", *SMALL).code == 0
    kept = RunDir(tmp_path / "runs" / "kept")
    said, step = pq.read_table(kept.policy_logprobs(1)).to_pylist(), Step(kept, 1)
    tokens = [value for row in said for value in row["entropies"]]
    mean = step.updates.table().to_pylist()[0]["entropy"]
    assert mean == pytest.approx(sum(tokens) / len(tokens), rel=1e-5)
    sampled = step.rollouts.table(["completion_ids"])["completion_ids"].to_pylist()
    weighed = step.advantages.table(["advantage"])["advantage"].to_pylist()
    read = [len(ids) if advantage else 0 for ids, advantage in zip(sampled, weighed, strict=True)]
    assert [len(row["policy_logprobs"]) for row in said] == read
    assert 0 in read
    group, _, prompt = next(row["group_id"] for row in said if row["entropies"]).partition(":")
    where = ("--step", group, "--prompt", prompt, "--tokens", "0", "--json")
    assert all(token["entropy"] is not None for token in cli("show", "--run", kept.path, *where).json["tokens"])
    assert cli("verify", kept.path).code == 0


def test_what_an_interrupted_step_kept_is_written_again(cli: Cli, tmp_path: Path) -> None:
    train = ["train", "--run", "runs/x", "--steps", "1", *SMALL]
    assert cli(*train).code == 0
    run = RunDir(tmp_path / "runs/x")
    whole = {path: path.read_bytes() for path in run.step(0).glob("*.parquet")}
    (run.checkpoint(1) / "manifest.json").unlink()  # as if killed before the checkpoint was complete
    run.policy_logprobs(0).unlink()
    assert cli(*train).code == 0
    assert {path: path.read_bytes() for path in run.step(0).glob("*.parquet")} == whole
    run.policy_logprobs(0).write_bytes(b"a stranger's")
    (run.checkpoint(1) / "manifest.json").unlink()
    refused = cli(*train)
    assert (refused.code, "policy_logprobs.parquet" in refused.err) == (1, True), refused.err
    run.policy_logprobs(0).unlink()
    assert cli(*train).code == 0


def test_several_steps_take_up_what_one_step_kept(cli: Cli, tmp_path: Path) -> None:
    settings = ["--steps", "1", *SMALL]
    assert cli("train", "--run", "runs/one", *settings).code == 0
    assert cli("train", "--run", "runs/several", *settings, *SEVERAL).code == 0
    assert cli("update", "--run", "runs/one", "--step", "0", *SEVERAL, "--force").code == 0
    for name in ("steps/000000/policy_logprobs.parquet", "checkpoints/000001/model.safetensors"):
        pair = [tmp_path / "runs" / run / name for run in ("one", "several")]
        assert pair[0].read_bytes() == pair[1].read_bytes()


def test_a_cosine_that_is_over_refuses_to_train_on(cli: Cli, tmp_path: Path) -> None:
    train = ["train", "--run", "runs/x", "--set", "update.lr_schedule=cosine", *SMALL]
    assert cli(*train, "--steps", "2").code == 0
    lr = pq.read_table(tmp_path / "runs/x/metrics.parquet")["lr"].to_pylist()
    assert lr == pytest.approx([1e-3, 5e-4])  # (1 + cos(pi t / 2)) / 2 of 1e-3
    result = cli("train", "--run", "runs/x", "--steps", "3")
    assert result.code == 2
    assert "ends at a learning rate of 0 after 2 optimizer steps, and 3 are asked for" in result.err
    fork = ["fork", "y", "--run", "runs/x", "--steps", "3", "--set", "update.schedule_steps=4"]
    assert cli(*fork).code == 0
    assert cli("train", "--run", "runs/y").code == 0


@pytest.mark.parametrize("several", [[], SEVERAL], ids=["one optimizer step", "several"])
def test_a_sampler_without_a_number_for_some_tokens(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, several: list[str]
) -> None:
    generate = HfEngine.generate

    def broken(engine: HfEngine, *args: Any) -> list[list[Generation]]:
        """The first tokens of every completion have none."""
        groups = generate(engine, *args)
        for made in chain(*groups):
            nothing: list[Any] = [float("nan"), float("inf"), None]
            made.logprobs[:3] = nothing[: len(made.logprobs)]
        return groups

    monkeypatch.setattr(HfEngine, "generate", broken)
    train = ["train", "--run", "runs/x", "--steps", "2", *several, *SMALL]
    result = cli(*train)
    assert result.code == 0, result.err
    rows = pq.read_table(tmp_path / "runs/x/metrics.parquet").to_pylist()
    for step, row in enumerate(rows):
        table = pq.read_table(tmp_path / f"runs/x/steps/{step:06d}/update_metrics.parquet")
        dropped = sum(table["sampler_logprobs_dropped"].to_pylist())
        assert row["sampler_logprobs_dropped"] == dropped
        assert (f"step {step}: {dropped} tokens are left out of the loss" in result.err) == (dropped > 0)
        assert all(np.isfinite(row[name]) for name in ("loss", "grad_norm", "logprob_diff_max"))
    assert rows[0]["sampler_logprobs_dropped"] > 0
    prompt = pq.read_table(tmp_path / "runs/x/steps/000000/rollouts/part-00000.parquet")["prompt_id"][0].as_py()
    shown = cli("show", "--run", "runs/x", "--prompt", prompt)
    assert shown.code == 0, shown.err
    told = cli("show", "--run", "runs/x", "--prompt", prompt, "--json")
    assert {made["logprob"] for made in json.loads(told.out)["completions"]} == {None}
    assert cli(*train).code == 0  # nothing is left to do


TAGGED = ["--step", "1", "--advantages", "beta8", "--tag", "beta8"]


@pytest.fixture
def beside(cli: Cli, trained: Path) -> Path:
    """The run of two steps with advantages of another beta beside those of step 1."""
    assert cli("advantage", "--run", trained, "--step", "1", "--beta", "8", "--tag", "beta8").code == 0
    return trained


def untagged(run: Path) -> dict[str, bytes]:
    """The artifacts that no tag is in the name of, and that training made."""
    found = artifacts(run)
    return {name: data for name, data in found.items() if "beta8" not in name and not name.startswith("evals")}


def test_an_update_with_a_tag_is_measured_and_disturbs_nothing(cli: Cli, beside: Path) -> None:
    before, metrics = untagged(beside), (beside / "metrics.parquet").read_bytes()
    result = cli("update", "--run", beside, *TAGGED)
    assert result.code == 0, result.err
    assert "warning" not in result.err
    missing = cli("compare", f"{beside}@2", f"{beside}@2.beta8")
    for policy in ("2", "2.beta8"):
        assert cli("eval", "--run", beside, "--policy", policy, "-n", "2", "--k", "1").code == 0
        assert f"rsgrpo eval --run {beside} --policy 2" in missing.err
    compared = cli("compare", f"{beside}@2", f"{beside}@2.beta8", "--json")
    assert compared.code == 0, compared.err
    assert (compared.json["before"], compared.json["after"]) == ("trained@2", "trained@2.beta8")
    assert cli("update", "--run", beside, *TAGGED).out.startswith("update: nothing to do")
    assert (untagged(beside), (beside / "metrics.parquet").read_bytes()) == (before, metrics)
    status = cli("status", "--run", beside, "--json").json
    assert (status["stale"], status["checkpoints"]) == ([], [1, 2])
    assert cli("train", "--run", beside, "--steps", "3").code == 0
    assert (beside / "checkpoints/000002.beta8/manifest.json").is_file()  # which is not pruned either


def test_a_tagged_update_is_what_a_fork_comes_to(cli: Cli, beside: Path) -> None:
    assert cli("update", "--run", beside, *TAGGED).code == 0
    assert cli("fork", "runs/fork", "--run", beside, "--step", "1", "--beta", "8").code == 0
    assert cli("train", "--run", "runs/fork").code == 0
    places = (beside / "checkpoints/000002.beta8", Path("runs/fork/checkpoints/000002"))
    weights = [folder / "model.safetensors" for folder in places]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert cli("export", "--run", beside, "--policy", "2.beta8", "--out", "exported").code == 0
    assert Path("exported/model.safetensors").read_bytes() == weights[0].read_bytes()


def test_policies_of_one_run_stand_beside_one_another(cli: Cli, beside: Path, tmp_path: Path) -> None:
    assert cli("update", "--run", beside, *TAGGED).code == 0
    few = ["-n", "2", "--k", "1,2", "--workers", "1"]
    for policy in ("1", "2", "2.beta8"):
        assert cli("eval", "--run", beside, "--policy", policy, *few).code == 0
    compared = cli("compare", f"{beside}@2", f"{beside}@2.beta8", f"{beside}@1", "--k", "1,2")
    assert (compared.code, [name in compared.out for name in ("@2 ", "@2.beta8 ", "@1 ")]) == (0, [True] * 3)
    # Two policies of one run are not two seeds of one method.
    page = cli("report", f"{beside}@2", f"{beside}@2.beta8", "--html", "page.html")
    text = (tmp_path / "page.html").read_text()
    assert (page.code, "2 seeds" in text, f"{beside.name}@2.beta8" in text) == (0, False, True)
    exported = cli("export", f"{beside}@2.beta8", "--out", "model")
    assert (exported.code, "policy 2.beta8 of" in exported.out) == (0, True)
    assert "# trained, policy 2.beta8\n" in (tmp_path / "model/README.md").read_text()


def test_tagged_advantages_that_are_not_used_are_said(cli: Cli, beside: Path) -> None:
    result = cli("update", "--run", beside, "--step", "1", "--tag", "beta8")
    assert (result.code, "to use those tagged beta8: --advantages beta8" in result.err) == (0, True)
    assert "to use those" not in cli("update", "--run", beside, *TAGGED, "--force").err


def test_tags_are_shown(cli: Cli, beside: Path) -> None:
    tagged = cli("show", "--run", beside, "--step", "1", "--tag", "beta8", "--json").json
    own = cli("show", "--run", beside, "--step", "1", "--prompt", tagged["prompt_id"], "--json").json
    assert tagged["tagged"] == ["advantages"]
    for name in ("completion", "reward"):
        assert sorted(row[name] for row in own["completions"]) == sorted(row[name] for row in tagged["completions"])
    shown = cli("show", "--run", beside, "--tag", "beta8")
    assert (shown.code, "step 1 (advantages beta8)" in shown.out) == (0, True)
    nothing = cli("show", "--run", beside, "--tag", "beta9")
    assert (nothing.code, "tags there: beta8" in nothing.err) == (1, True)


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (["update", "--advantages", "beta8"], 2, "--advantages beta8 --tag beta8"),
        (["update", "--advantages", "beta9", "--tag", "x"], 2, "has no advantages with the tag beta9"),
        (["update", "--step", "0", "--advantages", "beta8", "--tag", "x"], 2, "--step 0 --tag beta8"),
        (["eval", "--policy", "2.beta9"], 1, "rsgrpo update --run"),
        (["eval", "--policy", "1.5"], 1, "--policy 1 --interpolate 0.5"),
        (["eval", "--policy", "two"], 2, "'two' is not a policy"),
        (["compare", "runs/trained@2.beta9", "runs/trained@2"], 1, "has no policy 2.beta9"),
    ],
)
def test_what_is_not_there_is_named(cli: Cli, beside: Path, command: list[str], code: int, text: str) -> None:
    run = [] if command[0] == "compare" else ["--run", str(beside)]
    result = cli(*command, *run)
    assert (result.code, text in result.err) == (code, True), result.err

import shutil
from contextlib import nullcontext
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import StaleError, UsageError
from rsgrpo_cli.pipeline.training import resume_config
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import METRICS
from tests.commands.test_stages import artifacts
from tests.conftest import SMALL, Cli


def test_a_run_under_runs_is_named_after_what_it_does(cli: Cli) -> None:
    first, second = (cli("train", "--steps", "1", "--beta", "4", *SMALL, "--json").json for _ in range(2))
    assert [first["run"], second["run"]] == ["runs/toy-rs_grpo-beta4-001", "runs/toy-rs_grpo-beta4-002"]
    assert cli("status", "--json").json["run"] == second["run"]  # the newest, unless named


def test_the_environment_names_the_run(cli: Cli, trained: Path, monkeypatch: object) -> None:
    monkeypatch.setenv("RSGRPO_RUN", str(trained))  # type: ignore[attr-defined]
    assert cli("status", "--json").json["run"] == str(trained)


def test_more_steps_later_are_the_same_as_all_at_once(cli: Cli, trained: Path) -> None:
    assert cli("train", "--run", "runs/parts", "--steps", "1", *SMALL).code == 0
    assert cli("train", "--run", "runs/parts", "--steps", "2", *SMALL).code == 0
    assert artifacts(trained.parent / "parts") == artifacts(trained)


def test_a_run_that_was_to_have_more_steps_goes_on_to_them(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def refused(*_: object) -> None:
        raise StaleError("another reward", "put it back")

    with monkeypatch.context() as patched:
        patched.setattr("rsgrpo_cli.pipeline.training.check_reward", refused)
        assert cli("train", "--run", trained, "--steps", "9").code == 1
    assert "2 of 2 steps done" in cli("status", "--run", trained).out  # a command that was refused changes nothing
    with monkeypatch.context() as patched:
        patched.setattr("rsgrpo_cli.pipeline.training.Training.step", interrupted)
        assert cli("train", "--run", trained, "--steps", "3").code == 130
    assert "2 of 3 steps done" in cli("status", "--run", trained).out
    assert "3 steps done, policy 3\n" in cli("train", "--run", trained).out
    assert cli("train", "--run", trained, "--steps", "2").code == 0
    assert RunDir(trained).config().train.steps == 3


def test_a_finished_run_is_left_alone(cli: Cli, trained: Path) -> None:
    before = artifacts(trained)
    result = cli("train", "--run", trained)
    assert (result.code, "2 steps done" in result.out) == (0, True)
    assert artifacts(trained) == before


def test_metrics_have_a_row_a_step(cli: Cli, trained: Path) -> None:
    table = pq.read_table(trained / "metrics.parquet")
    assert table.schema.remove_metadata() == METRICS.schema
    first, second = table.to_pylist()
    assert (first["step"], second["step"]) == (0, 1)
    assert (first["policy_version"], second["policy_version"]) == (0, 1)
    assert (first["estimator"], first["beta"]) == ("rs_grpo", 2.0)
    assert sum(count for _, count in first["status_counts"]) == 8 * 4
    assert first["groups_all_right"] + first["groups_all_wrong"] + first["groups_mixed"] == 8
    assert 0 < first["pass@1"] <= first["pass@G"] <= 1
    # 768 problems, 8 a step: solved so far is a count over all of them.
    assert first["cumulative_solve_rate"] == first["pass@G"] * 8 / 768
    assert second["cumulative_solve_rate"] >= first["cumulative_solve_rate"]
    assert first["lr"] == 0.001
    assert first["logprob_diff_max"] < 1e-3  # the sampler is the trainer
    assert first["seconds_step"] > 0
    assert first["kl"] is None


def test_steps_between_checkpoints_are_repeated_from_their_rollouts(cli: Cli) -> None:
    flags = ["--steps", "5", *SMALL]
    assert cli("train", "--run", "runs/every", "--keep-checkpoints", "9", *flags).code == 0
    assert cli("train", "--run", "runs/third", *flags, "--checkpoint-every", "3").code == 0
    assert sorted(path.name for path in Path("runs/third/checkpoints").iterdir()) == ["000003", "000005"]
    every, third = artifacts(Path("runs/every")), artifacts(Path("runs/third"))
    assert third.items() <= every.items()
    # As after a crash in step 4: the newest checkpoint is 3, and step 3 was done.
    shutil.rmtree("runs/third/checkpoints/000005")
    rollouts = Path("runs/third/steps/000003/rollouts/part-00000.parquet")
    made = rollouts.stat().st_mtime_ns
    assert cli("train", "--run", "runs/third", "--steps", "5").code == 0
    assert artifacts(Path("runs/third")) == third
    assert rollouts.stat().st_mtime_ns == made  # the update was done again, the sampling was not
    assert len(pq.read_table("runs/third/metrics.parquet")) == 5


def test_only_the_newest_checkpoints_stay(cli: Cli) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "5", "--keep-checkpoints", "2", *SMALL).code == 0
    assert sorted(path.name for path in Path("runs/x/checkpoints").iterdir()) == ["000004", "000005"]
    assert cli("status", "--run", "runs/x", "--json").json["stale"] == []


def test_the_best_evaluated_checkpoint_stays_too(cli: Cli) -> None:
    flags = ["--eval-every", "1", "-n", "2", "--k", "1,2", "--keep-checkpoints", "1", "--steps", "3"]
    # A learning rate that ruins the policy: the first checkpoint is the best.
    result = cli("train", "--run", "runs/x", *flags, *SMALL, "--set", "update.learning_rate=0.05")
    assert result.code == 0, result.err
    assert sorted(path.name for path in Path("runs/x/checkpoints").iterdir()) == ["000001", "000003"]


def test_the_base_model_is_evaluated_before_the_first_step(cli: Cli) -> None:
    flags = ["--eval-every", "2", "-n", "2", "--steps", "1"]
    result = cli("train", "--run", "runs/x", *flags, *SMALL)
    assert result.code == 0, result.err
    assert "k is 1, 2: no more than the 2 samples per problem; --k chooses others" in result.err
    assert result.err.index("policy 0 on toy: pass@1") < result.err.index("policy 1 on toy: pass@1")
    assert cli("compare", "runs/x@0", "runs/x").code == 0
    assert cli("train", "--run", "runs/x", "--steps", "2").err.count("policy 0 on toy") == 0  # once is enough


def test_lora_trains_an_adapter(cli: Cli) -> None:
    settings = [*SMALL, "--lora-rank", "4", "--learning-rate", "0.01"]
    assert cli("train", "--run", "runs/x", "--steps", "2", *settings).code == 0
    names = {path.name for path in Path("runs/x/checkpoints/000002").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "manifest.json"} <= names
    assert "model.safetensors" not in names
    # Resumed, it goes on from the adapter.
    assert cli("train", "--run", "runs/y", "--steps", "1", *settings).code == 0
    assert cli("train", "--run", "runs/y", "--steps", "2").code == 0
    assert artifacts(Path("runs/y")) == artifacts(Path("runs/x"))


def test_a_fork_shares_the_past_and_goes_on_its_own_way(cli: Cli, trained: Path) -> None:
    before = artifacts(trained)
    assert cli("fork", "runs/beta8", "--run", trained, "--step", "1", "--beta", "8").code == 0
    part = "steps/000001/rollouts/part-00000.parquet"
    shared = Path("runs/beta8") / part
    assert shared.samefile(trained / part)  # hard-linked, not copied
    result = cli("train", "--run", "runs/beta8")
    assert result.code == 0, result.err
    after = artifacts(Path("runs/beta8"))
    assert shared.samefile(trained / part)  # the rollouts of step 1 were used as they are
    same = {name for name in after if before.get(name) == after[name]}
    assert {"steps/000000/advantages.parquet", part, "steps/000001/rewards/part-00000.parquet"} <= same
    assert "steps/000001/advantages.parquet" not in same
    assert artifacts(trained) == before
    status = cli("status", "--run", "runs/beta8")
    assert "forked from trained at step 1" in status.out
    assert "nothing is stale" in status.out


def test_a_fork_may_sample_otherwise(cli: Cli, trained: Path) -> None:
    fork = ["fork", "runs/small", "--run", trained, "--step", "1"]
    assert cli(*fork, "--group-size", "3", "--prompts-per-step", "5").code == 0
    result = cli("train", "--run", "runs/small")
    assert result.code == 0, result.err
    rows = pq.read_table("runs/small/metrics.parquet").to_pylist()
    assert [row["groups_sampled"] for row in rows] == [8, 5]
    assert pq.read_table("runs/small/steps/000001/rewards").num_rows == 5 * 3


def test_a_fork_tells_of_its_past_as_it_was(cli: Cli) -> None:
    resample = ["--zero-variance", "resample", "--set", "rollout.draw_limit=4", "--seed", "2"]
    assert cli("train", "--run", "runs/x", "--steps", "2", *SMALL, *resample).code == 0
    assert cli("fork", "runs/y", "--run", "runs/x", "--step", "1", "--set", "rollout.zero_variance=keep").code == 0
    assert cli("train", "--run", "runs/y").code == 0
    was, then = (pq.read_table(f"runs/{name}/metrics.parquet").to_pylist() for name in "xy")
    assert was[0]["groups_mixed"] > was[0]["groups_kept"] == 8  # so that there is something to get wrong
    assert then[0]["groups_kept"] == was[0]["groups_kept"]
    assert then[1]["groups_sampled"] == 8  # and not all those that resampling had drawn for that step


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("model.lora_rank=8", "trained with model.lora_rank 4, not 8"),
        ("prepare.limit=40", "trained with the default prepare.limit, not 40"),
    ],
)
def test_a_fork_of_a_trained_policy_keeps_its_adapter_and_its_problems(cli: Cli, setting: str, complaint: str) -> None:
    assert cli("train", "--run", "runs/x", "--steps", "1", *SMALL, "--lora-rank", "4").code == 0
    fork = ["fork", "runs/y", "--run", "runs/x", "--set", setting]
    result = cli(*fork)
    assert (result.code, complaint in result.err) == (2, True)
    assert not Path("runs/y").exists()
    assert cli(*fork, "--step", "0").code == 0
    assert cli("train", "--run", "runs/y").code == 0


def test_a_run_keeps_the_benchmark_that_its_problems_were_cleaned_of(tmp_path: Path) -> None:
    for mode, refuses in (("report", False), ("drop", True)):
        settings = {"prepare.decontaminate": mode, "eval.benchmark": "aime24"}
        run = RunDir.create(tmp_path / mode, resolve(settings))
        run.rollouts(0).mkdir(parents=True)
        (run.rollouts(0) / "part-00000.parquet").touch()  # something depends on the settings
        with pytest.raises(UsageError, match="benchmark aime24, not aime25") if refuses else nullcontext():
            resume_config(run, {"eval.benchmark": "aime25"})


def test_a_fork_needs_its_checkpoint(cli: Cli, trained: Path) -> None:
    result = cli("fork", "runs/new", "--run", trained, "--step", "7")
    assert (result.code, "run trained has no policy 7" in result.err) == (1, True)
    assert not Path("runs/new").exists()


def test_the_dummy_engine_runs_the_stages_up_to_the_update(cli: Cli, tmp_path: Path) -> None:
    rows = "".join(f'{{"problem": "number {n}?", "answer": "{n}"}}\n' for n in range(10))
    (tmp_path / "numbers.jsonl").write_text(rows)
    assert cli("prepare", "--run", "runs/x", "--dataset", "numbers.jsonl", *SMALL).code == 0
    for command in ("rollout", "score", "advantage"):
        engine = ["--engine", "dummy"] if command == "rollout" else []
        assert cli(command, "--run", "runs/x", *engine).code == 0
    statuses = pq.read_table("runs/x/steps/000000/rewards")["reward_status"].to_pylist()
    assert {"ok", "wrong", "no_box"} == set(statuses)
    result = cli("update", "--run", "runs/x")
    assert (result.code, "the model has 27 tokens" in result.err) == (1, True)

"""Groups whose rewards are all equal: kept, dropped, or replaced by further prompts; and shaped rewards."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.commands.test_stages import artifacts
from tests.conftest import SMALL, Cli

RESAMPLE = [*SMALL, "--set", "rollout.zero_variance=resample"]
NUMBERS = [
    *("--dataset", "numbers.jsonl", "--set", "rollout.engine=dummy", "--set", "rollout.zero_variance=resample"),
    *("--set", "rollout.group_size=4", "--set", "rollout.prompts_per_step=8", "--set", "score.workers=1"),
]
STEP = "steps/000000"


@pytest.fixture
def numbers(tmp_path: Path) -> None:
    """40 problems of which the dummy engine, which boxes a digit, gets one in eleven right."""
    rows = [json.dumps({"problem": f"number {n}?", "answer": str(n % 10)}) for n in range(40)]
    (tmp_path / "numbers.jsonl").write_text("\n".join(rows))


def read(run: Path, name: str) -> list[dict[str, Any]]:
    rows = pq.read_table(run / STEP / name).to_pylist()
    return sorted(rows, key=lambda row: (row.get("group_id", ""), row.get("sample_index", 0)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def groups(rows: list[dict[str, Any]]) -> dict[str, set[float]]:
    found: dict[str, set[float]] = {}
    for row in rows:
        found.setdefault(row["group_id"], set()).add(row["reward"])
    return found


def ok(cli: Cli, *arguments: str | Path) -> Any:
    result = cli(*arguments, "--json")
    assert result.code == 0, result.err
    return result.json


def rounds(cli: Cli, run: str) -> int:
    """Sample and score until nothing more is called for; how often it took."""
    for number in range(1, 10):
        ok(cli, "rollout", "--run", run)
        if not ok(cli, "score", "--run", run).get("prompts_to_draw"):
            return number
    raise AssertionError("it never ends")


def test_single_commands_replace_groups_until_there_are_enough(cli: Cli, numbers: None) -> None:
    ok(cli, "prepare", "--run", "runs/x", *NUMBERS)
    run = Path("runs/x")
    ok(cli, "rollout", "--run", "runs/x")
    first = (run / STEP / "rollouts/part-00000.parquet").read_bytes()
    scored = ok(cli, "score", "--run", "runs/x")
    before = read(run, "rewards")
    varied = sum(len(values) > 1 for values in groups(before).values())
    assert varied < 8
    assert scored["prompts_to_draw"] > 0
    assert rounds(cli, "runs/x") >= 2
    after = groups(read(run, "rewards"))
    parts = sorted(path.name for path in (run / STEP / "rollouts").glob("*.parquet"))
    # 8 prompts at first and 2 in each further part, none twice, at most 4 steps' worth.
    assert len(after) == 8 + 2 * (len(parts) - 1) <= 32
    assert (sum(len(values) > 1 for values in after.values()), len(after)) == (10, 32)
    assert (run / STEP / "rollouts/part-00000.parquet").read_bytes() == first
    rewards = read(run, "rewards")  # those made before are taken over
    assert [row for row in rewards if row["group_id"] in groups(before)] == before
    keys = [(row["group_id"], row["sample_index"]) for row in rewards]
    assert keys == sorted(set(keys))
    # Done is done.
    content = artifacts(run)
    assert ok(cli, "rollout", "--run", "runs/x")["skipped"]
    assert ok(cli, "score", "--run", "runs/x")["skipped"]
    assert artifacts(run) == content


def test_the_rewards_are_those_of_scoring_all_at_once(cli: Cli, numbers: None) -> None:
    ok(cli, "prepare", "--run", "runs/x", *NUMBERS)
    rounds(cli, "runs/x")
    before = contents(Path("runs/x", STEP, "rewards"))
    assert not ok(cli, "score", "--run", "runs/x", "--force")["skipped"]
    assert contents(Path("runs/x", STEP, "rewards")) == before


class Killed(BaseException):
    """What stands for kill -9: nothing catches it."""


def test_killed_at_every_write_and_repeated_it_makes_the_same_files(
    cli: Cli, numbers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, writes = os.replace, 0
    ok(cli, "prepare", "--run", "runs/whole", *NUMBERS)
    rounds(cli, "runs/whole")
    whole = artifacts(Path("runs/whole"))
    assert len(whole) > 6

    def killed(source: str, target: str) -> None:
        # Every second time before the file gets its name, else after it.
        nonlocal writes
        writes += 1
        if writes % 2 == 0:
            replace(source, target)
        raise Killed

    ok(cli, "prepare", "--run", "runs/x", *NUMBERS)
    for command in ["rollout", "score"] * 60:
        monkeypatch.setattr(os, "replace", killed)
        with contextlib.suppress(Killed):
            cli(command, "--run", "runs/x")
        monkeypatch.setattr(os, "replace", replace)
    assert writes > 2 * len(whole)  # each was killed twice; the manifest is written in every round
    assert rounds(cli, "runs/x") == 1
    assert artifacts(Path("runs/x")) == whole


def test_the_limit_ends_it(cli: Cli, numbers: None) -> None:
    # A problem that is never right has no varied rewards: 8 prompts, then another 8 at most.
    Path("numbers.jsonl").write_text("\n".join(json.dumps({"problem": f"{n}?", "answer": "77"}) for n in range(40)))
    ok(cli, "prepare", "--run", "runs/x", *NUMBERS, "--set", "rollout.draw_limit=2")
    assert rounds(cli, "runs/x") == 2
    assert len(groups(read(Path("runs/x"), "rewards"))) == 16


def test_too_few_problems_end_it(cli: Cli, numbers: None) -> None:
    Path("numbers.jsonl").write_text("\n".join(json.dumps({"problem": f"{n}?", "answer": "77"}) for n in range(11)))
    ok(cli, "prepare", "--run", "runs/x", *NUMBERS)
    assert rounds(cli, "runs/x") == 2
    assert len(groups(read(Path("runs/x"), "rewards"))) == 11


def test_a_step_with_advantages_is_settled(cli: Cli, numbers: None) -> None:
    ok(cli, "prepare", "--run", "runs/x", *NUMBERS)
    ok(cli, "rollout", "--run", "runs/x")
    missing = ok(cli, "score", "--run", "runs/x")["prompts_to_draw"]
    early = cli("advantage", "--run", "runs/x")
    assert early.code == 0
    assert f"step 0 is used without {missing} further prompts" in early.err
    assert "rsgrpo rollout --run runs/x --step 0" in early.err
    assert ok(cli, "rollout", "--run", "runs/x")["skipped"]
    assert "prompts_to_draw" not in ok(cli, "score", "--run", "runs/x")


def test_rewards_of_some_of_the_parts_are_not_compared(cli: Cli, numbers: None) -> None:
    ok(cli, "prepare", "--run", "runs/x", *NUMBERS)
    for command in ("rollout", "score", "rollout"):
        ok(cli, command, "--run", "runs/x")
    result = cli("advantage", "--run", "runs/x")
    assert (result.code, "the rewards of step 0 are of only some of its rollouts" in result.err) == (1, True)


def test_train_does_the_same_as_single_commands_and_trains_on_a_full_step(cli: Cli) -> None:
    assert cli("train", "--run", "runs/whole", "--steps", "2", *RESAMPLE).code == 0
    ok(cli, "prepare", "--run", "runs/chain", *RESAMPLE)
    for _ in range(2):
        rounds(cli, "runs/chain")
        for command in ("advantage", "update"):
            ok(cli, command, "--run", "runs/chain")
    assert artifacts(Path("runs/chain")) == artifacts(Path("runs/whole"))
    for metrics in pq.read_table("runs/whole/metrics.parquet").to_pylist():
        assert metrics["groups_sampled"] > 8
        assert metrics["groups_kept"] == min(8, metrics["groups_mixed"])
        update = pq.read_table(f"runs/whole/steps/{metrics['step']:06d}/update_metrics.parquet").to_pylist()[0]
        assert (update["groups"], update["groups_dropped"]) == (metrics["groups_kept"], 0)
        assert update["tokens"] == update["tokens_forward"]
    assert cli("status", "--run", "runs/whole", "--json").json["stale"] == []


def test_dropped_groups_leave_the_average_and_nothing_else_changes(cli: Cli) -> None:
    for mode in ("keep", "drop"):
        assert cli("train", "--run", f"runs/{mode}", "--steps", "1", *SMALL, "--zero-variance", mode).code == 0
    kept, dropped = artifacts(Path("runs/keep")), artifacts(Path("runs/drop"))
    same = {name for name in kept if kept[name] == dropped[name]}
    assert {
        f"{STEP}/rewards/part-00000.parquet",
        f"{STEP}/advantages.parquet",
        f"{STEP}/rollouts/manifest.json",
    } <= same
    one, other = (read(Path(f"runs/{mode}"), "update_metrics.parquet")[0] for mode in ("keep", "drop"))
    assert one["groups_dropped"] > 0
    assert other["tokens"] == one["tokens_forward"] < one["tokens"]
    # The same sum over the same tokens, divided by fewer.
    assert other["loss"] == pytest.approx(one["loss"] * one["tokens"] / other["tokens"], rel=1e-5)


def test_keeping_is_the_default_and_leaves_the_same_bytes(cli: Cli, trained: Path) -> None:
    assert cli("train", "--run", "runs/keep", "--steps", "2", *SMALL, "--zero-variance", "keep").code == 0
    assert artifacts(trained.parent / "keep") == artifacts(trained)


@pytest.mark.parametrize("mode", ["drop", "resample"])
@pytest.mark.parametrize("minibatches", ["1", "2"])
def test_a_step_without_any_gradient_can_be_dropped(cli: Cli, mode: str, minibatches: str) -> None:
    settings = [*SMALL, "--zero-variance", mode, "--minibatches", minibatches]
    settings += ["--set", "rollout.draw_limit=1", "--set", "rollout.max_tokens=1"]  # nothing is ever right
    result = cli("train", "--run", "runs/x", "--steps", "1", *settings)
    assert result.code == 0, result.err
    metrics = pq.read_table("runs/x/metrics.parquet").to_pylist()[0]
    assert (metrics["groups_kept"], metrics["groups_all_wrong"], metrics["loss"]) == (0, 8, 0)


def test_shaped_rewards_are_a_sum_that_the_breakdown_explains(cli: Cli) -> None:
    shaping = ["--set", "score.overlong_buffer=10", "--set", "score.format_weight=0.25"]
    assert cli("train", "--run", "runs/x", "--steps", "1", *SMALL, *shaping).code == 0
    lengths = {
        (row["group_id"], row["sample_index"]): len(row["completion_ids"])
        for row in read(Path("runs/x"), "rollouts/part-00000.parquet")
    }
    for row in read(Path("runs/x"), "rewards"):
        parts = dict(row["reward_breakdown"])
        assert list(parts) == ["correctness", "overlong", "format"]
        assert row["reward"] == sum(parts.values())
        assert parts["correctness"] == (row["reward_status"] == "ok")
        # The bundled task's limit is 20 tokens.
        assert parts["overlong"] == -max(0, lengths[row["group_id"], row["sample_index"]] - 10) / 10
        assert parts["format"] == (0.25 if row["extracted_answer"] is not None else 0)
    metrics = pq.read_table("runs/x/metrics.parquet").to_pylist()[0]
    statuses = [metrics[f"groups_{name}"] for name in ("all_right", "all_wrong", "mixed", "shaped")]
    assert sum(statuses) == metrics["groups_sampled"] == 8
    assert metrics["groups_shaped"] > 0
    assert metrics["groups_kept"] == metrics["groups_mixed"] + metrics["groups_shaped"]
    right = [row["reward_status"] == "ok" for row in read(Path("runs/x"), "rewards")]
    assert metrics["pass@1"] == sum(right) / len(right)  # by the verdicts, whatever the rewards are


def test_an_evaluation_does_not_shape(cli: Cli, trained: Path) -> None:
    evaluate = ["eval", "--run", trained, "-n", "2", "--k", "1", "--set", "eval.max_tokens=20"]
    assert cli(*evaluate).code == 0
    again = cli(*evaluate, "--set", "score.format_weight=0.5")
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("rollout.zero_variance=skip", "rollout.zero_variance: must be 'keep', 'drop' or 'resample', not 'skip'"),
        ("rollout.draw_limit=0", "rollout.draw_limit: must be at least 1"),
        ("score.overlong_buffer=-1", "score.overlong_buffer: must be at least 0"),
        ("score.overlong_buffer=21", "score.overlong_buffer must be at most rollout.max_tokens (20), not 21"),
        ("score.format_weight=nan", "score.format_weight"),
    ],
)
def test_bad_settings_are_refused(cli: Cli, setting: str, message: str) -> None:
    result = cli("train", "--set", setting)
    assert (result.code, message in result.err) == (2, True), result.err
    assert not Path("runs").exists()

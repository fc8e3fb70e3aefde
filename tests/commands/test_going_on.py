"""What decides a run is compared when it goes on: the base model's files, the reward, a stage's own settings."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from rsgrpo_cli.artifacts import read_lineage
from rsgrpo_cli.models import model_directory
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import REWARDS
from tests.conftest import SMALL, Cli, run_quietly

Change = Callable[[Path], None]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the user's own."""
    return Path(shutil.copytree(model_directory("toy"), tmp_path / "model"))


def change_weights(model: Path) -> None:
    path = model / "model.safetensors"
    save_file({name: value + 0.01 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})


def change_template(model: Path) -> None:
    path = model / "chat_template.jinja"
    if path.is_file():
        path.write_text(path.read_text() + "\n")
    else:
        config = json.loads((model / "tokenizer_config.json").read_text())
        config["chat_template"] += "\n"
        (model / "tokenizer_config.json").write_text(json.dumps(config))


def change_config(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))


def change_stops(model: Path) -> None:
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5]}))


def change_sampling_defaults(model: Path) -> None:
    defaults = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(defaults | {"repetition_penalty": 1.5}))


def change_tokenizer_settings(model: Path) -> None:
    settings = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": True}))


CHANGES = {
    "weights": (change_weights, "weights"),
    "template": (change_template, "chat template"),
    "config": (change_config, "config.json"),
    "stops": (change_stops, "stop tokens (generation_config.json)"),
    "sampling defaults": (change_sampling_defaults, "generation_config.json"),
    "tokenizer settings": (change_tokenizer_settings, "tokenizer settings (tokenizer_config.json"),
}


@pytest.fixture(scope="module")
def adapter_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run of one step, with an evaluation, only copied from."""
    folder = tmp_path_factory.mktemp("adapter")
    shutil.copytree(model_directory("toy"), folder / "model")
    settings = ["--model", "model", "--lora-rank", "2", "--steps", "1", *SMALL]
    run_quietly(folder, "train", "--run", "runs/x", *settings)
    run_quietly(folder, "eval", "--run", "runs/x", "-n", "2", "--k", "1")
    return folder / "runs/x"


@pytest.fixture
def adapter(cli: Cli, model: Path, adapter_once: Path, tmp_path: Path) -> Path:
    """A LoRA run of one step, with an evaluation."""
    return Path(shutil.copytree(adapter_once, tmp_path / "runs/x"))


@pytest.mark.parametrize("name", CHANGES)
def test_another_base_model_is_refused(cli: Cli, adapter: Path, model: Path, name: str) -> None:
    change, said = CHANGES[name]
    change(model)
    for command in (
        ["train", "--run", adapter, "--steps", "2"],
        ["rollout", "--run", adapter],
        ["eval", "--run", adapter, "-n", "4", "--k", "1"],
        ["export", adapter, "--merge"],
        ["fork", "runs/y", "--run", adapter],
    ):
        result = cli(*command)
        assert (result.code, said in result.err, "--accept-changes" in result.err) == (1, True, True), result.err
        assert "is not the one that run x was made with" in result.err
    assert not (adapter / "steps/000001").exists()
    assert not Path("runs/y").exists()
    assert not (adapter / "exports").exists()


def test_the_old_files_put_back_go_on(cli: Cli, adapter: Path, model: Path) -> None:
    before = (model / "model.safetensors").read_bytes()
    change_weights(model)
    assert cli("train", "--run", adapter, "--steps", "2").code == 1
    (model / "model.safetensors").write_bytes(before)
    assert cli("train", "--run", adapter, "--steps", "2").code == 0


def test_changes_can_be_accepted(cli: Cli, adapter: Path, model: Path) -> None:
    change_weights(model)
    result = cli("train", "--run", adapter, "--steps", "2", "--accept-changes")
    assert result.code == 0, result.err
    events = [json.loads(line) for line in (adapter / "events.jsonl").read_text().splitlines()]
    (accepted,) = [event for event in events if event["stage"] == "accept-changes"]
    assert [change["name"] for change in accepted["changes"]] == ["weights"]
    lineage = json.loads(pq.read_schema(adapter / "steps/000001/update_metrics.parquet").metadata[b"rsgrpo"])
    assert lineage["outputs"]["accepted"]
    # From then on it is the run's model; what was measured before is of another one.
    assert cli("train", "--run", adapter, "--steps", "3").code == 0
    (stale,) = cli("status", "--run", adapter, "--json").json["stale"]
    assert "the evaluation of policy 1 on toy was made before the base model was changed" in stale
    mixed = cli("eval", "--run", adapter, "--policy", "2", "-n", "2", "--k", "1")
    assert mixed.code == 0, mixed.err
    assert len(cli("status", "--run", adapter, "--json").json["stale"]) == 1


def test_a_run_that_recorded_nothing_goes_on_and_is_compared_by_its_samples(
    cli: Cli, adapter: Path, model: Path
) -> None:
    (adapter / "identity.json").unlink()
    assert cli("train", "--run", adapter, "--steps", "2").code == 0
    (adapter / "identity.json").unlink()
    change_weights(model)
    result = cli("train", "--run", adapter, "--steps", "3")
    assert (result.code, "weights" in result.err) == (1, True), result.err


def test_a_damaged_record_is_one_line(cli: Cli, adapter: Path) -> None:
    wrong = ("{", "[]", '{"version": 1}', '{"version": 9, "base": {}}', '{"version": 1, "base": {"weights": 3}}')
    for content in wrong:
        (adapter / "identity.json").write_text(content)
        result = cli("train", "--run", adapter, "--steps", "2")
        assert (result.code, "identity.json" in result.err, "bug" in result.err) == (1, True, False), result.err


def test_a_model_on_the_hub_stays_at_its_commit(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Path("hub/models--me--model/snapshots")
    for commit in ("aaa", "bbb"):
        shutil.copytree(model, hub / commit)
    change_weights(hub / "bbb")
    newest = ["aaa"]

    def download(name: str, files: object) -> Path:
        return hub / (name.partition("@")[2] or newest[0])

    monkeypatch.setattr("rsgrpo_cli.models._from_hub", download)
    flags = ["--model", "me/model", "--lora-rank", "2", *SMALL]
    assert cli("train", "--run", "runs/x", "--steps", "1", *flags).code == 0
    newest[0] = "bbb"
    for command in (["train", "--run", "runs/x", "--steps", "2"], ["export", "runs/x", "--merge"]):
        result = cli(*command)
        assert result.code == 0, result.err
    shutil.rmtree(hub / "aaa")
    shutil.copytree(hub / "bbb", hub / "aaa")
    result = cli("train", "--run", "runs/x", "--steps", "3")
    assert (result.code, "--revision aaa" in result.err) == (1, True), result.err


# -- the reward -------------------------------------------------------------------------------------------------------

MINE = "def f(completions, **columns):\n    return [{weight} * (len(text) % 3) for text in completions]\n"


@pytest.fixture(scope="module")
def rewarded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step with a reward of its own, only copied from."""
    folder = tmp_path_factory.mktemp("rewarded")
    (folder / "mine.py").write_text(MINE.format(weight=1))
    run_quietly(folder, "train", "--run", "runs/x", "--steps", "1", "--reward", "mine:f", *SMALL)
    return folder / "runs/x"


@pytest.fixture
def rewarded(cli: Cli, rewarded_once: Path, tmp_path: Path) -> Path:
    """A run of one step with a reward of its own."""
    (tmp_path / "mine.py").write_text(MINE.format(weight=1))
    return Path(shutil.copytree(rewarded_once, tmp_path / "runs/x"))


def test_another_reward_is_refused(cli: Cli, rewarded: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(weight=2))
    result = cli("train", "--run", rewarded, "--steps", "2")
    assert (result.code, "the reward mine:f is not the one that run x was made with" in result.err) == (1, True)
    for way_out in ("rsgrpo fork", "--accept-changes"):
        assert way_out in result.err
    assert not (rewarded / "steps/000001").exists()  # known before anything was sampled
    assert cli("rollout", "--run", rewarded).code == 0
    assert "is not the one that run x was made with" in cli("score", "--run", rewarded).err
    (tmp_path / "mine.py").write_text(MINE.format(weight=1))
    assert cli("train", "--run", rewarded, "--steps", "2").code == 0


def test_another_reward_can_be_accepted(cli: Cli, rewarded: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(weight=2))
    assert cli("train", "--run", rewarded, "--steps", "2", "--accept-changes").code == 0
    assert cli("train", "--run", rewarded, "--steps", "3").code == 0
    assert "accept-changes" in (rewarded / "events.jsonl").read_text()


def test_what_was_scored_before_a_change_was_accepted_stays(cli: Cli, rewarded: Path, tmp_path: Path) -> None:
    shutil.rmtree(rewarded / "checkpoints")  # as a run killed before its first checkpoint
    before = (rewarded / "steps/000000/rewards/part-00000.parquet").read_bytes()
    (tmp_path / "mine.py").write_text(MINE.format(weight=2))
    assert cli("train", "--run", rewarded).code == 1
    result = cli("train", "--run", rewarded, "--accept-changes")
    assert result.code == 0, result.err
    assert (rewarded / "steps/000000/rewards/part-00000.parquet").read_bytes() == before


def test_a_fork_goes_on_with_the_new_reward(cli: Cli, rewarded: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.format(weight=2))
    assert cli("fork", "runs/y", "--run", rewarded, "--steps", "2").code == 0
    result = cli("train", "--run", "runs/y")
    assert result.code == 0, result.err


def test_other_rules_of_grading_are_noticed(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.rewards.countdown.CountdownReward.identity", "countdown policy-999")
    result = cli("train", "--run", trained, "--steps", "3")
    assert (result.code, "policy-999" in result.err) == (1, True), result.err
    refused = cli("eval", "--run", trained, "-n", "2", "--k", "1")
    assert (refused.code, "--accept-changes" in refused.err) == (1, True), refused.err
    assert cli("train", "--run", trained, "--steps", "3", "--accept-changes").code == 0
    assert cli("eval", "--run", trained, "-n", "2", "--k", "1").code == 0


def test_a_finished_run_is_not_compared(cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsgrpo_cli.rewards.math.reward.GRADING_RULES_VERSION", 999)
    assert cli("train", "--run", trained).code == 0


# -- a stage with settings of its own ---------------------------------------------------------------------------------


def test_a_stage_with_its_own_settings_says_so(cli: Cli) -> None:
    assert cli("prepare", "--run", "runs/x", *SMALL).code == 0
    result = cli("rollout", "--run", "runs/x", "--temperature", "0.5")
    assert result.code == 0
    assert "rollout.temperature 0.5, not the run's own 1.0: for this command only" in result.err
    assert "rsgrpo fork NEW --run runs/x --set rollout.temperature=0.5" in result.err
    assert cli("score", "--run", "runs/x").err == ""
    told = "the rollouts of step 0 have temperature 0.5; the run's own is 1.0"
    assert cli("status", "--run", "runs/x", "--json").json["departures"] == [told]
    assert f"other settings: {told}" in cli("status", "--run", "runs/x").out
    # What the warning says of train is so.
    result = cli("train", "--run", "runs/x", "--steps", "1")
    assert (result.code, "made with other settings" in result.err) == (1, True), result.err


def test_a_tag_is_no_departure(cli: Cli, trained: Path) -> None:
    result = cli("advantage", "--run", trained, "--step", "0", "--beta", "8", "--tag", "b8")
    assert (result.code, result.err) == (0, "")
    assert cli("status", "--run", trained, "--json").json["departures"] == []


def test_the_model_card_names_steps_with_other_settings(cli: Cli, trained: Path) -> None:
    assert cli("update", "--run", trained, "--step", "1", "--lr", "0.02").code == 0
    assert cli("export", trained, "--out", "out").code == 0
    assert "- updates: learning_rate 0.02, in step 1" in Path("out/README.md").read_text()


MATH_RULES = "rsgrpo_cli.rewards.math.reward.GRADING_RULES_VERSION"


def test_other_rules_for_mathematics_change_nothing_for_puzzles(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewards = RunDir(trained).rewards(0) / "part-00000.parquet"
    assert read_lineage(rewards, REWARDS).config["identity"].startswith("auto countdown: countdown policy-")
    monkeypatch.setattr(MATH_RULES, "another")
    assert "up to date" in cli("score", "--run", trained, "--step", "1").out
    resumed = cli("train", "--run", trained, "--steps", "3")
    assert resumed.code == 0, resumed.err
    assert cli("eval", "--run", trained, "-n", "1", "--k", "1").code == 0


def test_an_older_run_on_puzzles_goes_on_under_other_rules_for_mathematics(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("rsgrpo_cli.pipeline.grading.rules_for", lambda identity, tasks: identity)
        assert cli("train", "--run", "runs/x", "--steps", "1", *SMALL).code == 0
        assert cli("eval", "--run", "runs/x", "--policy", "0", "-n", "1", "--k", "1").code == 0
    rewards = RunDir(Path("runs/x")).rewards(0) / "part-00000.parquet"
    assert "math: math policy-" in read_lineage(rewards, REWARDS).config["identity"]
    monkeypatch.setattr(MATH_RULES, "another")
    assert "up to date" in cli("score", "--run", "runs/x", "--step", "0").out
    for command in (["train", "--steps", "2"], ["eval", "--policy", "0", "-n", "2", "--k", "1"]):
        result = cli(*command, "--run", "runs/x")
        assert result.code == 0, result.err
    assert cli("verify", "runs/x").code == 0
    made = rewards.read_bytes()
    rewards.unlink()
    assert cli("score", "--run", "runs/x", "--step", "0").code == 0
    assert rewards.read_bytes() == made  # so that nothing that was made from them is stale


def test_other_rules_for_mathematics_are_refused_in_a_run_on_mathematics(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sums.jsonl").write_text("".join(f'{{"problem": "{n}+1", "answer": "{n + 1}"}}\n' for n in range(8)))
    data = ["--dataset", "sums.jsonl"]
    assert cli("train", "--run", "runs/x", "--steps", "1", *SMALL, *data).code == 0
    monkeypatch.setattr(MATH_RULES, "another")
    refused = cli("train", "--run", "runs/x", "--steps", "2")
    assert (refused.code, "the reward auto is not the one" in refused.err) == (1, True), refused.err
    assert "math policy-another" in refused.err
    assert cli("train", "--run", "runs/x", "--steps", "2", "--accept-changes").code == 0
    assert cli("train", "--run", "runs/x", "--steps", "3").code == 0  # it stays accepted


def test_a_model_that_was_moved_is_named_once(cli: Cli, adapter: Path, model: Path) -> None:
    model.rename("elsewhere")
    way = f"say so once, to train, eval or prepare: rsgrpo train --run {adapter} --model DIR"
    for command in (["train", "--steps", "2"], ["rollout"], ["eval", "-n", "4"], ["plan"], ["verify"], ["status"]):
        result = cli(command[0], "--run", adapter, *command[1:])
        assert "no model at 'model'" in result.out + result.err
        assert way in result.out + result.err
    assert cli("train", "--run", adapter, "--model", "elsewhere", "--steps", "2").code == 0
    assert cli("verify", "--run", adapter).code == 0
    assert way not in cli("status", "--run", adapter).out
    assert RunDir(adapter).config().model.name == "model"


@pytest.mark.parametrize("change", [change_weights, change_template])
def test_another_model_is_not_the_one_that_was_moved(cli: Cli, adapter: Path, model: Path, change: Change) -> None:
    model.rename("elsewhere")
    change(Path("elsewhere"))
    before = (adapter / "identity.json").read_bytes()
    for command in ("train", "eval"):
        result = cli(command, "--run", adapter, "--model", "elsewhere")
        assert (result.code, "model, not elsewhere" in result.err) == (2, True), result.err
    assert (adapter / "identity.json").read_bytes() == before


def test_a_run_that_recorded_no_model_is_linked_to_it(cli: Cli, adapter: Path, model: Path) -> None:
    (adapter / "identity.json").unlink()
    target = model.rename("elsewhere")
    result = cli("train", "--run", adapter, "--steps", "2")
    assert "if it has moved to DIR, link it: ln -s DIR model" in result.err
    model.symlink_to(target.absolute())
    assert cli("train", "--run", adapter, "--steps", "2").code == 0

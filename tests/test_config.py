from pathlib import Path

import pytest

from rsgrpo_cli import config
from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.tasks.sample_counts import for_benchmark


def test_learning_rate_depends_on_what_is_trained() -> None:
    assert config.resolve({"model.name": "other"}).update.learning_rate == 1e-6
    assert config.resolve({"model.name": "other", "model.lora_rank": 8}).update.learning_rate == 1e-5
    assert config.resolve({"model.name": "other", "update.learning_rate": 3e-4}).update.learning_rate == 3e-4


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("[rollout]\ngroup_size = 8\n", encoding="utf-8-sig")
    assert config.resolve({}, tmp_path / "my.toml").rollout.group_size == 8
    (tmp_path / "my.toml").write_bytes(b"# Pr\xe9cis\n[rollout]\ngroup_size = 8\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        config.resolve({}, tmp_path / "my.toml")


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('[advantage]\nestimator = "rs_grpo"\nbeta = 3\n[rollout]\ngroup_size = 8\n')
    made = config.resolve({"advantage.beta": 5.0}, file)
    assert made.advantage.model_dump()["beta"] == 5.0  # the flag
    assert made.rollout.group_size == 8  # the file
    assert made.rollout.max_tokens == 20  # the recipe of the bundled model
    assert made.update.clip_high == 0.28  # the default


def test_another_estimator_does_not_inherit_the_knobs_of_the_first() -> None:
    first = config.resolve({"advantage.beta": 4.0, "advantage.scale": "rms"})
    second = config.override(first, {"advantage.estimator": "grpo"})
    assert second.advantage.model_dump() == {"estimator": "grpo", "scale": "rms"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"advantage.beta": float("nan")}, "advantage.beta: must be a finite number, not nan"),
        ({"advantage.beta": float("inf")}, "advantage.beta: must be a finite number, not inf"),
        ({"advantage.estimator": "foo"}, "unknown estimator 'foo'"),
        ({"advantage.estimator": "grpo", "advantage.beta": 2.0}, "advantage.beta is not a setting of estimator grpo"),
        ({"advantage.estimator": "rloo", "advantage.k": 4}, "it has: scale"),
        ({"advantage.estimator": "pkpo", "advantage.variant": "x"}, "must be 's', 'sloo' or 'sloo_minus_one', not 'x'"),
        ({"advantage.estimator": "grpo", "advantage.scale": "beta"}, "is for it alone: --advantage-scale rms"),
        ({"advantage.estimator": "chen_passk", "advantage.k": 17}, "use --group-size 17 or a smaller advantage.k"),
        (
            {"advantage.estimator": "entropic_adaptive", "rollout.group_size": 2},
            "needs 3 completions per prompt or more",
        ),
        ({"rollout.group_size": 1}, "rollout.group_size"),
        ({"rollout.engine": "sglang"}, "rollout.engine"),
        ({"eval.k": [1, 64], "eval.num_samples": 32}, "pass@64 needs at least 64 samples"),
        ({"eval.k": 4}, "eval.k: must be a list, such as [1, 32], not 4"),
        ({"eval.k": "a"}, "eval.k: must be a list, such as [1, 32], not 'a'"),
        ({"eval.k": ["a", 4]}, "eval.k.0: must be a whole number, not 'a'"),
        ({"eval.benchmark": ["toy", "sums"]}, 'for example eval.benchmark="toy,sums"'),
        ({"advantage.estimator": "pkpo", "advantage.k": "x"}, "for example advantage.k="),
        ({"rollout.n": 8}, "rollout.n is not a setting"),
        ({"rollout.grup_size": 8}, "did you mean rollout.group_size?"),
        ({"rolout.group_size": 8}, "did you mean rollout?"),
        ({"advantage.bta": 8}, "did you mean advantage.beta?"),
        ({"rollout.temperature": 0.0}, "rollout.temperature"),
        ({"update.minibatches": 64}, "update.minibatches 64 is more than the 32 groups of a step"),
        ({"update.lr_schedule": "cosine", "update.warmup_steps": 9, "update.schedule_steps": 9}, "leaves nothing"),
        ({"update.lr_schedule": "linear"}, "update.lr_schedule: must be 'constant' or 'cosine'"),
        ({"vllm.max_model_len": 10}, "vllm.max_model_len: must be at least 64"),
    ],
)
def test_what_does_not_fit_is_named(overrides: config.Overrides, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        config.resolve(overrides)
    assert message in str(raised.value)


def test_k_alone_asks_for_as_many_samples() -> None:
    made = config.resolve({"model.name": "other", "eval.k": (1, 1024)})
    assert made.eval.num_samples == 1024
    # A smaller k does not throw samples away.
    assert config.override(made, {"eval.k": (1, 4)}).eval.num_samples == 1024
    assert config.override(made, {"eval.k": (1, 4), "eval.num_samples": 8}).eval.num_samples == 8


def test_a_cosine_ends_where_the_run_was_going_to() -> None:
    cosine = {"update.lr_schedule": "cosine", "train.steps": 50, "update.minibatches": 2, "update.epochs": 3}
    made = config.resolve(cosine)
    assert made.update.schedule_steps == 300  # 50 x 2 x 3 optimizer steps
    assert config.override(made, {"train.steps": 20}).update.schedule_steps == 300
    # Going on beyond it would train at a learning rate of 0.
    with pytest.raises(UsageError, match="learning rate of 0 after 300 optimizer steps, and 360 are asked for"):
        config.override(made, {"train.steps": 60})
    assert config.resolve({"train.steps": 50}).update.schedule_steps is None


def test_an_unknown_file_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no configuration file") as missing:
        config.resolve({}, tmp_path / "none.toml")
    assert missing.value.hint == "check the path given with --config"
    (tmp_path / "broken.toml").write_text("[rollout\n")
    with pytest.raises(MissingError, match="no configuration file") as missing:
        config.resolve({}, tmp_path / "none.toml")
    assert missing.value.hint == "there: broken.toml"
    with pytest.raises(UsageError, match="not valid TOML"):
        config.resolve({}, tmp_path / "broken.toml")


def test_a_resolved_configuration_survives_json() -> None:
    made = config.resolve({"advantage.estimator": "max_rl", "model.lora_rank": 4})
    assert config.parse(made.model_dump(mode="json")) == made


def test_speed_does_not_decide_content() -> None:
    slow = config.UpdateConfig(micro_batch_tokens=10, gradient_checkpointing=True)
    assert slow.decisive() == config.UpdateConfig().decisive()
    assert config.UpdateConfig(clip_low=0.1).decisive() != config.UpdateConfig().decisive()


@pytest.mark.parametrize(
    ("name", "decides"),
    [
        ("seed", True),
        ("advantage.beta", True),
        ("rollout.group_size", True),
        ("update.micro_batch_tokens", False),
        ("score.workers", False),
        ("vllm.gpu_memory_utilization", False),
        ("vllm.max_model_len", False),
        ("train.steps", False),
        ("eval.num_samples", False),
    ],
)
def test_what_a_resumed_run_may_have_otherwise(name: str, decides: bool) -> None:
    assert config.decides_training(name) == decides


@pytest.mark.parametrize(
    ("model", "dataset", "role"),
    [
        ("Qwen/Qwen2.5-Math-1.5B", "deepmath103k", "system"),
        ("Qwen/Qwen2.5-Math-7B@main", "math12k", "system"),
        ("Qwen/Qwen2.5-7B", "math12k", "user"),
        ("Qwen/Qwen3-4B-Base", "math12k", "user"),
        ("meta-llama/Llama-3.1-8B-Instruct", "math12k", "user"),
    ],
)
def test_the_recipes_of_the_papers_models(model: str, dataset: str, role: str) -> None:
    made = config.resolve({"model.name": model})
    assert (made.prepare.dataset, made.prepare.instruction_role) == (dataset, role)
    assert (made.rollout.group_size, made.advantage.model_dump()["beta"]) == (16, 2.0)
    assert set(made.eval.benchmarks) == {"aime24", "aime25", "hmmt_feb24", "hmmt_feb25", "cmimc25", "math500"}
    assert for_benchmark(made.eval, "aime24").num_samples == 1024
    assert for_benchmark(made.eval, "math500").num_samples == 32


def test_a_large_k_under_a_recipe_asks_for_samples_of_every_benchmark() -> None:
    flags = {"model.name": "Qwen/Qwen2.5-Math-1.5B", "eval.k": (1, 32, 1024)}
    made = config.resolve(flags)
    assert {for_benchmark(made.eval, name).num_samples for name in made.eval.benchmarks} == {1024}


def test_a_benchmark_with_fewer_samples_reports_the_ks_that_these_allow() -> None:
    flags = {"model.name": "Qwen/Qwen2.5-Math-1.5B", "eval.k": (1, 32, 1024), "eval.num_samples": 1024}
    made = config.resolve(flags | {"eval.num_samples": {"default": 1024, "math500": 64}})
    assert for_benchmark(made.eval, "math500").k == (1, 32)
    assert for_benchmark(made.eval, "aime24").k == (1, 32, 1024)
    few = flags | {"eval.k": (128, 1024), "eval.num_samples": {"default": 1024, "math500": 64}}
    with pytest.raises(UsageError, match="pass@128 needs at least 128 samples per problem of math500, not 64"):
        config.resolve(few)
    # What is not evaluated does not count.
    config.resolve(few | {"eval.benchmark": "aime24"})


def test_an_estimator_of_ones_own_takes_any_setting_and_keeps_it() -> None:
    made = config.resolve({"advantage.estimator": "mine:f", "advantage.schedule": "linear", "advantage.copy": 3})
    assert isinstance(made.advantage, config.OwnEstimatorConfig)
    assert made.advantage.knobs() == {"schedule": "linear", "copy": 3}
    assert config.parse(made.model_dump(mode="json")) == made
    longer = config.override_afresh(made, {"train.steps": 7})
    assert longer.advantage == made.advantage
    assert config.override(made, {"advantage.schedule": "cosine"}).advantage.knobs() == {
        "schedule": "cosine",
        "copy": 3,
    }
    assert config.override(made, {"advantage.estimator": "grpo"}).advantage == config.GrpoConfig()
    assert config.override(config.resolve({}), {"advantage.estimator": "mine:f"}).advantage.knobs() == {}


@pytest.mark.parametrize("name", [":f", "mine:", " : "])
def test_half_a_name_of_a_function_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"package\.module:function"):
        config.resolve({"advantage.estimator": name})


def test_values_of_k_that_are_not_given_follow_the_samples() -> None:
    toy = config.resolve({})
    assert (toy.eval.k, toy.eval.samples) == ((1, 16, 64, 256), 256)
    assert config.resolve({"eval.num_samples": 20}).eval.k == (1, 16, 20)
    assert config.resolve({"eval.num_samples": {"default": 2, "aime24": 512}}).eval.k == (1, 2)
    assert config.resolve({"eval.num_samples": 1024}).eval.k == (1, 16, 64, 256)
    assert config.override(toy, {"eval.num_samples": 1}).eval.k == (1,)
    with pytest.raises(UsageError, match="eval is a section of settings"):
        config.resolve({"eval": 3})

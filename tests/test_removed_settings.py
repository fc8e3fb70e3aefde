"""Settings that are no more: what was made with them stays readable and current, another value is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from rsgrpo_cli import config
from rsgrpo_cli.config.removed import REMOVED, REMOVED_FROM_ESTIMATORS
from rsgrpo_cli.core.estimators import settings_of
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.tasks.sample_counts import for_benchmark
from tests.conftest import Cli

OLD: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "settings-0.2.0.json").read_text())


def test_a_run_with_every_removed_setting_is_read() -> None:
    read = config.parse(OLD["config"])
    assert read == config.resolve({"model.name": "other"})
    now = config.changed_fields(read, read) or read.model_dump(mode="json")
    assert {name for name in REMOVED if name.partition(".")[2] in now[name.partition(".")[0]]} == set()
    assert {name for name in REMOVED if name.partition(".")[2] not in OLD["config"][name.partition(".")[0]]} == set()


@pytest.mark.parametrize("section", list(OLD["decisive"]))
def test_what_was_made_then_is_current_now(section: str) -> None:
    # All of a stage's settings are in the lineage of its artifacts, but those in OPTIONAL at their default.
    assert getattr(config.parse(OLD["config"]), section).decisive() == OLD["decisive"][section]


@pytest.mark.parametrize("name", list(OLD["estimators"]))
def test_what_an_estimator_made_then_is_current_now(name: str) -> None:
    assert config.estimator_config(name, {}).decisive() == OLD["estimators"][name]


def test_the_functions_do_what_is_recorded() -> None:
    for name, removed in REMOVED_FROM_ESTIMATORS.items():
        for setting, was in removed.items():
            assert settings_of(name)[setting] == was.value
            assert config.VARIANTS[name].FIXED[setting] == was.value


@pytest.mark.parametrize(
    ("overrides", "instead"),
    [
        ({"rollout.top_p": 0.9}, "rollout.top_p 0.9 is no longer possible: training samples from the whole"),
        ({"rollout.allow_biased_sampling": True}, "training samples from the whole distribution"),
        ({"vllm.dtype": "float16"}, "vLLM computes in model.dtype: --dtype"),
        ({"vllm.enforce_eager": True}, "vllm.enforce_eager True is no longer possible"),
        ({"model.fp32_head": True}, "--dtype float32"),
        ({"update.min_lr_ratio": 0.1}, "the cosine ends at 0"),
        ({"score.overlong_penalty": 2.0}, "takes up to 1 from a reward"),
        ({"advantage.estimator": "grpo", "advantage.eps": 0.0}, "--estimator rsgrpo_cli.core.advantages:grpo"),
        ({"advantage.estimator": "qae", "advantage.quantile": "linear"}, "rsgrpo_cli.core.advantages:qae"),
        ({"advantage.estimator": "entropic_adaptive", "advantage.kl": 1.0}, "entropic_advantages:entropic_adaptive"),
    ],
)
def test_another_value_is_refused_with_what_to_do(overrides: dict[str, Any], instead: str) -> None:
    with pytest.raises(UsageError) as refused:
        config.resolve(overrides)
    assert instead in refused.value.message
    assert "\n" not in refused.value.message


def test_a_file_may_still_say_what_always_holds_now(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = '[model]\nname = "other"\ndtype = "bfloat16"\n[rollout]\ntop_p = 1\n[vllm]\ndtype = "bfloat16"\n'
    file.write_text(text + '[advantage]\nestimator = "chen_passk"\neps = 1e-6\n')
    made = config.resolve({}, file)
    assert made.advantage == config.ChenPassKConfig()
    assert made.model.dtype == "bfloat16"


def test_numbers_of_samples_were_in_two_settings_once() -> None:
    old = OLD["config"] | {"eval": OLD["config"]["eval"] | {"num_samples": 1024, "num_samples_of": {"math500": 64}}}
    read = config.parse(old)
    assert read.eval.num_samples == {"default": 1024, "math500": 64}
    assert for_benchmark(read.eval, "math500").samples == 64
    assert for_benchmark(read.eval, "aime24").samples == 1024


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        (32, 64, 64),
        (32, {"math500": 64}, {"default": 32, "math500": 64}),
        ({"default": 1024, "aime24": 8}, {"math500": 64}, {"default": 1024, "math500": 64}),
        ({"default": 1024, "aime24": 8}, 64, 64),
        ({"default": 1024, "aime24": 8}, {"default": 32}, 32),
        ({"math500": 64}, {"aime24": 8}, {"default": 32, "aime24": 8}),
    ],
)
def test_numbers_of_samples_on_top_of_others(before: Any, given: Any, after: Any) -> None:
    run = config.resolve({"model.name": "other", "eval.num_samples": before, "eval.k": (1,)})
    assert config.override(run, {"eval.num_samples": given}).eval.num_samples == after


@pytest.mark.parametrize(
    ("before", "given", "after"),
    [
        (32, None, 128),
        ({"default": 32, "math500": 8}, None, {"default": 128, "math500": 128}),
        (32, {"math500": 8}, {"default": 128, "math500": 8}),
        ({"math500": 8}, None, {"default": 128, "math500": 128}),
    ],
)
def test_k_alone_raises_the_numbers_that_were_not_given(before: Any, given: Any, after: Any) -> None:
    run = config.resolve({"model.name": "other", "eval.num_samples": before, "eval.k": (1,)})
    assert config.override(run, {"eval.num_samples": given, "eval.k": (1, 128)}).eval.num_samples == after


def test_one_benchmark_by_its_dotted_name() -> None:
    run = config.resolve({"model.name": "other", "eval.k": (1,)})
    made = config.override(run, {"eval.num_samples.math500": 64, "eval.k": (1, 128)})
    assert made.eval.num_samples == {"default": 128, "math500": 64}


@pytest.mark.parametrize("wrong", [0, "many", True, {"default": 0}, {"math500": "x"}, {"math500": 1.5}])
def test_what_is_no_number_of_samples(wrong: Any) -> None:
    for k in (None, (1, 64)):
        with pytest.raises(UsageError, match=r"eval.num_samples: must be a whole number of 1 or more"):
            config.resolve({"eval.num_samples": wrong, "eval.k": k})


def as_an_old_run(run: Path, **others: Any) -> None:
    """Write a run's config.json as 0.2.0 did, with other values of some settings: section__field."""
    path = run / "config.json"
    data = json.loads(path.read_text())
    del data["check"]  # which it did not write
    for name, removed in REMOVED.items():
        section, _, field = name.partition(".")
        data["config"][section][field] = others.get(f"{section}__{field}", removed.value)
    data["config"]["eval"]["num_samples_of"] = {}
    path.write_text(json.dumps(data))


def test_an_old_run_is_resumed(cli: Cli, trained: Path) -> None:
    as_an_old_run(trained, vllm__enforce_eager=True, rollout__allow_biased_sampling=True)
    assert "nothing is stale" in cli("status", "--run", trained).out
    for stage in ("rollout", "score", "advantage", "update"):
        done = cli(stage, "--run", trained, "--step", "1")
        assert f"{stage}: nothing to do" in done.out, done.err
    resumed = cli("train", "--run", trained, "--steps", "3")
    assert resumed.code == 0, resumed.err
    assert "top_p" not in cli("status", "--run", trained).out


def test_an_old_run_with_another_value_is_left_to_the_version_that_made_it(cli: Cli, trained: Path) -> None:
    as_an_old_run(trained, update__min_lr_ratio=0.1)
    for command in ("status", "train"):
        refused = cli(command, "--run", trained)
        assert refused.code == 1
        assert "config.json: update.min_lr_ratio 0.1 is no longer possible: the cosine ends at 0" in refused.err
        assert "the version of rsgrpo that made it" in refused.err
        assert "damaged" not in refused.err

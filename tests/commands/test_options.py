"""Flags are made from the configuration, and a text means what it would mean in a TOML file."""

from pathlib import Path

import pytest

from rsgrpo_cli.app import COMMANDS, _is_list, load
from rsgrpo_cli.commands.options import given
from rsgrpo_cli.commands.typed import shown
from rsgrpo_cli.config import reference
from rsgrpo_cli.config.typed import value
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("[1, 4]", [1, 4]),
        ('"4"', "4"),
        ("my_rewards:exact", "my_rewards:exact"),
        ("2024-01-01", "2024-01-01"),  # a date in TOML; no setting is one
        ("1\nother = 2", "1\nother = 2"),
        ("", ""),
    ],
)
def test_a_text_means_what_it_means_in_toml(text: str, meaning: object) -> None:
    assert value(text) == meaning


def test_a_flag_wins_over_set() -> None:
    assert given({"advantage.beta": 4.0, "seed": None}, ["advantage.beta=2", "update.weight_decay=0.1"]) == {
        "advantage.beta": 4.0,
        "update.weight_decay": 0.1,
    }


def test_an_unknown_setting_is_answered_with_the_real_ones(cli: Cli) -> None:
    result = cli("plan", "--set", "update.lr=1")
    assert result.code == 2
    assert "update.lr is not a setting" in result.err
    for name in reference.fields("update"):
        assert name in result.err
    assert "the sections are model, prepare" in cli("plan", "--set", "updates.lr=1").err


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (["compare", "a", "b", "--k", "1", "--k", "4"], "--k 1,32,..."),
        (["sweep", "--name", "s", "--seeds", "0", "--seeds", "1"], "--seeds 0-7"),
        (["eval", "--benchmark", "toy", "--benchmark", "toy-hard"], "--benchmark NAME,..."),
        (["score", "--retry", "error", "--retry", "timeout"], "--retry STATUS,..."),
    ],
)
def test_of_a_list_that_is_given_twice_nothing_is_dropped(cli: Cli, command: list[str], hint: str) -> None:
    result = cli(*command)
    assert (result.code, result.err) == (
        2,
        f"error: {command[-2]} is given twice\n  give it once, with commas: {hint}\n",
    )


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_an_option_with_commas_in_its_help_is_marked_as_a_list(name: str) -> None:
    options = [option for option in load(name).params if not getattr(option, "multiple", True)]
    assert [option.opts for option in options if "," in (option.metavar or "") and not _is_list(option)] == []


def test_of_a_number_that_is_given_twice_the_last_counts(cli: Cli, tmp_path: Path) -> None:
    assert cli("prepare", "--run", "runs/a", "--seed", "3", "--seed", "4").code == 0
    assert '"seed":4' in (tmp_path / "runs" / "a" / "config.json").read_text().replace(" ", "")


@pytest.mark.parametrize(
    ("name", "limits", "choices", "flags"),
    [
        ("rollout.group_size", "2 to 65536", (), ("--group-size",)),
        ("eval.top_p", "above 0, at most 1", (), ("--top-p",)),
        ("model.lora_alpha", "above 0", (), ("--lora-alpha",)),
        ("advantage.scale", "", ("none", "rms", "beta"), ("--advantage-scale",)),
        ("model.device", "", ("auto", "cpu", "cuda"), ("--device",)),
        ("update.gradient_checkpointing", "", (), ("--gradient-checkpointing/--no-gradient-checkpointing",)),
    ],
)
def test_the_reference_reads_the_models(
    name: str, limits: str, choices: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    setting = reference.setting(name)
    assert (setting.limits, setting.choices, setting.flags) == (limits, choices, flags)


def test_help_shows_defaults_where_they_apply(cli: Cli) -> None:
    assert "default: 16" in " ".join(cli("train", "--help").out.replace("│", " ").split())
    assert "default: 16" not in " ".join(cli("rollout", "--help").out.replace("│", " ").split())


def test_values_are_shown_as_one_types_them() -> None:
    assert [shown(each) for each in (True, (1, 8), 1e-6, "auto")] == ["true", "1,8", "1e-6", "auto"]


def test_a_template_in_another_encoding_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t.jinja").write_bytes(b"Pr\xe9cis: {{ problem }}")
    result = cli("prepare", "--run", "a", "--prompt-template", "t.jinja")
    assert (result.code, "t.jinja is not a text file in UTF-8\n  save it as UTF-8" in result.err) == (2, True)


@pytest.mark.parametrize(
    "command", [["verify", "--no-load"], ["status"], ["show"], ["gc", "--dry-run"], ["watch", "--once"]]
)
def test_a_run_is_named_either_way(
    cli: Cli, trained: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    behind, flag = cli(*command, trained), cli(*command, "--run", trained)
    assert (behind.code, flag.code) == (0, 0), behind.err + flag.err
    assert behind.out == flag.out
    both = cli(*command, trained, "--run", "another")
    assert (both.code, f"two runs are named: {trained} and another" in both.err) == (2, True)
    monkeypatch.setenv("RSGRPO_RUN", "another")
    assert cli(*command, trained).code == 0

"""Help is whole at any width, and says what is used if a flag is not given; the shell completes what is typed."""

import re

import pytest

from rsgrpo_cli import console, helping
from rsgrpo_cli.app import COMMANDS, load
from tests.conftest import Cli

NAMES = [name for name, *_ in COMMANDS]


def printed(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int, *command: str) -> str:
    for module in (console, helping):
        monkeypatch.setattr(module, "screen_width", lambda stream: width)
    result = cli(*command, "--help")
    assert result.code == 0, result.err
    return result.out


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_help_is_cut(cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    flags = {flag for param in load(name).params for flag in (*param.opts, *param.secondary_opts) if flag[0] == "-"}
    for width in (60, 80, 120):
        text = printed(cli, monkeypatch, width, name)
        assert "…" not in text
        assert flags <= set(re.split(r"[\s,/]+", text))
        usage, *lines = text.splitlines()
        assert usage.startswith(f"Usage: rsgrpo {name}")
        wide = [line for line in lines if len(line) > width and not line.startswith("Example: ")]
        assert not [line for line in wide if len(line.split()) > 1]


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_with_a_value_says_what_is_used_without_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = printed(cli, monkeypatch, 120, name)
    flags = re.findall(r"^  (-.*\n(?:   .*\n)*)", text, re.MULTILINE)  # with the lines that its help goes on in
    assert flags
    for flag in flags:
        left, _, right = re.sub(r" *\n *", "  ", flag).strip().partition("  ")
        if len(left.split(", ")[-1].split()) > 1:  # it takes a value
            assert re.search(r"\bdefault:|\bby default\b", right.replace("  ", " "), re.IGNORECASE), flag


def test_units_and_choices_are_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(cli, monkeypatch, 2000, "train")
    for fact in (
        "--dtype float32|bfloat16|float64",
        "in tokens. [1 or more; default: 1024]",
        "Seconds to verify",
        "env: RSGRPO_RUN",
    ):
        assert fact in text
    assert "[default: the run's own]" in printed(cli, monkeypatch, 2000, "eval")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_list_of_commands_is_whole(cli: Cli, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = printed(cli, monkeypatch, width)
    assert set(NAMES) <= set(text.split())
    assert "--install-completion" in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("rsgrpo st", ["status"]),
        ("rsgrpo status --run ", ["mine", "other"]),
        ("rsgrpo compare m", ["mine"]),
        ("rsgrpo report base=o", ["base=other"]),
        ("rsgrpo train --dtype b", ["bfloat16"]),
        ("rsgrpo train --learn", ["--learning-rate"]),
        ("rsgrpo compare --k 1 --k 4 --basel", ["--baseline"]),  # the line is not finished: nothing is refused yet
    ],
)
def test_the_shell_completes(cli: Cli, monkeypatch: pytest.MonkeyPatch, typed: str, found: list[str]) -> None:
    for name in ("other", "mine"):
        assert cli("prepare", "--run", f"runs/{name}", "--limit", "2").code == 0
    monkeypatch.setenv("_RSGRPO_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
    assert cli().out.split() == found

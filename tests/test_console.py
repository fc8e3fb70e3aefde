"""What reaches a terminal, and what happens where there is none."""

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import rsgrpo_cli
from rsgrpo_cli.console import Output, duration, number, table, visible
from rsgrpo_cli.errors import UsageError
from tests.conftest import Cli

HOSTILE = "\x1b]52;c;aGk=\x07 \x9b31m \x7f \r \u202e\u200b\U000e0041[/red] :smile:"
SHOWN = r"\x1b]52;c;aGk=\x07 \x9b31m \x7f \x0d \u202e\u200b\U000e0041[/red] :smile:"
SIGNED = re.compile(r":(\+z?\.[0-9]f)\}")
"""How an f-string writes a number with its sign; "z" keeps it from writing -0.000."""
RUN = [sys.executable, "-c", "from rsgrpo_cli.app import main; main()"]


def test_what_a_terminal_would_obey_can_be_seen() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("a\tb\nc \N{GRINNING FACE} é") == "a\tb\nc \N{GRINNING FACE} é"


def test_what_has_no_width_can_be_seen() -> None:
    assert visible("4\u200b+\ufeff4\u2028") == r"4\u200b+\ufeff4\u2028"
    assert visible("a\u200db\u200d") == r"a\u200db\u200d"
    assert visible("\U000e0041") == r"\U000e0041"
    family, persian = "\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e"
    assert (visible(family), visible(persian)) == (family, persian)
    # All that Unicode calls a format character, but for signs of Arabic numbers and verses, which have a shape.
    formats = {chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"}
    left = {character for character in formats if visible(character) == character}
    assert all("ARABIC" in unicodedata.name(character) for character in left)


def test_nothing_that_is_printed_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    cells = table(HOSTILE, "n", title=HOSTILE)
    cells.add_row(HOSTILE, "1")
    out.result({}, cells, lines=[HOSTILE], before=[HOSTILE])
    out.info(HOSTILE)
    out.warn(HOSTILE)
    out.error(UsageError(HOSTILE, HOSTILE))
    printed = capsys.readouterr()
    assert [printed.out.count(SHOWN), printed.err.count(SHOWN)] == [5, 4]
    assert not set("\x1b\x07\x9b\x7f\r\u202e") & set(printed.out + printed.err)


def test_json_says_the_same_without_a_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).result({"text": HOSTILE})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"text": HOSTILE}
    assert printed.strip().isprintable()


def test_show_and_status_of_a_hostile_dataset(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.jsonl").write_text(json.dumps({"problem": HOSTILE, "answer": "7"}) + "\n")
    result = cli("prepare", "--run", "runs/a", "--dataset", "a\x1b[2J.jsonl", "--set", "prepare.decontaminate=off")
    assert result.code == 0, result.err
    shown = cli("show", "--run", "runs/a", "--prompt", "0")
    assert (shown.code, shown.out.startswith(f"user: {SHOWN}")) == (0, True)
    assert "\x1b" not in cli("status", "--run", "runs/a").out


def printed(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": options.pop("encoding", "utf-8")}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([*RUN, *arguments], check=False, text=False, env=environment, **pipes)


def test_a_terminal_that_is_not_utf8(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"problem": "求 3+4 的值", "answer": "7"}\n', encoding="utf-8")
    assert cli("prepare", "--run", "a", "--dataset", "a.jsonl", "--set", "prepare.decontaminate=off").code == 0
    text = printed("show", "--run", "a", "--prompt", "0", encoding="ascii")
    assert (text.returncode, text.stdout.startswith(rb"user: \u6c42 3+4")) == (0, True)
    data = printed("show", "--run", "a", "--prompt", "0", "--json", encoding="latin-1")
    assert json.loads(data.stdout)["messages"][0]["content"].startswith("求 3+4")


@pytest.mark.parametrize(("value", "digits"), [(-0.0, 3), (-0.004, 2)])
def test_what_rounds_to_0_has_no_minus(value: float, digits: int) -> None:
    assert number(value, digits) == f"{0:.{digits}f}"


def test_every_number_that_shows_its_sign_is_written_so() -> None:
    package = Path(rsgrpo_cli.__file__).parent
    signed = [(path.name, found) for path in package.rglob("*.py") for found in SIGNED.findall(path.read_text("utf-8"))]
    assert signed
    assert {form for _, form in signed if "z" not in form} == set(), signed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_one_line(flags: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = printed("datasets", *flags, stdout=full)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[0] == "error: cannot write to stdout: No space left on device"
    assert len(result.stderr.splitlines()) == 2


def test_closed_streams_stop_nothing() -> None:
    shell = 'exec "$0" -c "from rsgrpo_cli.app import main; main()" datasets >&- 2>&-'
    assert subprocess.run(["sh", "-c", shell, sys.executable], check=False).returncode == 0
    shell = 'exec "$0" -c "from rsgrpo_cli.app import main; main()" status --run nowhere 2>&- >&-'
    assert subprocess.run(["sh", "-c", shell, sys.executable], check=False).returncode == 1


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    with subprocess.Popen([*RUN, "datasets"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (119.7, "2 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_a_duration_is_rounded_before_it_is_split(seconds: float, said: str) -> None:
    assert duration(seconds) == said

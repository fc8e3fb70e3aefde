"""Nothing that a command prints is cut or broken on a narrow screen."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rsgrpo_cli import console
from rsgrpo_cli.folding import wrapped
from rsgrpo_cli.studies import results
from tests.conftest import SMALL, Cli, run_quietly
from tests.studies.test_groups import result

RUN = "runs/a-run-with-a-name"
NEW = "PLACE"  # another one at each width
TWO = ["--benchmark", "toy,held.jsonl", "--max-tokens", "16", "--tag", "short"]
COMMANDS = {
    "compare": ["compare", f"{RUN}@0", f"{RUN}@1", "--benchmark", "toy"],
    "report": ["report", f"a-longer-label-than-most={RUN}@0", f"{RUN}@1", "--benchmark", "toy"],
    "eval": ["eval", "--policy", "1", "-n", "4", "--k", "1,2,4"],
    "several": ["eval", "--policy", "1", "-n", "4", "--k", "1,4", *TWO],
    "status": ["status"],
    "show": ["show"],
    "whole": ["show", "--full"],
    "what if": ["advantage", "--compare", "rs_grpo:beta=2,rs_grpo:beta=8,grpo,chen_passk:k=4"],
    "plan": ["plan", "--beta", "8", "--eval-every", "60", "--memory", "24"],
    "plan of many": ["plan", "--gpus", "8", "--engine", "vllm", "--data-parallel", "4", "--memory", "24"],
    "plan of a run": ["plan", "--run", RUN, "--memory", "24"],
    "with an instruction": [
        "plan",
        "--memory",
        "24",
        "--set",
        "prepare.instruction=Reason, then box the answer at the end.",
    ],
    "datasets": ["datasets"],
    "bandit": ["bandit", "--samples", "1600", "--betas", "0,2,4", "--out", "bandit"],
    "train": ["train", "--run", RUN, "--steps", "2"],
    "export": ["export", "--policy", "1", "--out", NEW],
    "stage": ["score", "--step", "1"],
    "error": ["compare", f"{RUN}@0", f"{RUN}@7"],
    "fork": ["fork", NEW, "--beta", "2"],
    "ls": ["ls"],
    "du": ["du"],
    "gc": ["gc", "--rollouts", "--dry-run"],
    "rm": ["rm", RUN],
    "verify": ["verify", "--no-load"],
    "diff": ["diff", RUN, RUN],
    "recipes": ["recipes"],
    "watch": ["watch", RUN, "--once"],
    "hardest": ["show", "--hardest", "--policy", "1", "--benchmark", "toy", "--limit", "5"],
    "searched": ["show", "--search", "6", "--wrong"],
    "newly solved": ["show", "--newly-solved", f"{RUN}@0", f"{RUN}@1", "--benchmark", "toy"],
    "views": ["sql"],
    "query": ["sql", RUN, "SELECT * FROM completions ORDER BY step, prompt_id, sample_index LIMIT 2"],
    "sweep": ["sweep", "--name", "a-sweep", "--set", "advantage.beta=0,2.5", "--seeds", "0-1", "--dry-run"],
    "results": ["ls", "study"],
    "groups": ["compare", "study"],
    "figure": ["figure", "passk", "study", "--out", NEW + ".svg"],
}
# The exit codes of those that fail: there is no such policy, and nobody can be asked.
FAILING = {"error": 1, "rm": 2}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two evaluations, in a folder with a benchmark of its own."""
    folder = tmp_path_factory.mktemp("measured")
    rows = ('{"problem": "Compute 2+3.", "answer": 5}', '{"problem": "Compute 2*3.", "answer": 6}')
    (folder / "held.jsonl").write_text("\n".join(rows) + "\n")
    run_quietly(folder, "train", "--run", RUN, "--steps", "2", "--keep-checkpoints", "9", *SMALL)
    for policy in ("0", "1"):
        run_quietly(folder, "eval", "--run", RUN, "--policy", policy, "-n", "4", "--k", "1,2,4")
    run_quietly(folder, *COMMANDS["several"])
    run_quietly(folder, *COMMANDS["bandit"])
    keep_results(folder / "study")
    return folder


def keep_results(folder: Path) -> None:
    """A sweep's results of two seeds: the base model and two methods with long names."""
    methods: dict[str, dict[str, Any]] = {
        "grpo-with-a-longer-name": {"advantage__estimator": "grpo"},
        "risk-sensitive-with-beta-4": {"advantage__beta": 4},
    }
    for seed in (0, 1):
        results.write(folder / f"base-seed{seed}-1a2b.parquet", result(f"base-seed{seed}-1a2b", seed, [1, 1, 1, 0], 0))
        for name, settings in methods.items():
            one = result(f"{name}-seed{seed}", seed, [4, 3 - seed, 0, 0], **settings)
            results.write(folder / f"{one.name}.parquet", one)


COMMAND = re.compile(r"(?:\$ )?rsgrpo [a-z]+(?: -\S+ [^-;\s][^;\s]*)*")


def told(command: str) -> str:
    """A command without what ends a sentence."""
    return command.rstrip(".,:")


def words(text: str) -> set[str]:
    """What stands between spaces, without rules."""
    return set(re.findall(r"[^\s─]+", text))


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_is_whole_at_any_width(
    cli: Cli, measured: Path, monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path
) -> None:
    monkeypatch.chdir(measured)
    printed = {}
    for width in (2000, 60, 80, 120):
        monkeypatch.setattr(console, "screen_width", lambda stream, width=width: width)
        place = str(tmp_path / str(width))
        ended = cli(*(part.replace(NEW, place) for part in COMMANDS[name]))
        assert ended.code == FAILING.get(name, 0), ended.err
        printed[width] = (ended.out + ended.err * (name in FAILING)).replace(place, NEW)
    for width in (60, 80, 120):
        assert "…" not in printed[width]
        assert words(printed[2000]) <= words(printed[width])
        # What cannot be broken may be too wide: one long word, or a command, which is there to be copied.
        wide = [line.strip() for line in printed[width].splitlines() if len(line) > width]
        assert not [line for line in wide if len(line.split()) > 1 and not COMMAND.match(line)]
        # Every command is on one line, as it is on a wide screen.
        assert set(map(told, COMMAND.findall(printed[2000]))) <= set(map(told, COMMAND.findall(printed[width])))


def test_a_table_is_turned_where_not_even_two_columns_fit() -> None:
    made = console.table("run", "what it says")
    made.add_row("a-run-with-a-very-long-name-of-40-letter", "123,456,789 +/- 0.123456789")
    printed = io.StringIO()
    Console(width=40, file=printed).print(made)
    assert "a-run-with-a-very-long-name-of-40-letter" in printed.getvalue().splitlines()
    assert "  what it says  123,456,789 +/-" in printed.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.50"), (0.0123, "0.012"), (0.0005, "0.0005"), (3e-5, "< 0.0001"), (None, "")]
)
def test_a_p_value_as_people_write_it(value: float | None, text: str) -> None:
    assert console.p_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(123456.7, "123,457"), (0.00012, "1.2e-4"), (2e20, "2.0e20"), (12.5, "12.500"), (0.0, "0.000")]
)
def test_a_number_as_people_write_it(value: float, text: str) -> None:
    assert console.number(value) == text


def test_lines_are_broken_between_words_and_commands_are_not() -> None:
    assert wrapped("  one two three", 9) == "  one two\n  three"
    assert wrapped("a-path/without/spaces", 9) == "a-path/without/spaces"
    hint = "measure it: rsgrpo eval --run runs/a-long-name --policy 7; evaluated: 0, 15 and 30"
    assert wrapped(hint, 24).split("\n") == [
        "measure it:",
        "rsgrpo eval --run runs/a-long-name --policy 7;",
        "evaluated: 0, 15 and 30",
    ]
    # What is behind a command is text, and a quoted value belongs to it.
    assert wrapped("so rsgrpo sql RUN without a query", 16) == "so\nrsgrpo sql RUN\nwithout a query"
    quoted = "rsgrpo show --search 'a b c' --limit 3"
    assert wrapped(f"see {quoted} and on", 20) == f"see\n{quoted}\nand on"

"""A run on one screen, at any width, whatever is in its files."""

from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from rsgrpo_cli.config import resolve
from rsgrpo_cli.report.samples import Sampled
from rsgrpo_cli.report.screen import screen, sparkline
from rsgrpo_cli.report.snapshot import CURVES, Measured, Snapshot
from rsgrpo_cli.run.locks import Holder
from tests.test_console import HOSTILE, SHOWN
from tests.test_health import FIRST, SOUND

STACK = [{"what": "rollout of step 3", "done": 3, "total": 8, "unit": "parts", "seconds": 2.0}]
LAST = SOUND | {"groups_mixed": 20.0, "groups_shaped": 0.0, "groups_sampled": 22.0, "tokens_per_second": 12345.6}
SAMPLED = Sampled(7, "toy-train-000017", "It is \\boxed{4+4}", "4+4", "ok", 1.0)


def snapshot(**changed: Any) -> Snapshot:
    seen = Snapshot(
        "runs/mine",
        resolve({"advantage.beta": 4.0, "train.steps": 60, "rollout.group_size": 8}),
        done=7,
        holder=Holder("process 1 on here", "2026-11-28T13:49:27+0000", {"stack": STACK}, 0.5),
        first=FIRST,
        recent=[LAST],
        curves={name: [0.1, None, 0.3, 0.2] for name in CURVES},
        seconds_left=3725.0,
        measured=Measured(20, "toy", [("pass@1", 0.35, 0.31, 0.39)], 0, [("pass@1", 0.05, 0.02, 0.08)]),
        right=SAMPLED,
        wrong=replace(SAMPLED, status="wrong", answer=None, completion="No. " * 200, reward=0.0),
    )
    return replace(seen, **changed)


def lines(seen: Snapshot, width: int = 80, *, ascii_only: bool = False) -> list[str]:
    return screen(seen, width, ascii_only=ascii_only).plain.split("\n")


def test_it_says_where_the_run_is() -> None:
    drawn = lines(snapshot())
    assert drawn[0].split() == ["runs/mine", "running", "since", "2026-11-28", "13:49"]
    assert drawn[1] == "toy on toy, rs_grpo beta 4"
    assert drawn[2] == "step 7 of 60  12%  1 h 2 min left  12,346 tokens/s"
    assert drawn[4] == "rollout of step 3 3/8 parts 2.0 s"
    assert "groups    1 all right, 20 mixed, 1 all wrong of 22" in drawn
    assert "  pass@1 0.350 [0.310, 0.390]  +0.050 [+0.020, +0.080] against policy 0" in drawn
    assert any(line.startswith("pass@G ") and line.endswith("0.100 to 0.200") for line in drawn)


def test_two_completions_of_which_the_end_is_shown() -> None:
    drawn = lines(snapshot())
    at = next(number for number, line in enumerate(drawn) if line.startswith("right"))
    assert drawn[at : at + 2] == ["right     toy-train-000017, ok, answer 4+4", "  It is \\boxed{4+4}"]
    assert drawn[at + 2] == "wrong     toy-train-000017, wrong"
    assert drawn[at + 3].startswith("  ...")
    assert drawn[at + 4].endswith("No. No.")


@pytest.mark.parametrize("width", [30, 40, 60, 80, 96, 120, 200])
@pytest.mark.parametrize("text", ["plain", HOSTILE, "求和" * 100, "a" * 1000, "\u0301" * 50])
def test_no_line_is_wider_than_the_terminal(width: int, text: str) -> None:
    sampled = Sampled(7, text, text, text, text, 0.5)
    seen = snapshot(run=text, right=sampled, wrong=sampled, recent=[LAST | {"truncated_fraction": 0.5}], problem=text)
    for line in lines(seen, width):
        assert cell_len(line) < width, line


def test_nothing_in_a_run_commands_the_terminal() -> None:
    sampled = Sampled(7, HOSTILE, HOSTILE + "\n" + HOSTILE, HOSTILE, "ok", 1.0)
    stack = [{"what": HOSTILE, "done": 0, "total": 0, "unit": "", "seconds": 0.0}]
    seen = snapshot(run=HOSTILE, right=sampled, holder=Holder("x", HOSTILE * 9, {"stack": stack}, 0.0), problem=HOSTILE)
    drawn = screen(replace(seen, measured=Measured(1, HOSTILE, [(HOSTILE, 0.1, None, None)])), 200)
    assert not set("\x1b\x07\x9b\x7f\r\u202e") & set(drawn.plain)
    assert SHOWN.split()[0] in drawn.plain


def test_a_terminal_that_has_ascii_alone() -> None:
    assert "\n".join(lines(snapshot(), ascii_only=True)).isascii()


def test_a_run_that_has_nothing_yet() -> None:
    empty = Snapshot("runs/new", resolve({}), done=0)
    assert lines(empty)[0].split() == ["runs/new", "stopped"]
    assert lines(empty)[2] == "step 0 of 120  0%"


YESTERDAY = "2026-11-28T13:49:27+0000"


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"holder": None}, "stopped"),
        ({"holder": None, "done": 60}, "done"),
        ({"holder": Holder("x", "", {"ending": True}, 0.0)}, "stopped"),
        ({"holder": Holder("x", "", {}, 100.0)}, "running, silent for 1 min 40 s"),
        (
            {"holder": None, "evaluator": Holder("x", "2026-11-28T13:49:27+0000", {}, 0.0)},
            "evaluating since 2026-11-28 13:49",
        ),
    ],
)
def test_whether_it_is_at_work(changed: dict[str, Any], state: str) -> None:
    assert snapshot(**changed).state == state


def test_a_warning_is_whole_at_60_columns() -> None:
    seen = snapshot(recent=[LAST | {"truncated_fraction": 0.5}])
    text = " ".join(" ".join(lines(seen, 60)).split())
    assert (
        "warning: step 7: 50% of the completions are cut off before they end. Fork with a larger --max-tokens" in text
    )


def test_bars_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0], 5, "abc") == "abc  "
    assert sparkline([0.0, 0.0, 4.0, 4.0], 2, "abc") == "ac"  # of two values each, the mean
    assert sparkline([None, 1.0, float("nan"), 2.0], 4, "abc") == " a c"
    assert sparkline([3.0, 3.0], 2, "abc") == "aa"
    assert sparkline([], 3, "abc") == "   "

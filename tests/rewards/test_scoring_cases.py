"""Agreement with labelled answers: a gold, a response, and whether a strict human would accept it."""

import json
from pathlib import Path
from typing import Any

from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample

CASES = Path(__file__).parents[1] / "data" / "scoring-cases.jsonl"

MISSED = {
    "hack-047",  # "The answer is not \\boxed{42}."
}
"""What the rules are known to get wrong. Take out what a new rule mends; put nothing in without a reason beside it."""


def response(case: dict[str, Any]) -> str:
    """A case's response; where much of the same text stands before it, the file says how often."""
    text, times = case.get("before", ["", 0])
    return str(text) * int(times) + str(case["response"])


def test_every_labelled_case_but_one_is_judged_right(math_reward: MathReward) -> None:
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    verdicts = math_reward([Sample(response(case), case["gold"]) for case in cases])
    wanted = [case.get("expected_strict", case["expected"]) for case in cases]
    missed = {
        case["id"]
        for case, verdict, want in zip(cases, verdicts, wanted, strict=True)
        if (verdict.reward == 1.0) is not want
    }
    assert missed == MISSED
    assert (len(cases), sum(wanted)) == (272, 167)

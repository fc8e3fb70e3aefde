"""Agreement with a corpus of labelled answers that is not part of the repository."""

import json
from pathlib import Path

import pytest

from rsgrpo_cli.rewards.math_reward import MathReward
from rsgrpo_cli.rewards.types import Sample

CASES = Path(__file__).parents[2].parent / "shared" / "data" / "scoring" / "cases.jsonl"


@pytest.mark.skipif(not CASES.exists(), reason="the labelled cases are not here")
def test_agreement_with_the_labelled_cases(math_reward: MathReward) -> None:
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    verdicts = math_reward([Sample(case["response"], case["gold"]) for case in cases])
    wanted = [case.get("expected_strict", case["expected"]) for case in cases]
    missed = [
        case["id"]
        for case, verdict, want in zip(cases, verdicts, wanted, strict=True)
        if (verdict.reward == 1.0) is not want
    ]
    assert len(missed) <= 0.07 * len(cases), missed

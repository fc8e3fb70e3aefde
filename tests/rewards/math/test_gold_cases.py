"""Values of an answer column: each is graded as a person would answer it, or refused, or no answer at all."""

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from rsgrpo_cli.rewards.math.gold import read_gold
from rsgrpo_cli.rewards.math.gold_spelling import as_answered
from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample
from rsgrpo_cli.tasks.golds import read_gold as read_column

CASES = [json.loads(line) for line in (Path(__file__).parents[2] / "data" / "golds.jsonl").read_text().splitlines()]


def revived(value: Any) -> Any:
    """Bytes and decimals, which JSON has not."""
    if isinstance(value, list):
        return [revived(part) for part in value]
    if isinstance(value, dict) and "__bytes__" in value:
        return bytes.fromhex(value["__bytes__"])
    return Decimal(value["__decimal__"]) if isinstance(value, dict) and "__decimal__" in value else value


def test_every_value_is_understood_or_refused() -> None:
    reward = MathReward(workers=1, deadline=20.0)
    columns = [read_column(revived(case["value"])) for case in CASES]
    golds = [column.text if column.complaint else read_gold(column.text) for column in columns]
    refused = [
        bool(column.complaint or complaint)
        for column, complaint in zip(columns, reward.check_ground_truth(golds), strict=True)
    ]
    found = ["none" if not gold else "refused" if bad else "ok" for gold, bad in zip(golds, refused, strict=True)]
    wrong = defaultdict[int, list[str]](list)
    jobs = [
        (number, answer, float(kind == "right"))
        for number, case in enumerate(CASES)
        if found[number] == "ok"
        for kind in ("right", "wrong")
        for answer in case.get(kind, [])
    ]
    verdicts = reward([Sample(f"\\boxed{{{answer}}}", golds[number]) for number, answer, _ in jobs])
    reward.close()
    for (number, answer, wanted), verdict in zip(jobs, verdicts, strict=True):
        if verdict.reward != wanted:
            wrong[number].append(f"{answer} earns {verdict.reward}")
    for number, case in enumerate(CASES):
        if found[number] not in case["expect"].split("|"):
            wrong[number].append(found[number])
    assert not {str(CASES[number]["value"]): what for number, what in wrong.items()}


def test_spelling_an_answer_twice_changes_nothing() -> None:
    once = [as_answered(read_column(revived(case["value"])).text) for case in CASES]
    assert [as_answered(text) for text in once] == once

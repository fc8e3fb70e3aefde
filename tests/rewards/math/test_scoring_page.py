"""The table of docs/scoring.md says what the rules do: each of its rows is graded."""

import re
from pathlib import Path

from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample, Status

PAGE = Path(__file__).parents[3] / "docs" / "scoring.md"
ROW = re.compile(r"^\| (?P<form>[^|]+) \| [^|]+ \| `(?P<gold>[^`]+)` \| `(?P<answer>[^`]+)` \| (?P<status>\w+) \|$")


def test_every_example_of_the_page_gets_the_status_that_it_names(math_reward: MathReward) -> None:
    table = PAGE.read_text().partition("|---|---|---|---|---|\n")[2].partition("\n\n")[0].splitlines()
    rows = [found for line in table if (found := ROW.match(line))]
    assert len(rows) == len(table) > 30  # every line of the table was understood
    # In a table a bar that is no border has a backslash.
    boxed = [f"\\boxed{{{row['answer']}}}".replace("\\|", "|") for row in rows]
    verdicts = math_reward([Sample(box, row["gold"]) for box, row in zip(boxed, rows, strict=True)])
    wanted = {row["form"]: Status(row["status"]) for row in rows}
    assert {row["form"]: verdict.status for row, verdict in zip(rows, verdicts, strict=True)} == wanted


def test_the_page_names_every_status_of_a_verifier() -> None:
    named = set(re.findall(r"\w+", PAGE.read_text()))
    assert {status.value for status in Status} - {Status.SCORED, Status.SKIPPED} <= named

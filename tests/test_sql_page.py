"""docs/sql.md: every query on the page runs, finds something, and gives the columns that the page shows."""

import re
import shlex
from pathlib import Path

import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.report.sql_views import VIEWS
from rsgrpo_cli.schemas import METRICS
from tests.conftest import Cli
from tests.run_on_disk import new_run, write_evaluation, write_step
from tests.tables import table_of

PAGE = (Path(__file__).parents[1] / "docs" / "sql.md").read_text()
SHOWN = re.findall(r"```console\n\$ (rsgrpo sql .*?)\n (\S.*?)\n ─", PAGE, re.DOTALL)


@pytest.fixture
def runs(cli: Cli, tmp_path: Path) -> None:
    """The sweep and the run that the page is about, in little."""
    for place in ("runs/beta4-seed0", "runs/puzzles/beta4-seed0"):
        run = new_run(tmp_path / place, advantage__beta=4.0)
        write_step(run, 0, made="one")
        rows = [{"step": 0, "policy_version": 0, "estimator": "rs_grpo"}]
        write_table(run.metrics, table_of(METRICS, rows), METRICS, Lineage("train", {}, {}))
        for version, at in ((0, 1.0), (60, 1.0), (120, 0.75), (120, 1.0)):
            write_evaluation(run, version, {"p-000001": [1, 1], "p-000002": [version == 0, 0]}, at)


def test_the_page_has_ten_queries() -> None:
    assert len(SHOWN) == len(re.findall(r"^### ", PAGE, re.MULTILINE)) == 10


@pytest.mark.usefixtures("runs")
def test_the_queries_give_what_the_page_shows(cli: Cli) -> None:
    for command, header in SHOWN:
        result = cli(*shlex.split(command.replace("\\\n", " "))[1:], "--json")
        assert result.code == 0, (command, result.err)
        assert result.json["rows"], command
        columns = re.split(r" {2,}", header.strip())
        if "PIVOT" in command:  # the others are named after the data
            columns = columns[:1]
        assert result.json["columns"][: len(columns)] == columns, command


def test_the_page_names_every_view() -> None:
    named = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert list(named) == [view.name for view in VIEWS]
    for view in VIEWS:
        assert named[view.name].startswith(view.rows.split(",")[0]), view.name

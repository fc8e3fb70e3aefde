"""rsgrpo sql: the views, several runs, what a query may not do, what it says when something is wrong."""

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.artifacts import Lineage, write_table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import PROMPTS
from tests.conftest import Cli
from tests.run_on_disk import (
    VALUES,
    new_run,
    write_evaluation,
    write_older_rewards,
    write_prompts,
    write_rollouts,
    write_step,
)
from tests.tables import prompts


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Two whole steps of two prompts with two completions each, and nothing that was trained."""
    made = new_run(tmp_path / "runs" / "mine", advantage__beta=3.0)
    write_step(made, 0, made="one")
    write_step(made, 1, policy="one", made="two")
    return made


def rows(cli: Cli, *arguments: str | Path) -> list[dict[str, object]]:
    result = cli("sql", *arguments, "--json")
    assert result.code == 0, result.err
    found: list[dict[str, object]] = result.json["rows"]
    return found


def test_completions_are_joined_with_their_problem_reward_and_advantage(cli: Cli, run: RunDir) -> None:
    query = (
        "SELECT run, tag, step, policy_version, prompt_id, sample_index, ground_truth, completion, completion_tokens, "
        "reward, reward_status, advantage, group_status FROM completions WHERE step = 1 ORDER BY group_id, sample_index"
    )
    found = rows(cli, "mine", query)
    assert [tuple(row.values()) for row in found] == [
        ("mine", None, 1, 1, "p-000001", 0, "p-000001", "x", 1, 1.0, "ok", 0.5, "mixed"),
        ("mine", None, 1, 1, "p-000001", 1, "p-000001", "xx", 2, 0.0, "wrong", -0.5, "mixed"),
        ("mine", None, 1, 1, "p-000002", 0, "p-000002", "xxx", 3, 1.0, "ok", 0.0, "all_right"),
        ("mine", None, 1, 1, "p-000002", 1, "p-000002", "x" * 9, 9, 1.0, "ok", 0.0, "all_right"),
    ]


def test_a_query_on_metrics_does_not_open_the_steps(cli: Cli, run: RunDir) -> None:
    (run.rollouts(1) / "manifest.json").write_text("[]")
    (run.rollouts(1) / "part-00000.parquet").write_bytes(b"PAR1")
    assert rows(cli, "mine", "SELECT count(*) AS n FROM metrics") == [{"n": 0}]
    result = cli("sql", "mine", "SELECT count(*) FROM completions")
    assert (result.code, "manifest.json is damaged" in result.err) == (1, True), result.err


def test_unfinished_steps_and_older_rewards(cli: Cli, run: RunDir) -> None:
    write_rollouts(run, 2, {"p-000001": [1, 2]}, "two")
    counts = "SELECT step, count(*) AS n, count(reward) AS graded, count(advantage) AS compared FROM completions"
    query = f"{counts} GROUP BY step ORDER BY step"
    whole = {"n": 4, "graded": 4, "compared": 4}
    assert rows(cli, "mine", query)[1:] == [{"step": 1, **whole}, {"step": 2, "n": 2, "graded": 0, "compared": 0}]
    shutil.rmtree(run.rewards(1))
    write_older_rewards(run, 1, VALUES)
    assert rows(cli, "mine", query)[1] == {"step": 1, **whole}


@pytest.mark.parametrize("older", [False, True])
def test_rewards_of_rollouts_that_were_removed_stay(cli: Cli, run: RunDir, older: bool) -> None:
    if older:
        shutil.rmtree(run.rewards(0))
        write_older_rewards(run, 0, VALUES)
    (run.rollouts(0) / "part-00000.parquet").unlink()
    query = "SELECT prompt_id, completion, reward FROM completions WHERE step = 0 ORDER BY group_id, sample_index"
    found = rows(cli, "mine", query)
    assert [row["reward"] for row in found] == [1, 0, 1, 1]
    assert {row["completion"] for row in found} == {None}
    assert {row["prompt_id"] for row in found} == {"p-000001", "p-000002"}


def test_what_was_made_with_a_tag_is_added_when_asked_for(cli: Cli, run: RunDir) -> None:
    own = run.advantages(1)
    shutil.copy(own, own.with_name("advantages.beta8.parquet"))
    shutil.copy(run.update_metrics(1), run.step(1) / "update_metrics.beta8.parquet")
    query = "SELECT tag, count(*) AS n, count(advantage) AS a FROM completions GROUP BY tag ORDER BY tag NULLS FIRST"
    assert rows(cli, "mine", query) == [{"tag": None, "n": 8, "a": 8}]
    assert rows(cli, "mine", "--tag", "beta8", query)[1:] == [{"tag": "beta8", "n": 4, "a": 4}]
    updates = "SELECT step FROM updates WHERE tag = 'beta8'"
    assert rows(cli, "mine", "--tag", "beta8", updates) == [{"step": 1}]
    result = cli("sql", "mine", "--tag", "beta9", query)
    assert (result.code, "no run has anything with the tag beta9" in result.err) == (1, True)


def test_evaluations_per_problem_per_sample_and_on_the_line(cli: Cli, run: RunDir) -> None:
    write_evaluation(run, 0, {"p-000001": [1, 0, 1], "p-000002": [0, 0, 1]})
    write_evaluation(run, 2, {"p-000001": [1, 1, 1], "p-000002": [0, 1, 1]}, at=0.75)
    write_table(run.benchmark("toy"), prompts(["p-000001", "p-000002"]), PROMPTS, Lineage("prepare", {}, {}))
    query = "SELECT policy_version, interpolation, sum(correct) AS c, sum(n) AS n FROM evals GROUP BY ALL ORDER BY ALL"
    assert [tuple(row.values()) for row in rows(cli, "mine", query)] == [(0, 1.0, 1, 4), (2, 0.75, 3, 4)]
    query = "SELECT policy_version AS p, count(*) AS n, sum(reward) AS r, count(ground_truth) AS g FROM eval_samples"
    found = rows(cli, "mine", f"{query} GROUP BY ALL ORDER BY ALL")
    assert found == [{"p": 0, "n": 4, "r": 1, "g": 4}, {"p": 2, "n": 4, "r": 3, "g": 4}]
    found = rows(cli, "mine", "SELECT metric, value, stale IS NULL AS fresh FROM eval_metrics WHERE k = 1 ORDER BY 2")
    assert [tuple(row.values()) for row in found] == [("pass", 0.25, False), ("pass", 0.75, False)]


def test_several_runs_a_folder_of_runs_and_a_fork(cli: Cli, run: RunDir) -> None:
    other = Path(shutil.copytree(run.path, "runs/betas/other"))
    shutil.copytree(run.path, "elsewhere/mine")
    query = "SELECT run, count(*) AS n FROM completions GROUP BY run ORDER BY run"
    assert rows(cli, "mine", "runs/betas", query) == [{"run": "mine", "n": 8}, {"run": "other", "n": 8}]
    assert rows(cli, "mine", "mine", query) == [{"run": "mine", "n": 8}]
    assert [row["run"] for row in rows(cli, "mine", "elsewhere/mine", query)] == ["elsewhere/mine", "runs/mine"]
    settings = json.loads((other / "config.json").read_text())
    del settings["check"]
    (other / "config.json").write_text(json.dumps(settings | {"forked_from": {"run": "mine", "step": 1}}))
    found = rows(cli, "betas", "SELECT beta, forked_from, forked_at, settings->>'rollout.temperature' AS t FROM runs")
    assert found == [{"beta": 3.0, "forked_from": "mine", "forked_at": 1, "t": "1.0"}]


def test_without_a_query_the_views_are_listed(cli: Cli, run: RunDir) -> None:
    out = " ".join(cli("sql", "mine").out.split())
    for part in ("completions: a row is a completion", "reward_status why: ok, wrong, no_box", "metrics: a row is"):
        assert part in out
    listed = cli("sql", "mine", "--json").json
    assert [view["view"] for view in listed["views"]][:2] == ["prompts", "completions"]
    for view in listed["views"]:
        found = rows(cli, "mine", f"SELECT column_name AS name FROM (DESCRIBE {view['view']})")
        assert [row["name"] for row in found] == list(view["columns"])
    assert cli("sql").code == 0  # the newest run


HOSTILE = {
    "SELECT * FROM 'secret.csv'": "file system operations are disabled",
    "SELECT * FROM read_text('secret.csv')": "file system operations are disabled",
    "SELECT * FROM glob('*')": "file system operations are disabled",
    "COPY (SELECT 1) TO 'made.csv'": "COPY cannot be run: a query is a single SELECT",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'made.csv'": "EXPLAIN cannot be run: a query is a single SELECT",
    "EXPORT DATABASE 'made'": "EXPORT cannot be run: a query is a single SELECT",
    "ATTACH 'made.db'": "ATTACH cannot be run: a query is a single SELECT",
    "INSTALL httpfs": "LOAD cannot be run: a query is a single SELECT",
    "LOAD httpfs": "LOAD cannot be run: a query is a single SELECT",
    "SET enable_external_access = true": "SET cannot be run: a query is a single SELECT",
    "SELECT 1; COPY (SELECT 1) TO 'made.csv'": "2 statements",
    "CREATE TABLE made AS SELECT 1": "CREATE cannot be run: a query is a single SELECT",
    "PRAGMA database_list": "PRAGMA cannot be run: a query is a single SELECT",
}


def test_a_query_reaches_nothing_but_the_views(cli: Cli, run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    for query, said in HOSTILE.items():
        result = cli("sql", "mine", query)
        assert (result.code, result.out) == (2, ""), query
        assert said in result.err, (query, result.err)
        assert len(result.err.splitlines()) == 2, query
    assert sorted(tmp_path.rglob("*")) == before


def test_locked_up_even_without_the_check_of_the_statement(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsgrpo_cli.errors import UsageError
    from rsgrpo_cli.report.sql import Database

    monkeypatch.setattr(Database, "_require_reading", lambda *_: None)
    places = [run.metrics, run.path / "made.csv", run.prompts]
    queries = [f"COPY (SELECT 1 AS a) TO '{path}'" for path in places]
    before = run.prompts.read_bytes()
    for query in [*queries, "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true", "ATTACH 'x.db'"]:
        with pytest.raises(UsageError, match=r"disabled|locked"):
            list(Database({"mine": run}).query(query).rows())
    assert run.prompts.read_bytes() == before


WRONG = {
    "SELEC 1 FROM metrics": ('syntax error at or near "SELEC"', "lists the views and their columns"),
    "SELECT nope FROM metrics": ('column "nope" not found', "metrics has run, step, policy_version"),
    "SELECT * FROM nope": ("Table with name nope does not exist", "views: prompts, completions, evals"),
    "SELECT nope(step) FROM metrics": ("nope does not exist", "lists the views"),
    "SELECT CAST(run AS INT) FROM completions": ("Could not convert string 'mine'", "lists the views"),
    " ; ": ("0 statements", "a query only reads"),
}


def test_what_is_wrong_is_one_line_and_a_next_step(cli: Cli, run: RunDir) -> None:
    for query, (what, hint) in WRONG.items():
        result = cli("sql", "mine", query)
        assert (result.code, result.out) == (2, ""), query
        first, second = result.err.splitlines()
        assert (first.startswith("error: "), what in first, hint in second) == (True, True, True), result.err


def test_missing_runs_and_a_missing_duckdb(cli: Cli, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    result = cli("sql", "nope", "SELECT 1")
    assert (result.code, "no run at runs/nope" in result.err, "runs here: mine" in result.err) == (1, True, True)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = cli("sql", "mine", "SELECT 1")
    assert result.code == 1
    assert result.err.splitlines() == ["error: SQL needs DuckDB", "  pip install 'rsgrpo[sql]'"]


def test_damaged_and_foreign_files_are_named(cli: Cli, run: RunDir) -> None:
    path = run.advantages(1)
    intact = path.read_bytes()
    table = pq.read_table(path)
    query = "SELECT sum(advantage) FROM completions"
    pq.write_table(table.drop_columns("advantage"), path)
    result = cli("sql", "mine", query)
    assert (result.code, "advantages.parquet does not have the columns" in result.err) == (1, True), result.err
    path.write_bytes(intact[:-20])
    result = cli("sql", "mine", query)
    assert (result.code, "advantages.parquet is damaged" in result.err) == (1, True), result.err
    path.write_bytes(intact)
    column = pa.array([b"\xff\xfe"] * 2, pa.binary()).view(pa.string())
    held = pq.read_table(run.prompts)
    place = held.schema.get_field_index("ground_truth")
    pq.write_table(held.set_column(place, held.schema.field(place), column), run.prompts)
    result = cli("sql", "mine", "SELECT ground_truth FROM completions")
    assert (result.code, "prompts.parquet is damaged" in result.err) == (1, True), result.err


def test_formats(cli: Cli, run: RunDir) -> None:
    query = "SELECT step, avg(reward) AS mean, [1, 2] AS list, MAP {'a': 1.5} AS map, NULL AS none FROM completions"
    query += " GROUP BY step ORDER BY step"
    found = list(csv.reader(io.StringIO(cli("sql", "mine", query, "--format", "csv").out)))
    assert found == [["step", "mean", "list", "map", "none"], *[[s, "0.75", "[1, 2]", '{"a": 1.5}', ""] for s in "01"]]
    objects = json.loads(cli("sql", "mine", query, "--format", "json").out)
    assert objects[0] == {"step": 0, "mean": 0.75, "list": [1, 2], "map": {"a": 1.5}, "none": None}
    assert json.loads(cli("sql", "mine", "SELECT 1 AS a WHERE false", "--format", "json").out) == []
    for name in ("rows.csv", "rows.json", "rows.parquet"):
        assert cli("sql", "mine", query, "--out", f"made/{name}").code == 0
    assert pq.read_table("made/rows.parquet")["mean"].to_pylist() == [0.75, 0.75]
    assert json.loads(Path("made/rows.json").read_text()) == objects
    assert list(csv.reader(Path("made/rows.csv").read_text().splitlines())) == found
    out = cli("sql", "mine", "SELECT range AS n FROM range(1000)").out
    assert ("the first 200 rows" in out, " 199 " in out, " 200 \n" in out) == (True, True, False)


REFUSED = {
    "--format parquet": "Parquet is for a file",
    "--format xml": "--format is one of",
    "--out rows.xml": "--format is one of",
    "--out runs/mine/metrics.csv": "is inside run mine",
    "--format json": "two columns of the query are called a",
    "--out rows.parquet": "two columns of the query are called a",
}


def test_output_that_cannot_be(cli: Cli, run: RunDir) -> None:
    for flags, said in REFUSED.items():
        result = cli("sql", "mine", "SELECT 1 AS a, 2 AS a", *flags.split())
        assert (result.code, said in result.err) == (2, True), (flags, result.err)
    assert not Path("rows.parquet").exists()


def test_flags_without_a_query(cli: Cli, run: RunDir) -> None:
    assert "there is no query" in cli("sql", "mine", "--format", "csv").err


def test_text_of_a_model_is_no_command_to_the_terminal(cli: Cli, run: RunDir) -> None:
    for flags in ([], ["--format", "csv"], ["--format", "json"], ["--json"]):
        result = cli("sql", "mine", "SELECT chr(27) || '[2J' || chr(8238) AS \"a\x1b\"", *flags)
        assert result.code == 0
        assert not re.search("[\x1b\u202e]", result.out), flags
    result = cli("sql", "mine", "SELECT CAST(chr(27) || 'x' AS INT)")
    assert "\x1b" not in result.err
    assert "\\x1b" in result.err


def test_a_fork_and_prompts_of_other_runs_do_not_mix(cli: Cli, run: RunDir) -> None:
    shutil.copytree(run.path, "runs/two")
    write_prompts(RunDir(Path("runs/two")), ["p-000001"])
    found = rows(cli, "mine", "two", "SELECT run, count(ground_truth) AS n FROM completions GROUP BY run ORDER BY run")
    assert found == [{"run": "mine", "n": 8}, {"run": "two", "n": 4}]

"""`show`: problems of a step or of an evaluation, found by what became of them; and one with its completions."""

from pathlib import Path

import pyarrow as pa
import pytest

from rsgrpo_cli.artifacts import Lineage, read_lineage, read_table, write_table
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.schemas import KEYS, POLICY_LOGPROBS, REWARDS, ROLLOUTS
from tests import run_on_disk
from tests.conftest import Cli
from tests.test_console import HOSTILE


@pytest.fixture
def evaluated(cli: Cli, trained: Path) -> Path:
    """Policies 0 and 2, on the bundled benchmark."""
    for policy in ("0", "2"):
        assert cli("eval", "--run", trained, "--policy", policy, "-n", "4", "--k", "1,4").code == 0
    return trained


def test_problems_of_the_newest_step(cli: Cli, run: RunDir) -> None:
    data = cli("show", "--run", run.path, "--json").json
    assert (data["source"], data["total"]) == ("step 0", 2)
    told = [(row["prompt_id"], row["right"], row["samples"], row["truncated"]) for row in data["problems"]]
    assert told == [("p-000001", 1, 2, 0), ("p-000002", 2, 2, 1)]
    out = cli("show", "--run", run.path, "--limit", "1").out
    assert "1/2" in out
    assert "1 more: --limit" in out


def test_the_hardest_first_and_those_never_solved(cli: Cli, run: RunDir) -> None:
    run_on_disk.write_rewards(run, 0, {"p-000001": [1, 1], "p-000002": [0, 0]})
    hardest = cli("show", "--run", run.path, "--hardest", "--json").json["problems"]
    assert [row["prompt_id"] for row in hardest] == ["p-000002", "p-000001"]
    wrong = cli("show", "--run", run.path, "--wrong", "--json").json
    assert [row["prompt_id"] for row in wrong["problems"]] == ["p-000002"]


def test_grades_are_no_right_answers_even_where_one_is_1(cli: Cli, run: RunDir) -> None:
    run_on_disk.write_rewards(run, 0, {"p-000001": [1, 0.2], "p-000002": [0.8, 0.9]}, own=True)
    hardest = cli("show", "--run", run.path, "--hardest", "--json").json["problems"]
    assert [(row["prompt_id"], row["right"]) for row in hardest] == [("p-000001", None), ("p-000002", None)]
    assert [row["reward_mean"] for row in hardest] == pytest.approx([0.6, 0.85])
    assert "0/2" not in cli("show", "--run", run.path).out


def test_a_search_looks_into_problems_and_completions(cli: Cli, run: RunDir) -> None:
    def found(text: str) -> list[str]:
        rows = cli("show", "--run", run.path, "--search", text, "--json").json["problems"]
        return [row["prompt_id"] for row in rows]

    assert found("P-000002") == ["p-000002"]  # its answer, in any case of letters
    assert found("xxxx") == ["p-000002"]  # its second completion alone is as long
    assert found("nowhere") == []
    assert "no such problems" in cli("show", "--run", run.path, "--search", "nowhere").out


def test_a_step_without_rewards_says_what_makes_them(cli: Cli, run: RunDir) -> None:
    (run.rewards(0) / "part-00000.parquet").unlink()
    result = cli("show", "--run", run.path)
    assert (result.code, "no step of run run has rewards yet" in result.err) == (1, True)
    assert "step 0 of run run has no rewards" in cli("show", "--run", run.path, "--step", "0").err
    assert "rsgrpo score --run" in result.err


def test_an_evaluation_is_looked_at_like_a_step(cli: Cli, evaluated: Path) -> None:
    data = cli("show", "--run", evaluated, "--policy", "2", "--hardest", "--limit", "1", "--json").json
    assert (data["source"], data["total"], data["problems"][0]["samples"]) == ("policy 2 on toy", 256, 4)
    one = cli("show", "--run", evaluated, "--policy", "2", "--prompt", "5", "--json").json
    assert [row["policy_version"] for row in one["completions"]] == [2] * 4
    rewards = [row["reward"] for row in one["completions"]]
    assert rewards == sorted(rewards, reverse=True)
    assert {"extracted_answer", "reward_status", "logprob"} <= one["completions"][0].keys()
    unknown = cli("show", "--run", evaluated, "--policy", "2", "--prompt", "99999")
    assert (unknown.code, "they go from toy-test-000000" in unknown.err) == (2, True)
    missing = cli("show", "--run", evaluated, "--policy", "1")
    assert (missing.code, "policy 1 of run trained has no evaluation" in missing.err) == (1, True)


def test_newly_solved_are_those_of_compare(cli: Cli, evaluated: Path) -> None:
    places = (f"{evaluated}@0", f"{evaluated}@2")
    compared = cli("compare", *places, "--json").json["newly_solved"]
    shown = cli("show", "--newly-solved", *places, "--limit", "999", "--json").json["problems"]
    assert [row["prompt_id"] for row in shown] == sorted(compared)
    assert all(row["right"] for row in shown)
    assert cli("eval", "--run", evaluated, "--policy", "0", "-n", "8").code == 0
    assert "the first 4 of the 8 of trained@0" in cli("show", "--newly-solved", *places).out
    other_way = cli("show", "--newly-solved", *reversed(places), "--json").json
    assert other_way["notes"][1] == "what is right is counted over all 8 of trained@0 (base)"


def test_the_best_completion_comes_first_with_its_answer(cli: Cli, run: RunDir) -> None:
    run_on_disk.write_rewards(run, 0, {"p-000001": [0, 1], "p-000002": [1, 1]})
    data = cli("show", "--run", run.path, "--prompt", "1", "--json").json
    assert [row["sample_index"] for row in data["completions"]] == [1, 0]
    assert "completion_ids" not in data["completions"][0]


def test_the_tokens_of_a_completion(cli: Cli, evaluated: Path) -> None:
    where = ("--run", evaluated, "--policy", "2", "--prompt", "5")
    completion = next(row for row in cli("show", *where, "--json").json["completions"] if row["sample_index"] == 3)
    data = cli("show", *where, "--tokens", "3", "--json").json
    assert len(data["tokens"]) == completion["tokens"]
    assert sum(token["nats"] for token in data["tokens"]) == pytest.approx(-completion["logprob"])
    text = "".join(token["token"] for token in data["tokens"])
    assert text.startswith(completion["completion"])
    assert "-log p" in cli("show", *where, "--tokens", "3").out
    none = cli("show", *where, "--tokens", "9")
    assert (none.code, "has no sample 9" in none.err) == (1, True)


def test_the_tokens_have_what_the_trainer_said_where_it_was_kept(cli: Cli, run: RunDir) -> None:
    where = ("--run", run.path, "--prompt", "1", "--tokens", "0")
    (alone,) = cli("show", *where, "--json").json["tokens"]
    assert (alone["entropy"], alone["difference"], alone["ratio"]) == (None, None, None)
    assert "entropy" not in cli("show", *where).out
    write_trainers(run, {"entropies": [0.25]})
    (token,) = cli("show", *where, "--json").json["tokens"]
    assert token["nats"] == alone["nats"]
    assert token["entropy"] == 0.25
    assert token["difference"] == pytest.approx(0.5)
    assert token["ratio"] == pytest.approx(1.6487, rel=1e-4)  # the square root of e
    assert "entropy" in cli("show", *where).out
    write_trainers(run, {})  # as older versions did
    (older,) = cli("show", *where, "--json").json["tokens"]
    assert (older["entropy"], older["ratio"]) == (None, token["ratio"])
    for others in ({"rollouts": "others"}, {"advantages": "others"}):  # made again since
        write_trainers(run, {"entropies": [0.25]}, **others)
        assert cli("show", *where, "--json").json["tokens"] == [alone]


def write_trainers(run: RunDir, more: dict[str, list[float]], rollouts: str = "", advantages: str = "") -> None:
    """What the trainer said of the first completion of step 0: half a nat more than the sampler."""
    first = read_table(run.rollouts(0) / "part-00000.parquet", ROLLOUTS).to_pylist()[0]
    row = {key: first[key] for key in KEYS} | {"policy_logprobs": [value + 0.5 for value in first["sampling_logprobs"]]}
    schema = POLICY_LOGPROBS.schema if more else POLICY_LOGPROBS.required
    step = Step(run, 0)
    inputs = {"rollouts": rollouts or step.complete_rollouts(), "advantages": advantages or step.advantages.id}
    table = pa.Table.from_pylist([row | more], schema=schema)
    write_table(run.policy_logprobs(0), table, POLICY_LOGPROBS, Lineage("update", {}, inputs))


def test_a_hostile_completion_stays_text(cli: Cli, run: RunDir) -> None:
    path = run.rollouts(0) / "part-00000.parquet"
    table, made = read_table(path, ROLLOUTS), read_lineage(path, ROLLOUTS)
    column = table.schema.get_field_index("completion")
    table = table.set_column(column, table.schema.field(column), [[HOSTILE] * len(table)])
    write_table(path, table, ROLLOUTS, Lineage(made.stage, made.config, made.inputs, policy_version=0))
    rewards = read_table(run.rewards(0) / "part-00000.parquet", REWARDS)
    assert len(rewards) == 4
    for flags in (["--search", "]52"], ["--prompt", "1"], ["--prompt", "1", "--full"]):
        out = cli("show", "--run", run.path, *flags).out
        assert not set("\x1b\x07\x9b\x7f\u202e") & set(out)


@pytest.mark.parametrize(
    "flags",
    [
        ["--prompt", "1", "--hardest"],
        ["--full", "--wrong"],
        ["--tokens", "0", "--search", "x"],
        ["--prompt", "1", "--limit", "5"],
        ["--policy", "0", "--step", "0"],
        ["--policy", "0", "--tag", "b"],
        ["--benchmark", "toy"],
        ["--newly-solved", "a", "b", "--step", "0"],
        ["--newly-solved", "a", "b", "--full"],
    ],
)
def test_no_flag_is_ignored(cli: Cli, run: RunDir, flags: list[str]) -> None:
    result = cli("show", "--run", run.path, *flags)
    assert result.code == 2, result.out
    assert flags[-1] in result.err or flags[-2] in result.err


def test_wrong_is_refused_where_nothing_is_right_or_wrong(cli: Cli, run: RunDir) -> None:
    run_on_disk.write_rewards(run, 0, {"p-000001": [1, 0.2], "p-000002": [0.8, 0.9]}, own=True)
    assert "has no right and wrong answers" in cli("show", "--run", run.path, "--wrong").err


def test_what_has_a_tag_is_listed_as_well(cli: Cli, trained: Path) -> None:
    where = ("--run", trained, "--step", "1")
    own = cli("show", *where, "--json").json
    assert cli("advantage", *where, "--beta", "8", "--tag", "b8").code == 0
    tagged = cli("show", "--run", trained, "--tag", "b8", "--hardest", "--json").json
    assert tagged["source"] == "step 1 (advantages b8)"
    assert sorted(map(str, tagged["problems"])) == sorted(map(str, own["problems"]))
    assert cli("update", *where, "--advantages", "b8", "--tag", "b8").code == 0
    assert cli("update", *where, "--advantages", "b8", "--tag", "other").code == 0
    one = own["problems"][0]["prompt_id"]
    learned = cli("show", "--run", trained, "--tag", "other", "--prompt", one, "--json").json
    assert learned["tagged"] == ["update"]
    of_b8 = cli("show", "--run", trained, "--tag", "b8", "--prompt", one, "--json").json
    assert [row["advantage"] for row in learned["completions"]] == [row["advantage"] for row in of_b8["completions"]]
    assert "tags there: b8, other" in cli("show", "--run", trained, "--tag", "none").err
    assert cli("eval", "--run", trained, "--policy", "2.b8", "-n", "2", "--k", "1").code == 0
    listed = cli("show", "--run", trained, "--policy", "2.b8", "--limit", "1")
    assert "policy 2.b8 on toy" in listed.out
    command = listed.out.rpartition("its completions: rsgrpo ")[2].split()
    assert cli(*command, "--json").json["source"] == "policy 2.b8 on toy"
    first = cli("show", "--run", trained, "--policy", "2.b8", "--full")
    assert first.out.startswith("prompt: toy-test-000000")
    # Completions with a tag have no rewards, so none of them is right or wrong.
    assert cli("rollout", *where, "--temperature", "0.7", "--tag", "cool").code == 0
    problems = cli("show", "--run", trained, "--tag", "cool", "--search", "toy", "--json").json["problems"]
    assert {row["right"] for row in problems} == {None}
    assert cli("eval", "--run", trained, "--policy", "2.b8", "-n", "2", "--k", "1", "--tag", "t").code == 0
    assert "--policy 2.b8 --benchmark toy.t" in cli("show", "--run", trained, "--tag", "t").err
    told = cli("status", "--run", trained).out.splitlines()
    assert {"evaluated: policy 2.b8 on toy", "evaluated: policy 2.b8 on toy.t"} <= set(told)

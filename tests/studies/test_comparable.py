"""Evaluations that do not belong together are no table of groups and no figure of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsgrpo_cli.artifacts import combined_id, read_lineage, read_table, write_table
from rsgrpo_cli.errors import MissingError, StaleError, UsageError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.schemas import REWARDS, SUMMARY
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.comparable import to_grade_alike
from rsgrpo_cli.studies.comparison import Comparison, compare_groups, usual_columns
from rsgrpo_cli.studies.figures import diversity, frontier, passk, training, transitions
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.formats import as_data, as_text
from rsgrpo_cli.studies.groups import Group, find_groups
from rsgrpo_cli.studies.results import Result
from tests.conftest import Cli
from tests.report.html.written import AFTER, ASKED, BEFORE, new_run, write_evaluation
from tests.studies.figures.made import also, base, group
from tests.studies.test_groups import counts, keep, result

PASS: tuple[str, float] = ("pass", 1.0)
METRICS = dict.fromkeys(("cumulative_solve_rate", "reward_mean", "pass@1", "pass@G"), 0.5)


def table(groups: list[Group], **changed: Any) -> Comparison:
    return compare_groups(groups, ["toy"], changed.get("columns", [PASS]), groups[0])


def trained(one: Group) -> Group:
    """A group with two steps of training."""
    rows = [METRICS | {"step": step} for step in (0, 1)]
    return Group(one.label, tuple(replace(member, metrics=rows) for member in one.members))


def with_each(one: Group, **changed: Any) -> Group:
    """A group all evaluations of which are changed so."""

    def made(member: Result) -> Result:
        return replace(member, evaluations=[replace(each, **changed) for each in member.evaluations])

    return Group(one.label, tuple(made(member) for member in one.members))


def drawn(temperature: float) -> dict[str, Any]:
    return {"sampling": {"temperature": temperature, "top_p": 1.0}, "verifier": "math 1"}


# -- stale ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def sweep(cli: Cli) -> Path:
    """Two cells of a sweep with evaluations of policies 1 and 2; of the first, that of policy 2 lost some rewards."""
    for name, beta in (("a", 0), ("b", 4)):
        run = new_run(Path(f"runs/s/{name}-seed0"), ASKED, advantage__beta=beta, train__steps=2)
        for version, completions in ((0, BEFORE), (1, BEFORE), (2, AFTER)):
            run.checkpoint(version).mkdir(parents=True, exist_ok=True)
            policy = f"policy-{version}" if version else "base"
            (run.checkpoint(version) / "manifest.json").write_text(json.dumps({"policy_id": policy}))
            write_evaluation(run, version, ASKED, completions)
    return Path("runs/s")


def break_rewards(run: Path, version: int) -> None:
    (part,) = run.glob(f"evals/{version:06d}/puzzles/rewards/*.parquet")
    part.unlink()


@pytest.mark.parametrize("command", [["compare"], ["figure", "passk"], ["figure", "frontier"], ["figure", "training"]])
def test_an_older_policy_does_not_stand_for_a_stale_evaluation(cli: Cli, sweep: Path, command: list[str]) -> None:
    break_rewards(sweep / "a-seed0", 2)
    refused = cli(*command, "s")
    assert refused.code == 1
    assert "run a-seed0: the evaluation of policy 2 on puzzles has lost verdicts" in refused.err
    assert "measure again: rsgrpo eval --run runs/s/a-seed0 --policy 2 --benchmark puzzles --force" in refused.err


def test_a_stale_policy_that_is_named_is_stale_and_not_missing(cli: Cli, sweep: Path) -> None:
    break_rewards(sweep / "a-seed0", 2)
    with pytest.raises(StaleError, match="policy 2 on puzzles"):
        compare_groups(find_groups(["s@2"]), ["puzzles"], [PASS], find_groups(["s@2"])[0])
    assert cli("compare", "s@1").code == 0


def test_a_stale_base_model_is_refused_by_the_figure_that_has_it(sweep: Path) -> None:
    for name in "ab":
        break_rewards(sweep / f"{name}-seed0", 0)
    with pytest.raises(StaleError, match="policy 0 on puzzles"):
        passk.collect(find_groups(["s"]), Choices())


def test_a_stale_evaluation_of_a_tagged_policy_is_refused_as_its_own(sweep: Path) -> None:
    run = RunDir(sweep / "a-seed0").with_update(1, "warm")
    write_evaluation(run, 2, ASKED, AFTER)
    (part,) = (run.evaluation(2, "puzzles") / "rewards").glob("*.parquet")
    part.unlink()
    with pytest.raises(StaleError, match=r"policy 2\.warm on puzzles has lost verdicts"):
        results.of_run(run).counts("puzzles")


def test_the_stale_base_model_of_a_sweep_is_refused_beside_an_earlier_policy(sweep: Path) -> None:
    start = sweep / "base-seed0-ab12"
    write_evaluation(new_run(start, ASKED), 0, ASKED, BEFORE)
    for name in "ab":
        shutil.rmtree(sweep / f"{name}-seed0/evals/000000")
    passk.collect(find_groups(["s@1"]), Choices())
    break_rewards(start, 0)
    with pytest.raises(StaleError, match="policy 0 on puzzles"):
        passk.collect(find_groups(["s@1"]), Choices())


def test_an_earlier_stale_policy_is_left_out_of_a_line_and_named(cli: Cli, sweep: Path) -> None:
    break_rewards(sweep / "a-seed0", 1)
    found = frontier.collect(find_groups(["s"]), Choices())
    assert [[point.at for point in line.points] for line in found.lines] == [["0"], ["2"], ["1", "2"]]
    assert found.caption.endswith(" Left out, as stale: a-seed0@1.")
    assert cli("compare", "s").code == 0


# -- policies ---------------------------------------------------------------------------------------------------------

NEWEST = (passk.collect, diversity.collect, transitions.collect)


def test_a_group_on_its_way_is_not_compared_with_one_that_has_arrived(tmp_path: Path) -> None:
    done = replace(result("a-seed0", 0, [1, 1]), evaluations=[counts(0, [0, 1]), counts(1, [1, 0]), counts(2, [1, 1])])
    half = replace(done, name="b-seed0", config=result("b", 0, [], advantage__beta=4).config, steps=1)
    half = replace(half, evaluations=half.evaluations[:2])
    place = keep(tmp_path / "s", done, half)
    told = "b-seed0 has reached policy 1 of 2, and a-seed0 to 2"
    with pytest.raises(UsageError, match=told) as caught:
        table(find_groups([place]))
    assert caught.value.hint == (
        f"compare the newest that all have, {place}@1; or train the rest: "
        "rsgrpo train --run runs/s/b-seed0; or name the policies that are meant: LABEL=RUN@POLICY for each"
    )
    for collect in NEWEST:
        with pytest.raises(UsageError, match=told):
            collect(find_groups([place]), Choices())
    way = frontier.collect(find_groups([place]), Choices())  # tells policies apart
    assert way.caption.endswith("; large: the newest. Different: policy: 2 (a), 1 (b).")
    table(find_groups([f"{place}@1"]))
    named = find_groups([f"a={place}/a-seed0.parquet", f"b={place}/b-seed0.parquet@1"])
    assert table(named).caption().endswith(" Different: policy: 2 (a), 1 (b).")
    assert passk.collect(named, Choices()).caption.endswith(" Different: policy: 2 (a), 1 (b).")


def test_an_evaluation_that_lags_behind_is_made_and_nothing_trained(tmp_path: Path) -> None:
    late = replace(result("b-seed0", 0, [], advantage__beta=4), evaluations=[counts(1, [1, 0])])
    with pytest.raises(UsageError, match="b-seed0 has reached policy 1 of 2, and a-seed0 to 2") as caught:
        table(find_groups([keep(tmp_path, result("a-seed0", 0, [1, 1]), late)]))
    assert "evaluate the newest: rsgrpo eval --run runs/s/b-seed0 --policy 2 --benchmark toy; or" in caught.value.hint


def test_what_lags_behind_is_evaluated_by_as_many_samples(sweep: Path) -> None:
    shutil.rmtree(sweep / "a-seed0/evals/000002")
    with pytest.raises(UsageError, match="a-seed0 has reached policy 1 of 2") as caught:
        passk.collect(find_groups(["s"]), Choices())
    line = "rsgrpo eval --run runs/s/a-seed0 --policy 2 --benchmark puzzles --num-samples 4 --k 1,2"
    assert f"evaluate the newest: {line}; or" in caught.value.hint


def test_runs_that_end_at_other_steps_are_compared_and_their_policies_named() -> None:
    found = table([group("long", [1, 2]), group("short", [1, 1], steps=1, train__steps=1)])
    assert found.unlike() == ["policy: 2 (long), 1 (short)"]
    assert as_data(found)["unlike"] == found.unlike()
    assert [one["policy"] for one in as_data(found)["groups"].values()] == [2, 1]
    assert "policy: 2 (long), 1 (short)" in as_text(found, "latex")


# -- sampling and problems --------------------------------------------------------------------------------------------


def test_what_else_differs_is_said_in_the_caption() -> None:
    warm, cold = with_each(group("warm", [1, 2], [1, 1]), **drawn(1.0)), with_each(group("cold", [2, 2]), **drawn(0.3))
    told = "temperature: 1.0 (base, warm), 0.3 (cold)"
    groups = [with_each(base([1, 1]), **drawn(1.0)), trained(warm), trained(cold)]
    assert table(groups).unlike() == [told]
    for collect in (*NEWEST, frontier.collect, training.collect):
        found: Any = collect(groups, Choices())
        assert found.caption.endswith(f" Different: {told}.")
    assert table(groups[:2]).unlike() == []
    graded = with_each(cold, **drawn(1.0) | {"verifier": "math 2"})
    assert table([warm, graded]).unlike() == ["graded by: math 1 (warm), math 2 (cold)"]


def test_members_of_one_group_that_differ_are_named_one_by_one() -> None:
    mixed = group("mixed", [1, 2], [1, 1])
    hot = with_each(Group("", mixed.members[1:]), **drawn(0.3)).members
    found = table([with_each(group("a", [1, 2]), **drawn(1.0)), Group("mixed", (*mixed.members[:1], *hot))])
    assert found.unlike() == ["temperature: 1.0 (a), 0.3 (mixed)"]  # of the first, nobody knows
    known = with_each(Group("", mixed.members[:1]), **drawn(1.0)).members
    found = table([Group("mixed", (*known, *hot))])
    assert found.unlike() == ["temperature: 1.0 (mixed-seed0@2), 0.3 (mixed-seed1@2)"]


def test_a_kept_file_says_how_its_evaluations_were_made(sweep: Path) -> None:
    run = results.of_run(RunDir(sweep / "a-seed0"))
    results.write(Path("kept.parquet"), run)
    (kept,) = results.read(Path("kept.parquet"))
    (*_, own), (*_, again) = run.evaluations, kept.evaluations
    assert (again.sampling, again.verifier, again.graded) == (own.sampling, own.verifier, False)
    assert again.sampling["max_tokens"] == 20


def test_other_problems_by_one_name_name_the_runs_and_a_command() -> None:
    ones, other = group("a", [1, 2]), with_each(group("c", [1, 2]), benchmark_id="cut")
    told = "a-seed0 and c-seed0 were evaluated on different problems, both called toy"
    with pytest.raises(UsageError, match=told):
        table([ones, other])
    for collect in (passk.collect, frontier.collect, training.collect):
        with pytest.raises(UsageError, match=told) as caught:
            collect([trained(ones), trained(other)], Choices())
        assert caught.value.hint == (
            "evaluate all on the same: for run in runs/s/a-seed0 runs/s/c-seed0; do rsgrpo eval "
            '--run "$run" --benchmark toy --tag same; done; then choose it: --benchmark toy.same'
        )


def test_other_problems_of_one_benchmark_leave_the_others_to_compare_on() -> None:
    sums = counts(2, [1, 1], benchmark="sums")
    ones, other = also(group("a", [1, 2]), sums), also(with_each(group("c", [1, 2]), benchmark_id="cut"), sums)
    with pytest.raises(UsageError, match="both called toy") as caught:
        compare_groups([ones, other], ["toy", "sums"], [("pass", 1)], ones)
    assert caught.value.hint.endswith("--benchmark toy.same; or compare on others alone: --benchmark sums")
    assert compare_groups([ones, other], ["sums"], [("pass", 1)], ones).entries


def test_the_base_model_is_measured_as_the_runs_were(cli: Cli, sweep: Path) -> None:
    for name in "ab":
        (sweep / f"{name}-seed0/evals/000000").rename(sweep / name)
    with pytest.raises(MissingError, match="transitions needs the base model, and a-seed0 has no evaluation") as caught:
        transitions.collect(find_groups(["s"]), Choices())
    line = "rsgrpo eval --run runs/s/a-seed0 --policy 0 --benchmark puzzles --num-samples 4 --k 1,2"
    assert caught.value.hint == f"measure it: {line}; or name a group: --baseline LABEL"


# -- grades -----------------------------------------------------------------------------------------------------------


def grades(label: str, *rewards: list[float]) -> Group:
    """One list of mean rewards per seed."""
    made = group(label, *([0] * len(one) for one in rewards))
    pairs = zip(made.members, rewards, strict=True)
    return Group(
        label,
        tuple(
            replace(one, evaluations=[replace(each, graded=True, reward_M=np.array(means)) for each in one.evaluations])
            for one, means in pairs
        ),
    )


def test_grades_are_compared_by_their_mean_reward() -> None:
    groups = [grades("a", [0.5, 0.7, np.nan]), grades("b", [0.6, 1.0, 0.1], [0.6, 0.8, 0.1])]
    columns = usual_columns(groups, ["toy"], [1, 4])
    found = compare_groups(groups, ["toy"], columns, groups[0])
    # The third problem has no reward in one run: (.5 + .7) / 2, and (.6 + 1 + .6 + .8) / 4.
    assert [one.value for one in found.entries] == pytest.approx([0.6, 0.75])
    assert found.entry("b", "toy", ("reward", None)).difference == pytest.approx(0.2)  # of the seed that both have
    assert (found.changes, found.caption().partition(". ")[0]) == ({}, "toy: 2 problems")
    assert "|  | reward |\n" in as_text(found, "markdown")
    assert r"b & \textbf{0.750}\,{\scriptsize $+0.200\ [+0.100, +0.300]$} \\" in as_text(found, "latex")
    assert "b,toy,reward,,0.75" in as_text(found, "csv")


def test_grades_have_no_solve_rates() -> None:
    groups = [trained(grades("a", [0.5, 0.7])), trained(grades("b", [0.5, 0.7]))]
    told = "a-seed0 was graded on toy, and grades have no pass@k"
    for columns in ([PASS], [("reward", None), ("cover", 0.5)]):
        with pytest.raises(UsageError, match=told):
            table(groups, columns=columns)
    for collect in (passk.collect, frontier.collect, transitions.collect):
        with pytest.raises(UsageError, match=told) as caught:
            collect([base([0, 0]), *groups], Choices())
        assert caught.value.hint == "compare their mean rewards: rsgrpo compare runs/s"
    of_one = [replace(group, members=tuple(replace(one, policy=2) for one in group.members)) for group in groups]
    with pytest.raises(UsageError, match=told) as caught:
        passk.collect(of_one, Choices())
    assert caught.value.hint == "compare their mean rewards: rsgrpo compare runs/s@2"
    found = training.collect(groups, Choices())
    assert [*found.groups[0].measured] == ["reward_mean"]
    assert found.caption.endswith("; grades have no pass@k.")


def test_grades_are_not_compared_with_verdicts() -> None:
    with pytest.raises(UsageError, match="a-seed0 was graded and b-seed0 judged right or wrong") as caught:
        usual_columns([grades("a", [0.5, 0.7]), group("b", [1, 2])], ["toy"], [1])
    line = "rsgrpo eval --run runs/s/a-seed0 --policy 2 --benchmark toy --reward auto --rescore"
    assert caught.value.hint == f"grade all with the same reward, for example: {line}"
    judged = with_each(group("b", [1, 2]), verifier="math policy-30 sympy-1.14.0")
    with pytest.raises(UsageError) as caught:
        usual_columns([grades("a", [0.5, 0.7]), judged], ["toy"], [1])
    assert caught.value.hint.endswith("--reward math --rescore")


def test_grades_of_several_functions_name_the_line_that_has_all_graded_by_one() -> None:
    first = with_each(grades("a", [0.5, 0.7]), verifier="user mine:grade 1f2e")
    others = [with_each(grades(name, [0.5, 0.7]), verifier="user mine:exact 1f2e") for name in "bc"]
    line = 'do rsgrpo eval --run "$run" --policy 2 --benchmark toy --reward mine:grade --rescore; done'
    told = f"grade again on toy: for run in runs/s/b-seed0 runs/s/c-seed0; {line}"
    assert to_grade_alike([first, *others], ["toy"]) == told
    assert to_grade_alike(others, ["toy"]) == ""
    # Of a function that was edited, nobody knows which version is there now.
    edited = [with_each(one, verifier=f"user mine:grade {source}") for one, source in ((first, 1), (others[0], 2))]
    assert "for run in runs/s/a-seed0 runs/s/b-seed0; do" in to_grade_alike(edited, ["toy"])


def test_a_function_that_gave_only_zeros_and_ones_goes_by_its_mean() -> None:
    scored = with_each(group("b", [1, 4]), reward_M=np.array([0.25, 1.0]))
    groups = [grades("a", [0.5, 0.7]), scored]
    found = compare_groups(groups, ["toy"], usual_columns(groups, ["toy"], None), groups[0])
    assert found.entry("b", "toy", ("reward", None)).value == pytest.approx(0.625)


def test_grades_are_kept(tmp_path: Path) -> None:
    one = grades("a", [0.5, np.nan]).members[0]
    (back,) = results.read(Path(keep(tmp_path, one)) / "a-seed0.parquet")
    assert back.evaluations[0].graded
    assert np.array_equal(back.evaluations[0].reward_M, [0.5, np.nan], equal_nan=True)  # type: ignore[arg-type]


def test_a_function_that_extracts_no_answers_has_none_to_tell_apart() -> None:
    with pytest.raises(UsageError, match="a-seed0 was graded on toy by a function that extracts no answers") as caught:
        diversity.collect([group("b", [1, 2]), grades("a", [0.5, 0.7])], Choices())
    assert caught.value.hint == "compare something else: rsgrpo compare runs/s"


def test_a_function_of_zeros_and_ones_beside_grades_is_compared_by_the_mean() -> None:
    scored = with_each(group("b", [1, 4]), reward_M=np.array([0.25, 1.0]))
    with pytest.raises(UsageError, match="grades have no pass@k") as caught:
        passk.collect([grades("a", [0.5, 0.7]), scored], Choices())
    assert caught.value.hint == "compare their mean rewards: rsgrpo compare runs/s"


def test_figures_of_grades_and_verdicts_name_every_policy_to_judge() -> None:
    flags = "--benchmark toy --reward auto --rescore"
    with pytest.raises(UsageError, match="pass@k and no solve rates; others were judged right or wrong") as caught:
        passk.collect([grades("a", [0.5, 0.7]), group("b", [1, 2])], Choices())
    assert caught.value.hint == f"have all judged: rsgrpo eval --run runs/s/a-seed0 --policy 2 {flags}"
    with pytest.raises(UsageError, match="was graded on toy") as caught:
        passk.collect([with_each(base([0, 0]), graded=True), group("b", [1, 2])], Choices())
    assert f"--policy 0 {flags}" in str(caught.value.hint)


def test_a_stale_evaluation_that_is_a_groups_only_one_is_not_passed_over(cli: Cli, sweep: Path) -> None:
    run = sweep / "a-seed0"
    for version in (0, 1):
        shutil.rmtree(run / f"evals/{version:06d}")
    break_rewards(run, 2)
    refused = cli("figure", "training", "s")
    assert refused.code == 1
    assert "run a-seed0: the evaluation of policy 2 on puzzles has lost verdicts" in refused.err


def test_what_is_measured_to_be_beside_others_is_graded_as_they_were(sweep: Path) -> None:
    for part in (sweep / "a-seed0").glob("evals/*/puzzles/rewards/*.parquet"):
        own = read_lineage(part, REWARDS)
        graded = replace(own, config={**own.config, "reward": "mine:graded"})
        summary = part.parents[1] / "summary.parquet"
        write_table(part, read_table(part, REWARDS), REWARDS, graded)
        ids = {"rewards": combined_id([read_lineage(part, REWARDS).id])}
        before = read_lineage(summary, SUMMARY)
        write_table(summary, read_table(summary, SUMMARY), SUMMARY, replace(before, inputs={**before.inputs, **ids}))
    (group,) = find_groups([str(sweep / "a-seed0")])
    member = group.members[0]
    assert member.as_measured(1, "puzzles")[-2:] == ["--reward", "mine:graded"]
    flags = member.regraded(member.counts("puzzles", 1), "auto")
    drawn = ["--num-samples", "4", "--k", "1,2"]
    assert flags == ["--policy", "1", "--benchmark", "puzzles", *drawn, "--reward", "auto", "--rescore"]

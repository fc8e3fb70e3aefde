"""Groups of runs, and the table over them, from results that are made by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.comparable import shared_benchmarks
from rsgrpo_cli.studies.comparison import baseline_of, compare_groups, left_out, usual_columns
from rsgrpo_cli.studies.figures.inputs import baseline_group, with_base
from rsgrpo_cli.studies.finding import find
from rsgrpo_cli.studies.formats import as_data, as_text, tables
from rsgrpo_cli.studies.groups import Group, bases_of, find_groups, told_together
from rsgrpo_cli.studies.kept import GONE
from rsgrpo_cli.studies.results import Counts, Result

IDS = ("p0", "p1", "p2", "p3")


def counts(policy: int, correct: list[int], n: int = 4, benchmark: str = "toy") -> Counts:
    size = len(correct)
    return Counts(policy, benchmark, "id", IDS[:size], np.full(size, n), np.array(correct), np.ones(size, dtype=int))


def result(name: str, seed: int, correct: list[int], steps: int = 2, **settings: object) -> Result:
    config = resolve({"seed": seed, "train.steps": 2, **{key.replace("__", "."): v for key, v in settings.items()}})
    return Result(name, "s", config, {}, [], [counts(steps, correct)], steps)


def keep(folder: Path, *found: Result) -> str:
    for one in found:
        results.write(folder / f"{one.name}.parquet", one)
    return str(folder)


@pytest.fixture
def study(tmp_path: Path) -> str:
    """A base model, GRPO and beta 4 with two seeds each, on four problems with four samples."""
    grpo: dict[str, Any] = {"advantage__estimator": "grpo"}
    return keep(
        tmp_path / "study",
        result("base-seed0-1a2b", 0, [1, 1, 1, 0], steps=0),
        result("base-seed1-3c4d", 1, [1, 1, 1, 0], steps=0),
        result("grpo-seed0", 0, [4, 4, 0, 0], **grpo),
        result("grpo-seed1", 1, [4, 2, 0, 0], **grpo),
        result("beta4-seed0", 0, [4, 2, 1, 0], advantage__beta=4),
        result("beta4-seed1", 1, [4, 2, 1, 1], advantage__beta=4),
    )


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    one = replace(result("a", 3, [1, 2, 0, 4]), varied={"advantage.beta": 2}, canary=(0.5, 1.5))
    results.write(tmp_path / "a.parquet", one)
    (back,) = results.read(tmp_path / "a.parquet")
    assert (back.name, back.config, back.varied, back.canary) == (one.name, one.config, one.varied, one.canary)
    assert back.evaluations[0].correct_M.tolist() == [1, 2, 0, 4]


def test_runs_of_the_same_settings_are_one_group(study: str) -> None:
    groups = find_groups([study])
    assert {group.label: group.seeds for group in groups} == {"base": (0, 1), "beta4": (0, 1), "grpo": (0, 1)}
    assert groups[0].is_base


def test_a_base_model_that_was_measured_twice_alike_counts_once(study: str) -> None:
    results.write(Path(study) / "base-seed0-9f9f.parquet", result("base-seed0-9f9f", 0, [1, 1, 1, 0], steps=0))
    assert find_groups([study])[0].seeds == (0, 1)
    results.write(Path(study) / "base-seed0-8e8e.parquet", result("base-seed0-8e8e", 0, [1, 1, 1, 1], steps=0))
    with pytest.raises(UsageError, match="base-seed0-1a2b and base-seed0-8e8e both have seed 0, and a group"):
        find_groups([study])


def test_the_table_has_means_and_paired_differences(study: str) -> None:
    groups = find_groups([study])
    found = compare_groups(groups, ["toy"], [("pass", 1), ("pass", 4), ("cover", 0.5)], baseline_of(groups, None))
    assert found.baseline.label == "grpo"
    # GRPO: rates 1, 1, 0, 0 and 1, .5, 0, 0: mean (.5 + .375) / 2. Beta 4: 1, .5, .25, 0 and 1, .5, .25, .25.
    assert found.entry("grpo", "toy", ("pass", 1)).value == pytest.approx(0.4375)
    assert found.entry("beta4", "toy", ("pass", 1)).difference == pytest.approx(0.46875 - 0.4375)
    # With all four samples: GRPO solves 2 of 4, beta 4 solves 3 and 4.
    assert found.entry("beta4", "toy", ("pass", 4)).difference == pytest.approx(7 / 8 - 2 / 4)
    # At least half of the samples right: GRPO 2 of 4, beta 4 too.
    assert found.entry("beta4", "toy", ("cover", 0.5)).difference == 0
    assert found.entry("grpo", "toy", ("pass", 1)).difference is None
    # Against the base, which solves the first three: GRPO loses one, beta 4 wins one with one of two seeds.
    assert found.changes == {"beta4": (0.5, 0.0), "grpo": (0.0, 1.0)}


def test_differences_are_to_plain_grpo_unless_told() -> None:
    grpo: dict[str, Any] = {"advantage__estimator": "grpo"}
    bonus = Group("bonus", (result("bonus", 0, [1], update__entropy_coef=0.01, **grpo),))
    plain = Group("x", (result("x", 0, [1], **grpo),))
    called_so = Group("mine grpo@40", (result("z", 0, [1], update__kl_coef=0.1, update__entropy_coef=0.01, **grpo),))
    beta = Group("beta", (result("beta", 0, [1], advantage__beta=8),))
    assert baseline_of([beta, bonus, plain], None) is plain
    assert baseline_of([beta, bonus, plain, called_so], None) is called_so
    assert baseline_of([beta, bonus, plain], "bonus") is bonus
    assert baseline_of([beta], None) is beta


def test_a_base_model_that_a_policy_leaves_out_is_named_by_its_place(study: str) -> None:
    groups = find_groups([f"{study}@2"])
    with pytest.raises(UsageError, match="no group is called base") as refused:
        baseline_of(groups, "base")
    assert refused.value.hint == f"groups: beta4, grpo; the base model's runs have to be named too: {study}@0"
    with pytest.raises(UsageError) as drawn:
        baseline_group(groups, "base", "transitions", "toy")
    assert drawn.value.hint == refused.value.hint
    assert baseline_of(find_groups([f"{study}@2", f"{study}@0"]), "base").is_base
    with pytest.raises(UsageError, match="no group is called gpro") as refused:
        baseline_of(groups, "gpro")
    assert refused.value.hint == "groups: beta4, grpo"


def test_a_difference_is_paired_over_the_seeds_that_both_groups_have() -> None:
    def group(label: str, *seeds: int, more: int = 1) -> Group:
        """Each seed has a level of its own, which no difference of the same seeds has."""
        return Group(label, tuple(result(label, seed, [seed + more] * 4) for seed in seeds))

    baseline = group("grpo", 0, 1, 2, more=0)
    groups = [group("a", 1, 2, 3), group("b", 1), group("c", 3), group("d", 0, 1, 2), baseline]
    table = compare_groups(groups, ["toy"], [("pass", 1)], baseline)
    entries = [table.entry(label, "toy", ("pass", 1)) for label in "abcd"]
    assert [entry.paired_seeds for entry in entries] == [2, 1, 0, 3]
    assert [entry.difference for entry in (*entries[:2], entries[3])] == pytest.approx([0.25] * 3)
    assert entries[0].difference_low == pytest.approx(0.25)  # 0.25 for each seed and problem: no noise
    assert entries[2].difference == pytest.approx(4 / 4 - 1 / 4)  # of seed 3, and of seeds 0 to 2
    assert ". Differences to grpo: a over seeds 1, 2, which both have; b over seed 1 alone, " in table.caption()
    assert "; c not paired over seeds, as both have none in common. 95% intervals" in table.caption()
    assert [entry["paired_seeds"] for entry in as_data(table)["entries"]] == [2, 1, 0, 3, None]
    assert "difference_high,differs,paired_seeds\r\na,toy,pass,1," in as_text(table, "csv")
    alike = compare_groups(groups[3:], ["toy"], [("pass", 1)], baseline)
    assert "Differences" not in alike.caption()


def test_what_is_marked_allows_for_the_number_of_differences() -> None:
    # 30 problems better by 1/4 in 6 of them: a 95% interval excludes 0, one for 40 differences does not.
    base = [result(f"a{seed}", seed, [0] * 4) for seed in range(2)]
    size = 30
    few = [1] * 5 + [0] * (size - 5)

    def group(label: str, right: list[int]) -> Group:
        made = [
            replace(
                one,
                evaluations=[
                    Counts(
                        2,
                        "toy",
                        "id",
                        tuple(map(str, range(size))),
                        np.full(size, 4),
                        np.array(right),
                        np.ones(size, dtype=int),
                    )
                ],
            )
            for one in base
        ]
        return Group(label, tuple(made))

    groups = [group("a", [0] * size), *(group(f"b{number}", few) for number in range(40))]
    plain = compare_groups(groups, ["toy"], [("pass", 1)], groups[0], "none")
    widened = compare_groups(groups, ["toy"], [("pass", 1)], groups[0], "bonferroni")
    assert plain.entry("b0", "toy", ("pass", 1)).differs
    assert not widened.entry("b0", "toy", ("pass", 1)).differs
    assert (
        plain.entry("b0", "toy", ("pass", 1)).difference_low == widened.entry("b0", "toy", ("pass", 1)).difference_low
    )


def test_the_formats_say_the_same(study: str) -> None:
    groups = find_groups([study])
    found = compare_groups(groups, ["toy"], [("pass", 1)], groups[0])
    assert "| grpo | 0.438 (+0.250 [" in as_text(found, "markdown")
    grpo = found.entry("grpo", "toy", ("pass", 1))
    ends = f"[{100 * (grpo.difference_low or 0):+.1f}, {100 * (grpo.difference_high or 0):+.1f}]"
    assert rf"grpo & 43.8\,{{\scriptsize $+25.0\ {ends}$}} \\" in as_text(found, "latex")
    assert "grpo,toy,pass,1,0.4375," in as_text(found, "csv").replace("pass,1.0", "pass,1")
    # Against the base, which solves the first three: GRPO loses one of them, beta 4 wins one with one of two seeds.
    markdown, latex, csv = (as_text(found, form, changes=True) for form in ("markdown", "latex", "csv"))
    assert "|  | pass@1 | newly solved | lost |\n|---|---|---|---|\n" in markdown
    assert markdown.count("| 0.0 | 1.0 |\n") == markdown.count("| 0.5 | 0.0 |\n") == 1
    assert r"\begin{tabular}{lrrr}" in latex
    assert latex.count(r"& 0.0 & 1.0 \\") == latex.count(r"& 0.5 & 0.0 \\") == 1
    assert "grpo,toy,newly_solved,,0.0,,,,,,,\r\ngrpo,toy,lost,,1.0,,,,,,,\r\n" in csv
    assert "lost" not in as_text(found, "markdown")
    data = as_data(found)
    assert data["groups"]["grpo"] == {"seeds": [0, 1], "runs": ["grpo-seed0", "grpo-seed1"], "policy": 2}
    assert "Bonferroni" in data["caption"]


def test_a_label_stays_in_its_row(study: str) -> None:
    groups = find_groups([f"[a]={study}/grpo-seed0.parquet", f"*b\nc={study}/beta4-seed0.parquet"])
    found = compare_groups(groups, ["toy"], [("pass", 1)], groups[0])
    latex = as_text(found, "latex").splitlines()
    assert [line.partition(" & ")[0] for line in latex if line.endswith(r"\\")][2:] == ["{[}a]", "{*}b c"]
    assert "| *b c |" in as_text(found, "markdown")


def test_what_cannot_be_one_group_is_refused(study: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"advantage\.(estimator|beta)"):
        find_groups([f"x={study}/grpo-seed0.parquet", f"x={study}/beta4-seed1.parquet"])
    with pytest.raises(UsageError, match=r"x: runs/.*/grpo-seed0 is named twice"):
        find_groups([f"x={study}/grpo-seed0.parquet", f"x={study}/grpo-seed0.parquet"])
    with pytest.raises(UsageError, match="base-seed0-1a2b is a base model"):
        find_groups([f"x={study}/grpo-seed0.parquet", f"x={study}/base-seed0-1a2b.parquet"])
    with pytest.raises(MissingError, match="no run, sweep or results at"):
        find_groups([str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="no runs and no results"):
        find_groups([str(tmp_path / "empty")])


def test_two_kinds_of_runs_do_not_get_one_name(tmp_path: Path) -> None:
    # Each kind has two names, as runs of two sweeps do, and these share no more than "beta".
    place = keep(
        tmp_path / "s",
        *(result(f"beta{beta}-rate1-seed0", 0, [1, 1], advantage__beta=beta) for beta in (2, 4)),
        *(result(f"beta{beta}0-seed1", 1, [1, 1], advantage__beta=beta) for beta in (2, 4)),
    )
    groups = find_groups([place])
    assert [(group.label, group.seeds) for group in groups] == [
        ("beta2-rate1 / beta20", (0, 1)),
        ("beta4-rate1 / beta40", (0, 1)),
    ]


def test_a_name_that_the_other_begins_with_is_what_both_are_called(tmp_path: Path) -> None:
    place = keep(tmp_path / "s", result("beta2-seed1", 1, [1, 1]), result("beta2-rate1-seed0", 0, [1, 1]))
    assert [(group.label, group.seeds) for group in find_groups([place])] == [("beta2", (0, 1))]


def of_sweep(name: str, *found: Result) -> list[Result]:
    return [replace(one, sweep=name) for one in found]


def test_two_sweeps_share_their_base_models(study: str, tmp_path: Path) -> None:
    base = result("base-seed0-9f9f", 0, [1, 1, 1, 0], steps=0)
    other = keep(tmp_path / "other", *of_sweep("other", base, result("fade-seed0", 0, [4, 4, 1, 0])))
    groups = find_groups([study, other])
    assert [(group.label, group.seeds) for group in groups][:2] == [("base", (0, 1)), ("beta4", (0, 1))]
    assert groups[-1].label == "fade"
    with_more = replace(base, evaluations=[counts(0, [2, 1, 1, 0], n=8)])
    keep(tmp_path / "other", *of_sweep("other", with_more))
    with pytest.raises(UsageError, match="base-seed0-1a2b and base-seed0-9f9f both have seed 0") as refused:
        find_groups([study, other])
    assert refused.value.hint.endswith(f"give each sweep a label: s={study} other={other}")
    assert len(find_groups([f"s={study}", f"other={other}"])) == 5


def test_base_models_that_were_measured_otherwise_stand_beside_each_other(tmp_path: Path) -> None:
    # As of a sweep over rollout.group_size, whose base models are measured alike, and over eval.temperature.
    size: dict[str, Any] = {"rollout__group_size": 4}
    alike = [result("base-seed0-1a2b", 0, [1, 1], steps=0), result("base-seed0-3c4d", 0, [1, 1], steps=0, **size)]
    (group,) = find_groups([keep(tmp_path / "alike", *alike)])
    assert (group.label, group.seeds) == ("base", (0,))
    cool: dict[str, Any] = {"eval__temperature": 0.5}
    other = [result("base-seed0-5e6f", 0, [2, 1], steps=0, **cool), result("cool-seed0", 0, [3, 1], **cool)]
    groups = find_groups([keep(tmp_path / "other", alike[0], result("warm-seed0", 0, [2, 2]), *other)])
    assert [group.label for group in groups] == ["base temperature=1.0", "base temperature=0.5", "cool", "warm"]
    bases = [bases_of(group, groups)[0].label for group in groups[2:]]
    assert bases == ["base temperature=0.5", "base temperature=1.0"]


def test_runs_of_one_name_in_two_sweeps_are_told_by_their_folders(study: str, tmp_path: Path) -> None:
    other = keep(tmp_path / "other", *of_sweep("other", result("beta4-seed0", 0, [1, 1, 1, 0], advantage__beta=8)))
    with pytest.raises(
        UsageError, match=r"runs/s/beta4-seed0 has advantage.beta 4.0, and runs/other/beta4-seed0 8.0"
    ) as refused:
        find_groups([study, other])
    assert refused.value.hint.endswith(f"give each sweep a label: s={study} other={other}")
    assert len(find_groups([f"s={study}", f"other={other}"])) == 4


def test_a_policy_with_a_tag_is_of_a_single_run(study: str) -> None:
    for fraction, hint in (
        ("0.5", f"weights at 0.5 on the line to policy 2: {study}@2at0.5"),
        ("1.75", f"weights at 0.75 on the line to policy 1: {study}@1at0.75"),
        ("2.beta8", f"name one of its runs: {study}/RUN@2.beta8"),
    ):
        with pytest.raises(UsageError, match=rf"has no policy {fraction}: ") as refused:
            find_groups([f"{study}@{fraction}"])
        assert refused.value.hint == hint


def test_a_group_whose_runs_have_come_to_other_policies(tmp_path: Path) -> None:
    further = replace(result("a-seed0", 0, [1, 1], steps=3), evaluations=[counts(at, [1, 1]) for at in (1, 2, 3)])
    place = keep(tmp_path / "s", further, result("a-seed1", 1, [1, 1]), result("a-seed2", 2, [1, 1]))
    with pytest.raises(UsageError, match="a: a-seed0 is at policy 3, and a-seed1 at 2") as refused:
        find_groups([place])
    rest = 'for run in runs/s/a-seed1 runs/s/a-seed2; do rsgrpo train --run "$run" --steps 3; done'
    assert refused.value.hint == f"compare the newest policy that all have, {place}@2; or train the rest: {rest}"
    assert find_groups([f"{place}@2"])[0].seeds == (0, 1, 2)
    with pytest.raises(UsageError, match="a-seed0 is at policy 2, and a-seed0 at 1") as asked:
        find_groups([f"x={place}/a-seed0.parquet@{policy}" for policy in (1, 2)])
    assert asked.value.hint == "name one policy for all of a group; to compare policies: LABEL=RUN@POLICY for each"


def test_a_damaged_file_of_a_result_is_made_again_by_its_sweep(study: str) -> None:
    file = Path(study) / "grpo-seed0.parquet"
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(ArtifactError, match=r"grpo-seed0\.parquet is damaged or cut short") as refused:
        find_groups([study])
    assert refused.value.hint == "move it away and run the sweep with its --keep again"


def test_results_of_code_that_behaves_otherwise_do_not_stand_beside_each_other(tmp_path: Path) -> None:
    one = replace(result("a", 0, [1, 1]), canary=(1.0, 2.0))
    keep(tmp_path, one, replace(result("b", 1, [1, 1]), canary=(1.0, 2.0001)))
    assert len(find_groups([f"x={tmp_path}"])[0].members) == 2
    keep(tmp_path, replace(result("b", 1, [1, 1]), canary=(1.0, 2.1)))
    with pytest.raises(UsageError, match="a and b were made by code that behaves differently"):
        find_groups([f"x={tmp_path}"])


def test_benchmarks_that_are_not_shared_are_named_with_the_command() -> None:
    one = result("a", 0, [1, 1])
    other = replace(result("b", 1, [1, 1]), evaluations=[counts(2, [1, 1], benchmark="sums")])
    groups = [Group("a", (one,)), Group("b", (other,))]
    with pytest.raises(MissingError, match="b has no evaluation on toy") as caught:
        shared_benchmarks(groups, "toy")
    assert caught.value.hint == "measure it: rsgrpo eval --run runs/s/b --benchmark toy"
    with pytest.raises(UsageError, match="pass@5 needs 5 samples per problem; a has 4"):
        groups[0].passed("toy", 5)


def test_a_run_that_was_stopped_is_trained_to_its_end_or_measured_where_it_is() -> None:
    stopped = replace(result("b", 1, [1, 1], train__eval_every=5, train__steps=5), evaluations=[], place="runs/s/b")
    groups = [Group("a", (result("a", 0, [1, 1]),)), Group("b", (stopped,))]
    with pytest.raises(MissingError, match="b has no evaluation on toy") as caught:
        shared_benchmarks(groups, None)
    measure = "measure it: rsgrpo eval --run runs/s/b --benchmark toy"
    assert caught.value.hint == f"train the rest: rsgrpo train --run runs/s/b; or {measure}"


def test_the_label_of_a_whole_sweep_stands_before_its_groups(study: str) -> None:
    groups = find_groups([f"mine={study}"])
    assert {group.label: group.seeds for group in groups} == dict.fromkeys(
        ("mine base", "mine beta4", "mine grpo"), (0, 1)
    )


def test_an_earlier_policy_can_be_named(tmp_path: Path) -> None:
    one = result("a", 0, [1, 1])
    keep(tmp_path, replace(one, evaluations=[counts(1, [0, 0]), counts(2, [1, 1])]))
    (group,) = find_groups([f"early={tmp_path}/a.parquet@1"])
    assert group.passed("toy", 1).tolist() == [[0, 0]]
    with pytest.raises(MissingError, match="a has no policy 7: it has trained 2 steps") as caught:
        find_groups([f"{tmp_path}/a.parquet@7"])
    assert caught.value.hint == "evaluated: 1, 2"


def test_base_models_that_differ_are_groups_of_their_own(tmp_path: Path) -> None:
    hard: dict[str, Any] = {"model__name": "toy-hard"}
    place = keep(
        tmp_path,
        result("base-seed0-1a2b", 0, [1, 0], steps=0),
        result("base-seed0-3c4d", 0, [0, 0], steps=0, **hard),
        result("name-toy-seed0", 0, [1, 1]),
        result("name-toy-hard-seed0", 0, [0, 1], **hard),
    )
    found = find_groups([place])
    assert [group.label for group in found] == ["base name=toy", "base name=toy-hard", "name-toy-hard", "name-toy"]
    table = compare_groups(found, ["toy"], [("pass", 1)], found[0])
    assert table.changes == {"name-toy-hard": (1.0, 0.0), "name-toy": (1.0, 0.0)}
    with pytest.raises(UsageError, match=r"both: base-seed0-1a2b has model\.name toy, and base-seed0-3c4d toy-hard"):
        find_groups([f"both={tmp_path / name}.parquet" for name in ("base-seed0-1a2b", "base-seed0-3c4d")])
    for groups in (found, with_base(find_groups([f"{place}@2"]))):
        with pytest.raises(UsageError, match="needs one base model, and these runs started from several"):
            baseline_group(groups, None, "transitions", "toy")


def test_runs_of_the_same_settings_are_a_group_whatever_their_names(tmp_path: Path) -> None:
    names = [("mine_0", 0), ("mine_1", 1), ("other", 2), ("again", 0)]
    made = {name: keep(tmp_path / name, result(name, seed, [1, 0])) for name, seed in names}
    beta: dict[str, Any] = {"advantage__beta": 8}
    made |= {name: keep(tmp_path / name, result(name, seed, [1, 1], **beta)) for name, seed in (("x", 0), ("y", 1))}

    def labels(*wanted: str) -> dict[str, tuple[int, ...]]:
        return {group.label: group.seeds for group in find_groups([made[name] for name in wanted])}

    assert labels("mine_0", "mine_1", "x", "y") == {"mine": (0, 1), "x / y": (0, 1)}
    assert labels("mine_0", "other", "x") == {"mine_0 / other": (0, 2), "x": (0,)}
    assert labels("mine_0", "again") == {"mine_0": (0,), "again": (0,)}  # one seed twice: these are two things


def test_runs_that_have_nothing_but_a_seed_in_their_names_are_called_after_their_sweep(tmp_path: Path) -> None:
    place = keep(tmp_path, *(replace(result(f"seed{seed}", seed, [1, 0]), sweep="mine") for seed in (0, 1)))
    assert {group.label: group.seeds for group in find_groups([place])} == {"mine": (0, 1)}


def test_a_mean_over_other_policies_is_refused(tmp_path: Path) -> None:
    ahead, behind = ([counts(policy, [1, 1]) for policy in policies] for policies in ((1, 2), (1,)))
    one, other = replace(result("a-seed0", 0, [1, 1]), evaluations=ahead), result("a-seed1", 1, [1, 1])
    place = keep(tmp_path, one, replace(other, evaluations=behind))
    mixed = find_groups([place])
    with pytest.raises(UsageError, match=r"a-seed1 was evaluated on toy up to policy 1, others of a up to 2") as caught:
        compare_groups(mixed, ["toy"], [("pass", 1.0)], mixed[0])
    assert caught.value.hint == f"{GONE}; or compare the newest that all have, @1"
    here = [Group("a", tuple(replace(member, file="") for member in mixed[0].members))]
    with pytest.raises(UsageError) as caught:
        compare_groups(here, ["toy"], [("pass", 1.0)], here[0])
    line = "rsgrpo eval --run runs/s/a-seed1 --policy 2 --benchmark toy"
    assert caught.value.hint == f"evaluate what is missing: {line}; or compare the newest that all have, @1"
    alike = find_groups([f"{place}@1"])
    found = compare_groups(alike, ["toy"], [("pass", 1.0)], alike[0])
    assert found.entry("a", "toy", ("pass", 1.0)).value == pytest.approx(0.25)


def test_what_several_runs_lack_is_made_by_one_line(tmp_path: Path) -> None:
    tagged = [counts(0, [1, 1]), counts(2, [1, 1], benchmark="toy.warm")]
    places = [
        keep(tmp_path, *(replace(result(name, seed, [1, 1]), evaluations=tagged) for seed, name in enumerate("ab")))
    ]
    loop = 'for run in runs/s/a runs/s/b; do rsgrpo eval --run "$run"'
    with pytest.raises(MissingError, match="a and 1 other have no evaluation of policy 1; evaluated: 0, 2") as lacking:
        find_groups([f"{places[0]}@1"])
    assert lacking.value.hint == GONE
    groups = [Group(name, (replace(one, file=""),)) for name, one in zip("ab", find(places), strict=True)]
    with pytest.raises(UsageError, match=r"pass@5 needs 5 .* a has 4, the fewest of 2 runs that have too few") as few:
        compare_groups(groups, ["toy.warm"], [("pass", 1), ("pass", 5)], groups[0])
    assert few.value.hint == f"draw more: {loop} --policy 2 --benchmark toy --tag warm -n 5; done"
    other = Group("c", (replace(result("c", 2, [1, 1]), evaluations=[counts(2, [1, 1], benchmark="sums")]),))
    with pytest.raises(MissingError, match=r"shared by all: c .* on toy\.warm, which 2 of 3 runs have") as none:
        shared_benchmarks([*groups, other], None)
    assert none.value.hint == "measure it: rsgrpo eval --run runs/s/c --benchmark toy --tag warm"
    with pytest.raises(MissingError, match="a has no evaluation on sums") as unshared:
        shared_benchmarks([*groups, other], "sums")
    assert unshared.value.hint == f"measure them: {loop} --benchmark sums; done"
    with pytest.raises(MissingError, match=r"no run has an evaluation on hums; there are some on toy\.warm, sums"):
        shared_benchmarks([*groups, other], "hums")


def test_problems_newly_solved_by_fewer_samples_than_the_base_model_has(tmp_path: Path) -> None:
    """The base model has 8 samples where the policies have 4: half of what it solves once would be solved by 4."""
    base = replace(result("base-seed0-1a2b", 0, [], steps=0), evaluations=[counts(0, [1, 0, 8, 0], n=8)])
    found = find_groups(
        [
            keep(
                tmp_path / "study",
                base,
                result("base-seed1-3c4d", 1, [1, 0, 4, 0], steps=0),
                result("grpo-seed0", 0, [0, 4, 4, 0], advantage__estimator="grpo"),
                result("grpo-seed1", 1, [0, 4, 4, 1], advantage__estimator="grpo"),
            )
        ]
    )
    table = compare_groups(found, ["toy"], [("pass", 1)], found[1])
    # Seed 0: one problem is new, and half a one lost; seed 1: two are new, and one is lost.
    assert table.changes["grpo"] == pytest.approx((1.5, 0.75))
    assert "Samples per problem differ, and all are used: base 4 and 8, grpo 4. " in table.caption()
    assert "Newly solved and lost, though: grpo by what is expected of 4 samples of each" in table.caption()
    assert "what is expected" in as_text(table, "markdown", changes=True)
    assert "what is expected" not in as_text(table, "markdown")


def test_what_only_some_benchmarks_have_the_samples_for_is_said() -> None:
    made = result("a", 0, [1, 1], eval__k=[1, 2, 4, 16])
    few, many = counts(2, [1, 1], n=2, benchmark="sums"), counts(2, [1, 1], n=4, benchmark="toy")
    groups = [Group("a", (replace(made, evaluations=[many, few]),))]
    assert usual_columns(groups, ["toy", "sums"], None) == [("pass", 1), ("pass", 2)]
    told = "pass@4 left out: sums has 2 samples per problem; with it: --benchmark toy"
    assert left_out(groups, ["toy", "sums"]) == told
    assert left_out(groups, ["toy"]) == ""


def test_one_group_alone_has_no_difference_in_its_caption(study: str) -> None:
    found = [group for group in find_groups([study]) if group.label == "grpo"]
    caption = compare_groups(found, ["toy"], [("pass", 1)], found[0]).caption()
    assert caption.endswith("2 seeds. 95% intervals over problems and seeds (pigeonhole bootstrap).")
    one = [Group("grpo", found[0].members[:1])]
    caption = compare_groups(one, ["toy"], [("pass", 1)], one[0]).caption()
    assert caption.endswith("1 seed. 95% intervals over problems (bootstrap).")


def test_a_single_problem_has_no_interval_and_no_star(tmp_path: Path) -> None:
    groups = find_groups([keep(tmp_path, result("a", 0, [4]), result("b", 0, [0], advantage__beta=4))])
    found = compare_groups(groups, ["toy"], [("pass", 1)], groups[0])
    assert found.caption() == "toy: 1 problem. 1 seed. No intervals, as there is a single problem."
    assert "| b | 0.000 (-1.000) |\n" in as_text(found, "markdown")


def test_one_group_alone_is_shown_with_its_own_interval(study: str) -> None:
    found = [group for group in find_groups([study]) if group.label == "grpo"]
    table = compare_groups(found, ["toy"], [("pass", 1)], found[0])
    (entry,) = table.entries
    own = f"{entry.value:.3f} [{entry.low:.3f}, {entry.high:.3f}]"
    assert f"| grpo | {own} |" in as_text(table, "markdown")
    assert own in [cell for column in next(tables(table)).columns for cell in column._cells]
    percent = [f"{100 * number:.1f}" for number in (entry.value, entry.low, entry.high)]
    latex = as_text(table, "latex")
    assert rf"{percent[0]}\,{{\scriptsize $[{percent[1]}, {percent[2]}]$}}" in latex
    assert "In percent; small: the interval." in latex


def test_each_run_is_compared_with_the_base_model_of_its_own_seed(tmp_path: Path) -> None:
    one = keep(
        tmp_path / "one",
        result("base-seed0-1a2b", 0, [0, 0, 0, 0], steps=0),
        result("grpo-seed0", 0, [1, 0, 0, 0], advantage__estimator="grpo"),
    )
    two = keep(
        tmp_path / "two",
        result("base-seed1-3c4d", 1, [1, 1, 1, 1], steps=0),
        result("grpo-seed1", 1, [1, 1, 1, 0], advantage__estimator="grpo"),
    )
    found = find_groups([f"one={one}", f"two={two}"])
    table = compare_groups(found, ["toy"], [("pass", 1)], found[0])
    assert table.changes == {"one grpo": (1.0, 0.0), "two grpo": (0.0, 1.0)}
    assert "Newly solved and lost: " not in table.caption()


def test_a_seed_without_a_base_model_counts_for_no_problem_solved_or_lost(tmp_path: Path) -> None:
    """Another seed's base model has other samples: what differs would be chance."""
    place = keep(
        tmp_path / "s",
        result("base-seed0-1a2b", 0, [0, 0, 1, 1], steps=0),
        result("grpo-seed0", 0, [1, 0, 1, 0], advantage__estimator="grpo"),
        result("grpo-seed1", 1, [1, 1, 0, 0], advantage__estimator="grpo"),
        result("beta4-seed3", 3, [1, 1, 1, 1], advantage__beta=4),
    )
    groups = find_groups([place])
    table = compare_groups(groups, ["toy"], [("pass", 1)], groups[0])
    assert table.changes == {"grpo": (1.0, 1.0), "beta4": (2.0, 0.0)}
    assert ". 2 seeds (base 1, beta4 1). Newly solved and lost: " in table.caption()
    assert "grpo without seed 1, which the base model lacks" in table.caption()
    assert told_together({"a": "x", "b": "", "c": "x", "d": "y"}) == "a, c x; d y"
    assert "beta4 against seed 0 of the base model" in table.caption()

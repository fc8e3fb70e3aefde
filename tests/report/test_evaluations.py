"""Evaluations, from problems with known numbers of right answers."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from rsgrpo_cli.report.evaluations import Evaluation, columns, macro_mean, split_label, split_place
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies.groups import find_groups
from tests import run_on_disk
from tests.tables import problems, summary

SAMPLING = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 20}


def evaluation(
    name: str, correct: Mapping[str, int], *, samples: int = 4, version: int = 3, ks: tuple[int, ...] = (1, 4)
) -> Evaluation:
    """An evaluation that was never on a disk."""
    points = [*(("pass", k) for k in ks), ("maj", ks[0])]
    curve: dict[tuple[str, int | None], float] = dict.fromkeys(points, 0.5)
    made = RunDir(Path("runs") / name)
    tables = summary(samples, curve), problems(correct, samples)
    return Evaluation(made, version, "puzzles", "puzzles", *tables, "id", dict(SAMPLING), "math 1", "plain text")


FIRST = evaluation("first", {"a": 0, "b": 1, "c": 4, "d": 2})
SECOND = evaluation("second", {"a": 1, "b": 2, "c": 4, "d": 0})


def test_a_mean_over_benchmarks_weighs_them_alike() -> None:
    # Four problems with 7 of 16 right, and one with 3 of 4: (7/16 + 3/4) / 2.
    (row,) = macro_mean([FIRST, evaluation("first", {"z": 3})], [1])
    assert row["value"] == pytest.approx((7 / 16 + 3 / 4) / 2)
    assert (row["metric"], row["k"], row["n_problems"], row["n_samples"]) == ("pass", 1, 5, 4)
    # Samples a problem of p: variance p (1 - p) / (n - 1), over three; a mean over problems, then over benchmarks.
    first = math.sqrt(sum(p * (1 - p) / 3 for p in (0, 1 / 4, 1, 1 / 2))) / 4
    second = math.sqrt(3 / 4 * 1 / 4 / 3)
    assert row["sampling_error"] == pytest.approx(math.hypot(first, second) / 2)


def test_grades_are_shown_by_their_mean_and_verdicts_by_pass_at_k() -> None:
    graded = replace(FIRST, summary=summary(4, {("reward", None): 0.3}))
    assert graded.is_graded
    assert columns([FIRST], [1, 4]) == [("pass@1", "pass", 1), ("pass@4", "pass", 4)]
    assert columns([graded], [1, 4]) == [("reward", "reward", None)]
    assert columns([graded, FIRST], [1]) == [("reward", "reward", None), ("pass@1", "pass", 1)]


def test_what_an_evaluation_says_of_itself() -> None:
    assert (FIRST.label, replace(FIRST, version=0).label) == ("first@3", "first@0 (base)")
    assert FIRST.num_samples == 4
    assert FIRST.value("pass", 4) is not None
    assert FIRST.value("pass", 2) is None
    assert [row["k"] for row in FIRST.curve()] == [1, 4]
    assert FIRST.asked_ks() == (1,)  # those with a vote
    samples, right = FIRST.counts(4)
    assert (samples.tolist(), right.tolist()) == ([4, 4, 4, 4], [0, 1, 4, 2])


def test_a_path_may_have_an_equals_sign_or_an_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/lr=1e-4", "runs/plain", "other/beta=4/run", "runs/mail@2"):
        run_on_disk.new_run(tmp_path / name)
    assert split_label("plain@1") == ("", "plain@1")
    assert split_label("mine=plain@1") == ("mine", "plain@1")
    assert split_label("lr=1e-4") == ("", "lr=1e-4")
    assert split_label("lr=1e-4@2") == ("", "lr=1e-4@2")
    assert split_label("mine=lr=1e-4@2") == ("mine", "lr=1e-4@2")
    assert split_label("a=b=other/beta=4/run") == ("a=b", "other/beta=4/run")
    assert split_label("mine=nowhere") == ("mine", "nowhere")
    assert split_place("mail@2") == ("mail@2", "")
    assert split_place("mail@2@1") == ("mail@2", "1")
    assert split_place("plain@2") == ("plain", "2")
    assert [group.label for group in find_groups(["mine=lr=1e-4", "plain"])] == ["mine", "base"]

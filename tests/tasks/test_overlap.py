from pathlib import Path

import pytest

from rsgrpo_cli.tasks.overlap import overlaps, shingles
from rsgrpo_cli.tasks.sources import load_source

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "benchmarks"
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def test_runs_of_eight_words() -> None:
    # Ten words have three runs of eight.
    assert len(shingles(" ".join(NUMBERS[:10]))) == 3
    assert shingles("Two words") == {("two", "words")}
    assert shingles("$+$") == frozenset()


def test_latex_commands_and_marks_are_no_words() -> None:
    assert shingles("Find $\\dfrac{3}{4} x$!") == {("find", "3", "4", "x")} == shingles("find \\tfrac 3 4x")
    assert shingles("x2") == {("x", "2")}


def test_a_share_of_six_tenths_counts_and_less_does_not() -> None:
    # Twelve words have five runs. Ten of them in a row, elsewhere, have three: 3/5. Nine have two: 2/5.
    whole, ten, nine = (" ".join(NUMBERS[:count]) for count in (12, 10, 9))
    found = overlaps([f"zero {ten}", f"{nine} hundred", whole], {"mine": [whole, "something else"], "other": [ten]})
    assert found == {"mine": {0: {0: 0.6, 2: 1.0}}, "other": {0: {0: 1.0, 1: 2 / 3, 2: 1.0}}}


def test_two_halves_in_two_problems_are_no_copy() -> None:
    # The five runs are there, but no training problem has more than one of them.
    halves = [" ".join(NUMBERS[start : start + 8]) for start in range(5)]
    assert overlaps(halves, {"mine": [" ".join(NUMBERS)]}) == {"mine": {}}


@pytest.mark.skipif(not DATA.is_dir(), reason="the benchmark files are not beside this checkout")
def test_the_known_overlap_of_dapo17k() -> None:
    """Counted before with another program: 9 of HMMT February 2024, 25 of AMC 2023, 24 of MATH-500, none elsewhere."""
    training = [str(problem.text) for problem in load_source("dapo17k", "train", data_dir=str(DATA)).problems]
    names = ("hmmt_feb24", "amc23", "math500", "aime24", "aime25", "hmmt_feb25", "cmimc25", "brumo25")
    texts = {name: [str(p.text) for p in load_source(name, "test", data_dir=str(DATA)).problems] for name in names}
    found = overlaps(training, texts)
    assert [row + 1 for row in sorted(found["hmmt_feb24"])] == [3, 8, 11, 12, 13, 14, 15, 20, 23]
    assert [len(found[name]) for name in names] == [9, 25, 24, 0, 0, 0, 0, 0]

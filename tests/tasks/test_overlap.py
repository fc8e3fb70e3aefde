from pathlib import Path

from rsgrpo_cli.tasks.overlap import overlaps, shingles
from rsgrpo_cli.tasks.sources import load_source

DATA = Path(__file__).parents[1] / "data" / "overlap"
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


def test_a_data_set_with_known_copies() -> None:
    """Of 7 problems, 3 stand in the training set: twice word for word, in other LaTeX, and with more text around it.

    The others do not count: other numbers in the same sentences, other words, nothing alike, and a short problem that
    is the beginning of a longer one.
    """
    training, benchmark = (
        [str(problem.text) for problem in load_source(str(DATA / f"{name}.jsonl"), "train").problems]
        for name in ("training", "benchmark")
    )
    found = overlaps(training, {"mine": benchmark})
    # The third problem has 32 words, so 25 runs; all but its question of 7 words (18 runs) stand in training problem 5.
    assert found == {"mine": {0: {2: 1.0, 9: 1.0}, 1: {4: 1.0}, 2: {5: 18 / 25}}}

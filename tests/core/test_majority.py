"""The majority vote over k of n answers: by hand, and against all ways to draw them."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsgrpo_cli.core.majority import majority_at_k

GRADED = st.tuples(st.sampled_from(["a", "b", "c", "d", None]), st.booleans())


def majority_by_enumeration(answers: list[str | None], correct: list[bool], k: int) -> float:
    grades: dict[str | None, list[bool]] = {}
    for answer, grade in zip(answers, correct, strict=True):
        grades.setdefault(answer, []).append(grade)
    right = {answer: sum(found) / len(found) for answer, found in grades.items()}
    results = []
    for drawn in itertools.combinations(answers, k):
        votes = Counter(answer for answer in drawn if answer is not None)
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        results.append(sum(right[answer] for answer in winners) / len(winners) if winners else 0.0)
    return sum(results) / len(results)


class TestMajority:
    ANSWERS = ("a", "a", "b", None, "c", "b", "a", None)
    CORRECT = (True, True, False, False, False, False, True, False)

    def test_by_hand(self) -> None:
        assert majority_at_k(self.ANSWERS, self.CORRECT, 1) == pytest.approx(3 / 8)  # the accuracy
        assert majority_at_k(self.ANSWERS, self.CORRECT, 8) == 1  # three a against two b and one c
        assert majority_at_k(["a", "b", "c", "a", "b"], [1, 0, 0, 1, 0], 5) == 0.5  # a and b tie

    def test_no_answer_has_no_vote(self) -> None:
        assert majority_at_k([None, None, None, "a"], [0, 0, 0, 1], 4) == 1
        assert majority_at_k([None, None], [0, 0], 2) == 0
        assert majority_at_k([None, None], [0, 0], 1) == 0
        # Four of eight drawn miss the only vote half of the time, and are wrong then.
        assert majority_at_k(["a"] + [None] * 7, [1] + [0] * 7, 4) == pytest.approx(0.5, rel=1e-12)

    def test_equal_answers_with_different_grades(self) -> None:
        assert majority_at_k(["a", "a", "a", "a"], [1, 0, 0, 0], 4) == 0.25

    @settings(max_examples=200)
    @given(st.lists(GRADED, min_size=1, max_size=9), st.data())
    def test_all_ways_to_draw(self, graded: list[tuple[str | None, bool]], data: st.DataObject) -> None:
        k = data.draw(st.integers(1, len(graded)))
        answers, correct = [answer for answer, _ in graded], [right for _, right in graded]
        exact = majority_by_enumeration(answers, correct, k)
        assert majority_at_k(answers, correct, k) == pytest.approx(exact, abs=1e-12)

    def test_many_answers(self) -> None:
        # Of two answers that 512 samples each gave, neither is ahead; of 1,024 different ones all are alike.
        half = [i % 2 for i in range(1024)]
        assert majority_at_k(half, half, 300) == pytest.approx(0.5, rel=1e-9)
        assert majority_at_k(range(1024), [i == 7 for i in range(1024)], 500) == pytest.approx(1 / 1024, rel=1e-9)
        # The one right answer of 256 is drawn twice or more often, or once and ties with what is drawn once: k = 2 of
        # 3 equal answers among 256 is 2 of them (3 of 32,640 pairs), or 1 (759 pairs), which wins half of the time.
        answers = [0, 0, 0, *range(1, 254)]
        right = [answer == 0 for answer in answers]
        assert majority_at_k(answers, right, 2) == pytest.approx((3 + 759 / 2) / 32640, rel=1e-12)

    def test_a_wrong_majority(self) -> None:
        votes = [majority_at_k(["x", "y", "y"], [1, 0, 0], k) for k in (1, 3)]
        assert votes == [pytest.approx(1 / 3), 0]

    def test_refusals(self) -> None:
        with pytest.raises(ValueError, match="2 answers, but grades of shape"):
            majority_at_k(["a", "b"], [1], 1)
        with pytest.raises(ValueError, match="k = 3 needs 3 answers"):
            majority_at_k(["a", "b"], [1, 0], 3)

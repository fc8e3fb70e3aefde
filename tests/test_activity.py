"""What is being done, as one line has it."""

from rsgrpo_cli import activity
from rsgrpo_cli.activity import doing, progress


def test_nothing_is_done_outside_of_the_blocks() -> None:
    with doing("score of step 3", 4, "parts"):
        assert [one["what"] for one in activity.as_data()] == ["score of step 3"]
    assert activity.as_data() == []
    assert progress([]) is None


def test_the_innermost_name_with_its_count() -> None:
    with (
        doing("rollout of step 3"),
        doing("rollout of step 3", 8, "parts") as parts,
        doing("", 512, "completions") as own,
    ):
        parts.advance(3)
        own.advance(256)
        now = progress(activity.as_data())
    assert now is not None
    # Half of the fourth of eight parts: (3 + 1/2) / 8.
    assert (now.what, now.count, now.fraction) == ("rollout of step 3", "3/8 parts", 3.5 / 8)


def test_a_single_part_is_counted_by_what_is_in_it() -> None:
    with doing("rollout of step 3", 1, "parts"), doing("", 512, "completions") as own:
        own.advance(128)
        now = progress(activity.as_data())
    assert now is not None
    assert (now.count, now.fraction) == ("128/512 completions", 0.25)


def test_what_has_no_count_has_no_fraction() -> None:
    with doing("loading toy"):
        now = progress(activity.as_data())
    assert now is not None
    assert (now.what, now.count, now.fraction) == ("loading toy", "", None)


def test_a_block_that_fails_is_over() -> None:
    try:
        with doing("loading toy"):
            raise ValueError
    except ValueError:
        pass
    assert activity.as_data() == []

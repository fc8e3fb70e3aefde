"""Problems newly solved and lost by groups that have other numbers of samples than their base model."""

from pathlib import Path

import pytest

from rsgrpo_cli.studies.changes import changes
from rsgrpo_cli.studies.comparison import compare_groups
from rsgrpo_cli.studies.finding import find
from rsgrpo_cli.studies.groups import find_groups
from tests.report.html.written import AFTER, ASKED, BEFORE, new_run, write_evaluation
from tests.studies.test_groups import keep

LATER = {"p-1": [("a9", "ok")] * 4, "p-2": [("b1", "wrong")] * 4, "p-3": [("c1", "ok")] * 4}
TWICE = {prompt: [*BEFORE[prompt], *LATER[prompt]] for prompt in ASKED}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A base model of eight samples, the same run with four samples and with eight."""
    place = tmp_path / "s"
    write_evaluation(new_run(place / "base-seed0-ab12", ASKED), 0, ASKED, TWICE)
    four, eight = (new_run(place / f"{name}-seed0", ASKED, advantage__beta=beta) for beta, name in enumerate("ab"))
    write_evaluation(four, 2, ASKED, AFTER)
    write_evaluation(eight, 2, ASKED, {prompt: [*AFTER[prompt], *LATER[prompt]] for prompt in ASKED})
    for run in (four, eight):
        run.checkpoint(2).mkdir(parents=True)
        (run.checkpoint(2) / "manifest.json").write_text('{"policy_id": "policy-2"}')
    return place


def test_the_first_samples_of_each_are_compared_where_one_has_more(sweep: Path) -> None:
    groups = find_groups([str(sweep)])
    found = changes(groups, ["puzzles"])
    # By four: the base model solves the second and the third, and the run the first and the third.
    assert (found["a"].new, found["a"].lost, found["a"].by) == (1, 1, "the first 4 samples of each")
    # By eight: the base model solves all, and the run all but the second.
    assert (found["b"].new, found["b"].lost, found["b"].by) == (0, 1, "")
    caption = compare_groups(groups, ["puzzles"], [("pass", 1)], groups[0]).caption()
    assert "all are used: base 8, a 4, b 8. Newly solved and lost, though: a by the first 4 samples of each." in caption


def test_kept_results_do_not_say_which_samples_were_the_first(sweep: Path, tmp_path: Path) -> None:
    kept = [keep(tmp_path / "kept", result) for result in find([str(sweep)])]
    found = changes(find_groups(kept[:1]), ["puzzles"])["a"]
    # Of eight samples the base model has one right on the second problem: four of them have it with a half.
    assert found.lost == 0.5
    assert found.by == "what is expected of 4 samples of each, as small results do not say which were the first"

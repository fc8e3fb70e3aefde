"""Kept files that are older than their runs."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsgrpo_cli.errors import MissingError, UsageError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.comparison import compare_groups
from rsgrpo_cli.studies.figures import training
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.groups import find_groups
from rsgrpo_cli.studies.kept import adds_to, as_it_is
from tests.conftest import Cli
from tests.report.html.written import AFTER, ASKED, new_run, write_evaluation

FILE = Path("kept/s/a-seed0.parquet")
WAY = "compare the runs themselves, runs/s, or keep them anew: the sweep's command with another --keep"


@pytest.fixture
def run(cli: Cli) -> RunDir:
    """A run of a sweep with four samples a problem; it was kept when there were two."""
    run = new_run(Path("runs/s/a-seed0"), ASKED)
    run.checkpoint(2).mkdir(parents=True)
    (run.checkpoint(2) / "manifest.json").write_text('{"policy_id": "policy-2"}')
    write_evaluation(run, 2, ASKED, AFTER)
    now = results.of_run(run, sweep="s")
    (own,) = now.evaluations
    two = replace(own, n_M=np.full_like(own.n_M, 2), correct_M=np.minimum(own.correct_M, 1) + (own.correct_M == 4))
    results.write(FILE, replace(now, evaluations=[two]))
    return run


@pytest.mark.parametrize(("k", "hint"), [(4, f"the runs of these files have more by now: {WAY}"), (8, WAY)])
def test_a_file_that_lacks_samples_says_what_its_run_has(run: RunDir, k: int, hint: str) -> None:
    if k == 8:
        results.write(FILE, results.of_run(run, sweep="s"))
        hint = f"draw more: rsgrpo eval --run runs/s/a-seed0 --policy 2 --benchmark FILE -n 8; then {hint}"
    groups = find_groups(["kept/s"])
    with pytest.raises(UsageError, match=f"pass@{k} needs {k} samples") as lacking:
        compare_groups(groups, ["puzzles"], [("pass", k)], groups[0])
    assert lacking.value.hint == hint


def test_a_file_whose_run_is_gone_names_no_command_on_it(run: RunDir) -> None:
    shutil.rmtree(run.path)
    groups = find_groups(["kept/s"])
    gone = "make the runs again (only their results are here): the sweep's command without --keep"
    with pytest.raises(UsageError, match="pass@4 needs 4 samples") as lacking:
        compare_groups(groups, ["puzzles"], [("pass", 4)], groups[0])
    assert lacking.value.hint == f"choose k up to 2; or {gone}, with -n 4"
    with pytest.raises(MissingError, match="no evaluation of policy 1; evaluated: 2") as unmeasured:
        find_groups(["kept/s@1"])
    assert unmeasured.value.hint == gone
    with pytest.raises(MissingError, match="has no metrics of its training") as untrained:
        training.collect(groups, Choices())
    assert untrained.value.hint == gone


def test_a_run_has_more_only_if_it_has_all_that_was_kept(run: RunDir) -> None:
    (kept,) = results.read(FILE)
    (own,) = kept.evaluations
    now = as_it_is(run)
    assert adds_to(now, kept)
    for other in (
        now,
        replace(kept, evaluations=[own, replace(own, benchmark="sums")]),
        replace(kept, evaluations=[replace(own, correct_M=np.full_like(own.n_M, 2))]),
        replace(kept, steps=1),
    ):
        assert not adds_to(now, other)

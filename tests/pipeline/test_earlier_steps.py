"""What a step may know of those before: from their files alone, wherever one starts, and never from replaced ones."""

from pathlib import Path

import pytest

from rsgrpo_cli.artifacts import Lineage, read_lineage, write_table
from rsgrpo_cli.core.history import History
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.pipeline import earlier_steps
from rsgrpo_cli.pipeline.earlier_steps import known_before
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import require_fresh, stale_inputs
from rsgrpo_cli.schemas import ADVANTAGES, HISTORY
from tests import run_on_disk
from tests.tables import advantages

ENTROPIES = (2.0, 1.0, 0.5)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Three steps: one of two answers right for the first prompt, both, none; the second prompt is always solved."""
    made = run_on_disk.new_run(tmp_path / "run")
    for step, right in enumerate(([1, 0], [1, 1], [0, 0])):
        monkeypatch.setitem(run_on_disk.UPDATE, "entropy", ENTROPIES[step])
        run_on_disk.write_rollouts(made, step, run_on_disk.LENGTHS, f"policy {step}")
        run_on_disk.write_rewards(made, step, {"p-000001": right, "p-000002": [1, 1]})
        write_advantages(made, step)
        run_on_disk.write_update(made, step, f"policy {step + 1}")
    return made


def write_advantages(run: RunDir, step: int) -> None:
    """With a history, as `rsgrpo advantage` makes them."""
    known = known_before(run, step)
    earlier_steps.write(run, known)
    run_on_disk.write_advantages(run, step)
    found = read_lineage(run.advantages(step), ADVANTAGES)
    lineage = Lineage("advantage", found.config, {**found.inputs, "history": known.id})
    table = advantages(run_on_disk.ADVANTAGE, run_on_disk.STATUSES, step=step)
    write_table(run.advantages(step), table, ADVANTAGES, lineage)


def test_by_hand(run: RunDir) -> None:
    history = known_before(run, 3).history
    assert (history.step, history.first_entropy) == (3, 2.0)
    # 1 of 2 three visits ago, 2 of 2 two, 0 of 2 one: 1/8 + 2/4 + 0, and 2/8 + 2/4 + 2/2.
    assert (history.prompts["p-000001"].right, history.prompts["p-000001"].completions) == (0.625, 1.75)
    assert history.prompts["p-000001"].recent == ((0, 0.5), (1, 1.0), (2, 0.0))
    # 2, then 0.9 * 2 + 0.1 * 1, then 0.9 * 1.9 + 0.1 * 0.5.
    assert history.entropy == pytest.approx(1.76)
    assert known_before(run, 0).history == History()


def test_it_does_not_matter_which_files_are_there(run: RunDir) -> None:
    whole = known_before(run, 3)
    earlier_steps.write(run, whole)
    content = run.history(3).read_bytes()
    for gone in ([2, 3], [0, 1, 3], [0, 1, 2, 3]):
        for step in gone:
            run.history(step).unlink(missing_ok=True)
        again = known_before(run, 3)
        assert (again.id, again.history) == (whole.id, whole.history)
        earlier_steps.write(run, again)
        assert run.history(3).read_bytes() == content
        for step in range(3):
            earlier_steps.write(run, known_before(run, step))


def test_older_steps_may_go_once_there_is_a_history(run: RunDir) -> None:
    whole = known_before(run, 3)
    for path in (*run.step(0).rglob("*"), *run.step(1).rglob("*")):
        if path.is_file():
            path.unlink()
    assert known_before(run, 3).id == whole.id
    run.history(2).unlink()
    with pytest.raises(MissingError, match="an estimator that looks at earlier steps needs step 0, and ") as caught:
        known_before(run, 3)
    assert "rsgrpo fork NEW" in caught.value.hint


def test_what_was_replaced_is_noticed(run: RunDir) -> None:
    before = known_before(run, 3)
    assert [stale_inputs(run, step) for step in range(3)] == [[], [], []]
    run_on_disk.write_rewards(run, 0, {"p-000001": [0, 0], "p-000002": [1, 1]})
    assert stale_inputs(run, 1) == ["the history of step 1 was made from other rewards of step 0"]
    with pytest.raises(Exception, match="the history of step 1 was made from other rewards of step 0"):
        require_fresh(run, 1, "advantages")
    require_fresh(run, 1, "rewards")
    # What follows is made from the rewards as they are now, not from the files that remember others.
    after = known_before(run, 3)
    assert after.id != before.id
    assert after.history.prompts["p-000001"].right == 0.5
    earlier_steps.write(run, known_before(run, 1))
    assert stale_inputs(run, 1) == ["the advantages of step 1 were made from another history"]
    assert stale_inputs(run, 2) == ["the history of step 2 was made from another history of step 1"]


def test_an_update_that_is_repeated_is_the_same(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    before = known_before(run, 3)
    # A GPU rounds differently: the same policy by what it was made of, another entropy.
    monkeypatch.setitem(run_on_disk.UPDATE, "entropy", 2.0001)
    run_on_disk.write_update(run, 0, "policy 1")
    assert stale_inputs(run, 1) == []
    assert known_before(run, 3).id == before.id


def test_a_step_that_was_checked_is_not_checked_again(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []

    def is_sound(run: RunDir, step: int) -> bool:
        checked.append(step)
        return True

    monkeypatch.setattr(earlier_steps, "is_sound_history", is_sound)
    known_before(run, 2)
    assert checked == [0, 1, 2]
    checked.clear()
    known_before(run, 3, checked=2)
    assert checked == []


def test_a_damaged_file_says_what_to_do(run: RunDir) -> None:
    found = read_lineage(run.history(2), HISTORY)
    lineage = Lineage(found.stage, found.config, found.inputs, outputs={"step": "two"})
    write_table(run.history(2), HISTORY.schema.empty_table(), HISTORY, lineage)
    with pytest.raises(ArtifactError, match=r"history.parquet is damaged") as caught:
        known_before(run, 3)
    assert caught.value.hint == "remove it: it is made again from the steps before"

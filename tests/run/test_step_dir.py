"""A step as it is on disk, from steps of a few completions."""

import pytest

from rsgrpo_cli.artifacts import Lineage, combined_id, read_json, read_lineage, write_json, write_table
from rsgrpo_cli.errors import ArtifactError, MissingError, UsageError
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.staleness import require_fresh, stale_inputs
from rsgrpo_cli.run.step_dir import Step, newest_step, part_files, rewards_of
from rsgrpo_cli.schemas import REWARDS, ROLLOUTS
from tests import run_on_disk, tables


def add_part(run: RunDir, *, number: int = 1) -> str:
    """One more part of the rollouts of step 0, of the problem that comes first in key order; its id."""
    folder = run.rollouts(0)
    lineage = read_lineage(folder / "part-00000.parquet", ROLLOUTS)
    table = tables.rollouts({"p-000000": [4]}, step=0, version=0)
    path = folder / f"part-{number:05d}.parquet"
    write_table(path, table, ROLLOUTS, Lineage("rollout", lineage.config, lineage.inputs, policy_version=0))
    manifest = read_json(folder / "manifest.json")
    parts = manifest["parts"] | {path.stem: read_lineage(path, ROLLOUTS).id}
    write_json(folder / "manifest.json", {"id": combined_id(parts.values()), "rows": 5, "parts": parts})
    return str(parts[path.stem])


def score_part(run: RunDir, made_from: str, *, number: int = 1) -> None:
    lineage = Lineage("score", run.config().score.decisive(), {"rollouts": made_from})
    table = tables.rewards({"p-000000": [1]}, step=0)
    write_table(run.rewards(0) / f"part-{number:05d}.parquet", table, REWARDS, lineage)


def test_parts_are_one_table_in_key_order(run: RunDir) -> None:
    score_part(run, add_part(run))
    step = Step(run, 0)
    assert step.rollouts.names == ["part-00000", "part-00001"]
    for artifact in (step.rollouts, step.rewards):
        groups = artifact.table(["group_id"])["group_id"].to_pylist()
        assert groups == sorted(groups)
        assert (len(groups), artifact.rows) == (5, 5)
    assert step.rollouts.id == step.complete_rollouts()
    assert step.rewards.made_from("rollouts") == step.scored_id == step.rollouts.id


def test_what_has_another_name_is_not_a_part(run: RunDir) -> None:
    folder = run.rollouts(0)
    (folder / "part-00000.copy.parquet").write_bytes((folder / "part-00000.parquet").read_bytes())
    (folder / "part-old.parquet").write_bytes(b"")
    assert [path.name for path in part_files(folder)] == ["part-00000.parquet"]


def test_a_part_that_the_manifest_does_not_name_does_not_count(run: RunDir) -> None:
    manifest = (run.rollouts(0) / "manifest.json").read_bytes()
    score_part(run, add_part(run))
    (run.rollouts(0) / "manifest.json").write_bytes(manifest)  # killed before the round was finished
    step = Step(run, 0)
    assert step.rollouts.names == step.rewards.names == ["part-00000"]
    assert stale_inputs(run, 0) == []


def test_rewards_of_some_parts_are_unfinished_until_something_is_made_from_them(run: RunDir) -> None:
    add_part(run)
    step = Step(run, 0)
    assert (step.scored, len(step.rollouts.paths)) == (1, 2)
    assert stale_inputs(run, 0) == ["the rewards of step 0 are of only some of its rollouts"]
    run.advantages(0).unlink()
    assert stale_inputs(run, 0) == []
    with pytest.raises(Exception, match="only some of its rollouts"):
        require_fresh(run, 0, "rewards")


def test_a_replaced_part_makes_its_rewards_stale(run: RunDir) -> None:
    run_on_disk.write_rollouts(run, 0, {"p-000001": [7, 7], "p-000002": [7, 7]})
    assert stale_inputs(run, 0) == ["the rewards of step 0 were made from other rollouts"]
    run_on_disk.write_rewards(run, 0, run_on_disk.VALUES)
    assert stale_inputs(run, 0) == ["the advantages of step 0 were made from other rewards"]
    run_on_disk.write_advantages(run, 0)
    assert stale_inputs(run, 0) == ["the updates of step 0 were made from other advantages"]
    run_on_disk.write_update(run, 0, "next")
    assert stale_inputs(run, 0) == []


def test_a_policy_that_was_replaced_makes_the_next_rollouts_stale(run: RunDir) -> None:
    run_on_disk.write_step(run, 1, policy="next", made="third")
    assert stale_inputs(run, 1) == []
    run_on_disk.write_update(run, 0, "another")
    assert stale_inputs(run, 1) == ["the rollouts of step 1 were made from another policy"]


def test_the_single_file_of_an_older_run_is_read(run: RunDir) -> None:
    (run.rewards(0) / "part-00000.parquet").unlink()
    assert not rewards_of(run, 0)
    run_on_disk.write_older_rewards(run, 0, run_on_disk.VALUES)
    run_on_disk.write_advantages(run, 0)
    run_on_disk.write_update(run, 0, "next")
    step = Step(run, 0)
    assert step.rewards.place == run.step(0) / "rewards.parquet"
    assert step.rewards.table().num_rows == 4
    assert stale_inputs(run, 0) == []
    add_part(run)
    assert Step(run, 0).scored == 1
    assert stale_inputs(run, 0) == ["the rewards of step 0 are of only some of its rollouts"]


def test_what_is_missing_or_does_not_belong_is_named(run: RunDir) -> None:
    with pytest.raises(MissingError, match=r"no rewards at .*000007"):
        _ = Step(run, 7).rewards.id
    with pytest.raises(UsageError, match="has no rewards yet"):
        newest_step(run_on_disk.new_run(run.path.parent / "other"), "rewards")
    other = Lineage("rollout", {}, read_lineage(run.rollouts(0) / "part-00000.parquet", ROLLOUTS).inputs)
    write_table(run.rollouts(0) / "part-00000.parquet", tables.rollouts({"p": [1]}, step=0, version=0), ROLLOUTS, other)
    with pytest.raises(ArtifactError, match="does not belong to the other parts"):
        Step(run, 0).complete_rollouts()
    (run.rollouts(0) / "manifest.json").unlink()
    with pytest.raises(MissingError, match=r"no complete rollouts in .* \(1 part so far\)"):
        Step(run, 0).complete_rollouts()
    assert newest_step(run, "rewards") == 0


def test_parts_that_were_removed_to_save_space_make_nothing_stale(run: RunDir) -> None:
    (run.rollouts(0) / "part-00000.parquet").unlink()
    assert Step(run, 0).lost_rollouts
    assert stale_inputs(run, 0) == []

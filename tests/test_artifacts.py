import errno
import json
import os
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli import artifacts
from rsgrpo_cli.artifacts import Lineage, read_json, read_lineage, read_table, write_json, write_table
from rsgrpo_cli.disk import write_atomically
from rsgrpo_cli.errors import ArtifactError, MissingError
from rsgrpo_cli.schemas import ADVANTAGES, PROMPTS, REWARDS
from tests import tables

LINEAGE = Lineage("score", {"reward": "math"}, {"rollouts": "abc"}, policy_version=3)


def rewards(groups: int = 2, size: int = 3, value: float = 1.0) -> pa.Table:
    rows = [
        {
            "group_id": f"000003:p{group:05d}",
            "sample_index": sample,
            "reward": value,
            "reward_breakdown": [("strict", value)],
            "reward_status": "ok",
            "extracted_answer": None,
        }
        for group in range(groups)
        for sample in range(size)
    ]
    return pa.Table.from_pylist(rows, schema=REWARDS.schema)


def test_what_is_written_is_read_back_with_its_lineage(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rewards.parquet"
    made = write_table(path, rewards(), REWARDS, LINEAGE)
    assert read_table(path, REWARDS).equals(rewards())
    found = read_lineage(path, REWARDS)
    assert found.id == made
    assert (found.stage, found.inputs, found.policy_version) == ("score", {"rollouts": "abc"}, 3)
    assert found.config_hash == LINEAGE.config_hash
    assert "pyarrow" in found.versions


def test_equal_runs_leave_equal_bytes(tmp_path: Path) -> None:
    whole, parts = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write_table(whole, rewards(), REWARDS, LINEAGE)
    # The same rows in other chunks are the same table.
    write_table(parts, pa.concat_tables([rewards().slice(0, 2), rewards().slice(2)]), REWARDS, LINEAGE)
    assert whole.read_bytes() == parts.read_bytes()


def test_an_id_tells_content_and_lineage_apart(tmp_path: Path) -> None:
    path = tmp_path / "rewards.parquet"
    first = write_table(path, rewards(), REWARDS, LINEAGE)
    assert write_table(path, rewards(value=0.0), REWARDS, LINEAGE) != first
    other = Lineage("score", {"reward": "math"}, {"rollouts": "abd"}, policy_version=3)
    assert write_table(path, rewards(), REWARDS, other) != first
    assert write_table(path, rewards(), REWARDS, LINEAGE) == first


def test_other_software_does_not_make_an_artifact_another(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a.parquet", rewards(), REWARDS, LINEAGE)
    newer = Lineage("score", {"reward": "math"}, {"rollouts": "abc"}, policy_version=3, versions={"torch": "99"})
    assert write_table(tmp_path / "b.parquet", rewards(), REWARDS, newer) == first


def test_row_groups_end_with_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "ROW_GROUP_ROWS", 4)
    path = tmp_path / "rewards.parquet"
    write_table(path, rewards(groups=5, size=3), REWARDS, LINEAGE)
    metadata = pq.read_metadata(path)
    # 4 rows at least, in whole groups of 3: 6 + 6 + 3.
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [6, 6, 3]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="does not exist"):
        read_table(tmp_path / "none.parquet", REWARDS)


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "rewards.parquet"
    write_table(path, rewards(), REWARDS, LINEAGE)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match="damaged or cut short"):
        read_table(path, REWARDS)


def test_a_flipped_byte_in_the_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rewards.parquet"
    write_table(path, rewards(groups=200), REWARDS, LINEAGE)
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged or cut short"):
        read_table(path, REWARDS)


def test_a_strangers_file_and_another_artifact(tmp_path: Path) -> None:
    path = tmp_path / "rewards.parquet"
    pq.write_table(rewards(), path)
    with pytest.raises(ArtifactError, match="not written by rsgrpo"):
        read_table(path, REWARDS)
    write_table(path, rewards(), REWARDS, LINEAGE)
    with pytest.raises(ArtifactError, match="does not hold advantages: it holds rewards"):
        read_table(path, ADVANTAGES)


def test_a_table_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "rewards.parquet"
    with pytest.raises(ArtifactError, match="missing reward_status"):
        write_table(path, rewards().drop_columns(["reward_status"]), REWARDS, LINEAGE)
    holes = rewards().set_column(4, "reward_status", pa.array(["ok"] * 5 + [None]))
    with pytest.raises(ArtifactError, match="reward_status has empty values"):
        write_table(path, holes, REWARDS, LINEAGE)
    assert not path.exists()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def crash(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, crash)
    assert path.read_bytes() == b"old"


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def full(file: IO[bytes]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match="no space left") as raised:
        write_atomically(path, full)
    assert "free some space" in raised.value.hint
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_name_that_is_not_utf8_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "x\udce9.parquet"
    write_table(tmp_path / "x.parquet", tables.rewards({"p": [1.0]}), REWARDS, LINEAGE)
    (tmp_path / "x.parquet").rename(path)
    for read in (read_table, read_lineage):
        with pytest.raises(ArtifactError, match="is not UTF-8") as raised:
            read(path, REWARDS)
        assert "damaged" not in str(raised.value)


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.EFBIG, "file: a file would be larger than is allowed here"), (errno.EIO, "Input/output error.*file")],
)
def test_what_stops_a_write_is_told_with_the_file(tmp_path: Path, number: int, told: str) -> None:
    def fails(file: IO[bytes]) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises((ArtifactError, OSError), match=told) as raised:
        write_atomically(tmp_path / "file", fails)
    assert "free some space" not in str(raised.value)


def test_a_place_without_permission_is_told_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError) as raised:
        write_atomically(tmp_path / "file", lambda file: file.write(b""))
    assert raised.value.filename == str(tmp_path / "file")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen: list[bool] = []

    def look(file: IO[bytes]) -> None:
        file.write(b"new")
        seen.append(path.exists())

    write_atomically(path, look)
    assert seen == [False]
    assert path.read_bytes() == b"new"


def test_hashes_do_not_depend_on_the_order_of_keys() -> None:
    assert artifacts.hash_json({"a": 1, "b": [2]}) == artifacts.hash_json({"b": [2], "a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.hash_json({"a": float("nan")})


def test_a_broken_json_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        artifacts.read_json(tmp_path / "config.json")


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    write_table(path, tables.prompts(["a", "b"]), PROMPTS, Lineage("prepare", {"dataset": "x"}, {}))
    intact = path.read_bytes()
    for at in range(0, len(intact), 7):
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
        os.utime(path, ns=(at, at))  # replaced, as far as a reader can tell
        with pytest.raises(ArtifactError, match=r"prompts\.parquet"):
            read_table(path, PROMPTS)


def test_a_table_without_a_hash_is_read_as_older_versions_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "prompts.parquet"
    write_table(path, tables.prompts(["a", "b"]), PROMPTS, Lineage("prepare", {"dataset": "x"}, {}))
    table = pq.read_table(path)
    lineage = json.loads(table.schema.metadata[b"rsgrpo"])
    del lineage["check"]
    pq.write_table(table.replace_schema_metadata({b"rsgrpo": json.dumps(lineage)}), path)
    assert len(read_table(path, PROMPTS)) == 2


def test_json_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"one": 1.5, "two": ["é"], "none": None})
    assert read_json(path, one=float)["two"] == ["é"]
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(ArtifactError, match="changed since it was written"):
        read_json(path)

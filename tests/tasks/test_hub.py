import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.tasks.hub import Place, _explained
from rsgrpo_cli.tasks.sources import load_source
from tests.tasks.fake_hub import serving

ROOT = Path(__file__).parents[2]
COLUMNS = ["question", "final_answer"]
PROGRAM = """
import json, sys
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.tasks.hub import Place, read_hub
for call in json.loads(sys.argv[1]):
    try:
        print(json.dumps(read_hub(Place.parse(call.pop("place")), "train", **call)))
    except RsgrpoError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("owner/name", Place("owner/name")),
        ("owner/na.me-1", Place("owner/na.me-1")),
        ("owner/name@v1", Place("owner/name", "v1")),
        ("owner/name:main", Place("owner/name", None, "main")),
        ("owner/name:main/test", Place("owner/name", None, "main", "test")),
        ("owner/name:/test", Place("owner/name", None, None, "test")),
        ("owner/name@abc123:main/test", Place("owner/name", "abc123", "main", "test")),
        ("foo", None),
        ("a/b/c", None),
        ("../name", None),
        ("owner/", None),
    ],
)
def test_how_a_place_is_written(text: str, place: Place | None) -> None:
    assert Place.parse(text) == place


def test_a_directory_is_a_place(tmp_path: Path) -> None:
    assert Place.parse(f"{tmp_path}:default/test") == Place(str(tmp_path), None, "default", "test")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    (folder / "data").mkdir()
    table = pa.table({"question": ["1+1?", "2+2?"], "solution": ["so long", "longer"], "final_answer": [2, 4]})
    pq.write_table(table, folder / "data/train-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n"
    )
    return folder


def read(calls: list[dict[str, object]], home: Path, **environment: str) -> list[list[object]]:
    """What reading gives, in a process of its own: the Hub's address and cache are read at import."""
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    quiet = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(calls)],
        capture_output=True,
        text=True,
        check=False,
        env={**own, **quiet, "HF_HOME": str(home), **environment},
    )
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_was_loaded_once_is_there_offline(repository: Path, tmp_path: Path) -> None:
    calls: list[dict[str, object]] = [
        {"place": "owner/name", "columns": COLUMNS, "stream": True},
        {"place": "owner/name"},
    ]
    narrow = [{"question": "1+1?", "final_answer": 2}, {"question": "2+2?", "final_answer": 4}]
    with serving(repository, "owner/name") as (address, _):
        online = read(calls, tmp_path / "home", HF_ENDPOINT=address)
    assert online[0] == narrow
    assert [row["solution"] for row in online[1]] == ["so long", "longer"]  # type: ignore[index]
    offline = read(calls, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert offline == online
    for name, text in read(calls, tmp_path / "another", HF_HUB_OFFLINE="1"):
        assert name == "MissingError"
        assert "not in the local cache and the Hub cannot be reached" in str(text)
        assert "--data-dir" in str(text)


def test_a_local_copy_of_a_repository_and_what_can_be_wrong_with_a_name(repository: Path, tmp_path: Path) -> None:
    calls: list[dict[str, object]] = [
        {"place": f"{repository}:default/train", "columns": COLUMNS},
        {"place": f"{repository}:other"},
        {"place": f"{repository}:/test"},
        {"place": str(repository), "columns": ["nothing"]},
        {"place": str(repository), "columns": ["nothing"], "stream": True},
    ]
    rows, config, split, column, streamed = read(calls, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert rows[1] == {"question": "2+2?", "final_answer": 4}
    assert (config[0], "Available: ['default']" in str(config[1])) == ("UsageError", True)
    assert (split[0], "Should be one of ['train']" in str(split[1])) == ("UsageError", True)
    assert (column[0], "no column 'nothing'" in str(column[1])) == ("UsageError", True)
    assert (streamed[0], "nothing" in str(streamed[1])) == ("DataError", True)


def test_a_folder_that_is_not_read_as_a_whole_has_a_file_that_may_be(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"question": "1+1?", "answer": "2"}\n\n{"question": "1+2?", "answer": 3}\n')
    ((kind, told),) = read([{"place": str(folder)}], tmp_path / "home", HF_HUB_OFFLINE="1")
    assert kind == "DataError"
    assert f"give a file instead of its folder: {folder}/a.jsonl" in str(told)
    assert [problem.answer for problem in load_source(f"{folder}/a.jsonl", "train").problems] == ["2", "3"]


def test_a_directory_without_a_name_is_told_with_the_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.jsonl", "a.jsonl", "deep/c.parquet", "deep/notes.txt"):
        (tmp_path / name).touch()
    error = _explained(ValueError("dataset_name should be specified"), Place(f"{tmp_path}/."))
    assert isinstance(error, UsageError)
    assert error.message == f"cannot load directory {tmp_path}/. as a dataset: dataset_name should be specified"
    files = ", ".join(str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "deep/c.parquet"))
    assert error.hint == f"give a file instead of its folder: {files}"


def test_of_a_repository_no_more_is_read_than_is_needed_and_its_images_are_seen(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    shots = [{"bytes": b"\x89PNG", "path": None}, None]
    gold = [{"ground_truth": "2", "style": "rule"}, {"ground_truth": "4", "style": "rule"}]
    table = pa.table({"problem": ["1+1?", "2+2?"], "reward_model": gold, "shot": shots, "tests": ["x" * 100] * 2})
    folder = tmp_path / "repository"
    folder.mkdir()
    pq.write_table(table, folder / "train.parquet")
    program = """
import sys
from rsgrpo_cli.tasks.hub import Place, open_hub
from rsgrpo_cli.tasks.sources import load_source
rows = open_hub(Place.parse(sys.argv[1]), "train")
print(sorted(rows.shape), next(rows.read(["problem", "reward_model.ground_truth"])))
print([(problem.text, problem.answer, problem.media) for problem in load_source(sys.argv[1], "train").problems])
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", program, str(folder)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    columns = ["problem", "reward_model", "shot", "tests"]
    assert first == f"{columns} {{'problem': '1+1?', 'reward_model': {{'ground_truth': '2'}}}}"
    assert second == "[('1+1?', '2', True), ('2+2?', '4', False)]"

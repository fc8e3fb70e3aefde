"""Run directories from elsewhere: whatever stands in their files, a command works or says what is wrong in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import Cli, Result

READERS = (
    ["status"],
    ["show", "--prompt", "1"],
    ["advantage", "--step", "1", "--beta", "8", "--force"],
    ["update", "--step", "1", "--force"],
    ["eval", "-n", "2", "--k", "1"],
    ["train", "--steps", "3"],
)


def one_line(result: Result, *where: object) -> None:
    """Whatever came of it, it was no surprise to the program."""
    assert "Traceback" not in result.err, (where, result.err)
    assert "this is a bug" not in result.err, (where, result.err)
    assert (result.code == 0) != ("error:" in result.err), (where, result.code, result.err)


def with_metadata(path: Path, change: Callable[[bytes], bytes]) -> None:
    table = pq.read_table(path)
    text = change(table.schema.metadata[b"rsgrpo"])
    pq.write_table(table.replace_schema_metadata({b"rsgrpo": text}), path)


def setting(**values: object) -> Callable[[bytes], bytes]:
    return lambda text: json.dumps(unsealed(text) | values).encode()


def without(*names: str) -> Callable[[bytes], bytes]:
    return lambda text: json.dumps({k: v for k, v in unsealed(text).items() if k not in names}).encode()


def unsealed(text: bytes) -> dict[str, object]:
    """As a stranger's version of rsgrpo may have written it."""
    return {name: value for name, value in json.loads(text).items() if name != "check"}


CRAFTED = {
    "no JSON": lambda text: b"{",
    "no UTF-8": lambda text: b"\xff\xfe{}",
    "a list": lambda text: b"[]",
    "empty": lambda text: b"{}",
    "deep": lambda text: b"[" * 200_000,
    "a huge number": lambda text: text[:-1] + b', "x": ' + b"9" * 5000 + b"}",
    "not a number": setting(config={"temperature": float("nan")}),
    "no version": without("schema_version"),
    "no config": without("config"),
    "no inputs": without("inputs", "outputs", "id", "stage"),
    "config a list": setting(config=[1]),
    "config text": setting(config="x"),
    "inputs numbers": setting(inputs={"policy": 1, "prompts": 2}),
    "inputs a list": setting(inputs=["policy"]),
    "outputs null": setting(outputs=None),
    "id a number": setting(id=5),
    "versions null": setting(versions=None),
    "policy text": setting(policy_version="one"),
    "settings missing": setting(config={}),
}


def test_metadata(cli: Cli, trained: Path) -> None:
    step = trained / "steps/000001"
    paths = (step / "rollouts/part-00000.parquet", step / "rewards/part-00000.parquet", step / "advantages.parquet")
    for path in (*paths, step / "update_metrics.parquet", trained / "prompts.parquet"):
        intact = path.read_bytes()
        for name, change in CRAFTED.items():
            with_metadata(path, change)
            for command in READERS[:3]:
                one_line(cli(*command, "--run", trained), path.name, name, command)
            path.write_bytes(intact)
    for path in paths:  # what an update or a resumed run looks up in them
        intact = path.read_bytes()
        with_metadata(path, CRAFTED["settings missing"])
        for command in (READERS[3], READERS[5]):
            one_line(cli(*command, "--run", trained), path.name, command)
        path.write_bytes(intact)


def test_metadata_of_an_evaluation(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "-n", "2", "--k", "1").code == 0
    folder = trained / "evals/000002/toy"
    part = sorted((folder / "rollouts").iterdir())[0]
    for path in (part, folder / "rewards" / part.name, folder / "problems.parquet", folder / "summary.parquet"):
        intact = path.read_bytes()
        for name in ("no JSON", "no version", "inputs numbers", "settings missing", "no inputs"):
            with_metadata(path, CRAFTED[name])
            for command in (["compare", trained, trained], ["report", trained], ["status", "--run", trained]):
                one_line(cli(*command), path.name, name, command)
            path.write_bytes(intact)


def test_metadata_that_is_missing_is_named(cli: Cli, trained: Path) -> None:
    path = trained / "steps/000001/advantages.parquet"
    with_metadata(path, CRAFTED["no JSON"])
    result = cli("update", "--run", trained, "--step", "1")
    assert (result.code, "advantages.parquet is damaged" in result.err) == (1, True), result.err
    assert "its metadata is not JSON" in result.err
    assert "advantages.parquet is damaged" in cli("status", "--run", trained).out


def test_text_that_is_no_utf_8(cli: Cli, trained: Path) -> None:
    path = trained / "prompts.parquet"
    table = pq.read_table(path)
    column = pa.array([b"\xff\xfe"] * len(table), pa.binary()).view(pa.string())
    number = table.schema.get_field_index("ground_truth")
    pq.write_table(table.set_column(number, table.schema.field(number), column), path)
    result = cli("show", "--run", trained, "--prompt", "1")
    assert (result.code, "prompts.parquet is damaged" in result.err) == (1, True), result.err


def test_manifests(cli: Cli, trained: Path) -> None:
    wrong = ("[]", '{"parts": [], "id": "x", "rows": 1}', '{"parts": {}, "id": 3, "rows": "x"}', "[" * 200_000)
    for path in (trained / "steps/000001/rollouts/manifest.json", trained / "checkpoints/000002/manifest.json"):
        intact = path.read_bytes()
        for content in wrong:
            path.write_text(content)
            for command in (READERS[0], READERS[3], ["rollout", "--step", "1"], ["score", "--step", "1"], READERS[5]):
                one_line(cli(*command, "--run", trained), path, content[:40], command)
        path.write_bytes(intact)


LINES = (
    b'{"stage": ["rollout"], "seconds": 1}',
    b'{"stage": "rollout", "seconds": "1"}',
    b'{"stage": "rollout", "seconds": null, "step": 0}',
    b'{"stage": "rollout", "seconds": NaN}',
    b'{"stage": "rollout", "seconds": Infinity}',
    b'{"stage": "rollout", "seconds": 1e300, "step": 0}',
    b'{"stage": "rollout", "seconds": 1, "step": [0]}',
    b'{"stage": "rollout", "seconds": 1, "step": null}',
    b"\xff\xfe\x00",
    b"[" * 200_000,
    b'{"stage": "rollout", "seconds": ' + b"9" * 5000 + b"}",
)


def test_events(cli: Cli, trained: Path) -> None:
    before = cli("status", "--run", trained, "--json").json["seconds"]
    for line in LINES:
        with open(trained / "events.jsonl", "ab") as file:
            file.write(line + b"\n")
        found = cli("status", "--run", trained, "--json")
        assert (found.code, found.json["seconds"]) == (0, before), line[:60]
    assert cli("status", "--run", trained).code == 0
    (trained / "metrics.parquet").unlink()
    assert cli("train", "--run", trained).code == 0


def test_a_fork_from_something_else(cli: Cli, trained: Path) -> None:
    path = trained / "config.json"
    intact = json.loads(path.read_text())
    del intact["check"]
    origins: list[object] = ["x", [], {"run": 3, "step": 0}, {"run": "x"}, {"run": "x", "step": "y"}, 5, ""]
    for origin in origins:
        path.write_text(json.dumps(intact | {"forked_from": origin}))
        result = cli("status", "--run", trained)
        assert (result.code, "forked_from does not name a run and a step" in result.err) == (1, True), result.err


def test_numbers_of_prompts_and_policies(cli: Cli, trained: Path) -> None:
    for text in ("²", "٣", "9" * 5000, "-1", "1e3", ""):
        result = cli("show", "--run", trained, "--prompt", text)
        assert (result.code, "has no prompt" in result.err) == (1, True), result.err
        result = cli("report", f"{trained}@{text}")
        assert (result.code, "error:" in result.err) == (1, True), result.err
        one_line(result)


def test_folders_that_are_no_numbers_of_ours(cli: Cli, trained: Path) -> None:
    assert cli("eval", "--run", trained, "-n", "2", "--k", "1").code == 0
    for name in ("²²²²²²", "000001 (copy)", ".DS_Store", "1"):
        for folder in ("evals", "steps", "checkpoints"):
            (trained / folder / name).mkdir()
    for command in (["status", "--run", trained], ["report", trained], ["fork", "runs/other", "--run", trained]):
        assert cli(*command).code == 0, cli(*command).err

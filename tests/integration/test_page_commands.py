"""The commands of the documentation, page by page and in order, as its reader types them. Real processes.

Which blocks these are, tests/test_page_commands.py says. A page about a run that takes long to make gets a small one
under that name: `<!-- has: runs/mine -->` on the page. These are made once and copied.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_blocks import blocks

from rsgrpo_cli.bundled import bundled_data

pytestmark = pytest.mark.day
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def commands_of(page: Path) -> list[str]:
    return [command for block in blocks(page) if not block.note for command in block.commands]


def environment(desk: Path, warm: Path) -> dict[str, str]:
    """Offline, with the data sets of the documentation in a folder and its model in the Hub's cache."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("RSGRPO")}
    folders = {"HOME": str(desk), "HF_HOME": str(warm.with_name("hub")), "RSGRPO_DATA_DIR": str(desk / "data")}
    programs = {"PATH": f"{desk / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "WARM_RSGRPO": str(warm)}
    return known | folders | programs | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def type_in(desk: Path, warm: Path, command: str) -> None:
    bash = ["bash", "-o", "pipefail", "-c", command]
    done = subprocess.run(bash, cwd=desk, env=environment(desk, warm), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the process listens that has imported everything."""
    place = tmp_path_factory.mktemp("warm") / "door"
    hub = write_hub(place.with_name("hub"))
    program = [sys.executable, Path(__file__).with_name("warm_rsgrpo.py"), place]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HOME": str(hub)}
    pipe = subprocess.PIPE
    with subprocess.Popen(list(map(str, program)), env=env, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield place


@pytest.fixture(scope="module")
def shelf(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of four steps, with the base model and the last policy measured."""
    desk = make_desk(tmp_path_factory.mktemp("shelf"))
    for name, estimator in (("rs_grpo", "rs_grpo"), ("grpo", "grpo")):
        type_in(desk, warm, f"rsgrpo train --run {name} --estimator {estimator} --steps 4 --keep-checkpoints 9")
        for policy in (0, 4):
            type_in(desk, warm, f"rsgrpo eval --run {name} --policy {policy}")
    return desk


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if commands_of(page)],
    ids=lambda page: page.relative_to(ROOT).with_suffix("").as_posix(),
)
def test_the_commands_of_a_page_work(warm: Path, shelf: Path, tmp_path: Path, page: Path) -> None:
    desk = make_desk(tmp_path)
    for name in re.findall(r"runs/(\w+)", "".join(re.findall(r"^<!-- has: (.*) -->$", page.read_text(), re.MULTILINE))):
        shutil.copytree(shelf / "runs" / ("grpo" if name == "grpo" else "rs_grpo"), desk / "runs" / name)
    for block in blocks(page):
        if block.file:
            (desk / block.file).write_text(block.text, encoding="utf-8")
    for command in commands_of(page):
        type_in(desk, warm, command)


def make_desk(folder: Path) -> Path:
    """What the commands name: programs, data sets as samples, files of problems."""
    write_programs(folder / "bin")
    (folder / "data").mkdir()
    made_up = [{"problem": f"Compute {n}+{n}.", "answer": str(2 * n)} for n in range(2, 5)]
    for name in ("math12k", "aime24", "math500"):
        write_jsonl(folder / f"data/{name}_sample.jsonl", made_up)
    write_jsonl(folder / "problems.jsonl", made_up)
    write_jsonl(folder / "mine.jsonl", [{"problem": row["problem"], "gold": row["answer"]} for row in made_up])
    puzzles = (bundled_data() / "puzzles_test.jsonl").read_text().splitlines()[:6]
    (folder / "held_out.jsonl").write_text("".join(f"{line}\n" for line in puzzles))
    return folder


def write_hub(folder: Path) -> Path:
    """A cache of the Hub with the documentation's model, which is the bundled one; libraries look for it once."""
    snapshot = folder / "hub/models--Qwen--Qwen2.5-Math-1.5B/snapshots/0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(bundled_data() / "model", snapshot)
    config = json.loads((snapshot / "config.json").read_text()) | {"max_position_embeddings": 4096}
    (snapshot / "config.json").write_text(json.dumps(config))
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    return folder


def write_programs(folder: Path) -> None:
    folder.mkdir()
    small = Path(__file__).with_name("small_rsgrpo.py")
    for name, words in {"rsgrpo": f"'{sys.executable}' '{small}'", "python": f"'{sys.executable}'"}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (folder / name).chmod(0o755)


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

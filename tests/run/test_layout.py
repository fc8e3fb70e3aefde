"""What lies where in a run directory."""

import re
from pathlib import Path, PurePosixPath

import pytest

from rsgrpo_cli.run.layout import UNFINISHED, kind_of

PAGE = Path(__file__).parents[2] / "docs" / "run-directory.md"


def documented() -> list[str]:
    """The files that the page names, with numbers and names put in."""
    rows = re.findall(r"^\| (`[^|]+) \|", PAGE.read_text(), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    blanks = {"00000k": "000003", "part-*": "part-00000", "NAME.TAG...": "advantages.beta8.parquet"}
    blanks |= {"trackers/": "trackers/csv/metrics.csv"}
    for blank, name in blanks.items():
        names = [found.replace(blank, name) for found in names]
    return [f"{name}file" if name.endswith("/") else name for name in names if name != "rewards/"]


@pytest.mark.parametrize("name", documented())
def test_every_file_that_the_page_names_has_a_kind(name: str) -> None:
    assert kind_of(PurePosixPath(name)) is not None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("steps/000001/rollouts.beta8/part-00000.parquet", "rollouts"),
        ("steps/000001/update_metrics.beta8.parquet", "update metrics"),
        ("steps/000001/history.parquet", "other"),
        ("checkpoints/000003.beta8/trainer/optimizer.safetensors", "trainer states"),
        ("checkpoints/000003.aside-1/model.safetensors", "checkpoints"),
        ("evals/000003at0.75/toy/summary.parquet", "evaluations"),
        ("metrics.parquet.aside-2", "other"),
        (".ranks.0a1b2c3d.partial/order.json", UNFINISHED),
        ("exports/.000003at0.5.0a1b2c3d.partial/model.safetensors", UNFINISHED),
        ("steps/000001/.rsgrpo-0a1b2c3d.tmp", UNFINISHED),
        ("mine/.rsgrpo-0a1b2c3d.tmp", None),
        (".ranks.partial/order.json", None),
        ("exports/paper/model.safetensors", None),
        ("notes.txt", None),
    ],
)
def test_a_file_has_the_kind_that_its_place_says(name: str, kind: str | None) -> None:
    assert kind_of(PurePosixPath(name)) == kind

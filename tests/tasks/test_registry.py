from pathlib import Path

import pytest

from rsgrpo_cli.pipeline.catalogue import known_datasets
from rsgrpo_cli.tasks.registry import DAPO_PREFIX, DAPO_SUFFIX, REGISTRY, clean_dapo, clean_gsm8k, listed
from rsgrpo_cli.tasks.sources import BUNDLED

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"


@pytest.mark.parametrize(
    ("answer", "number"),
    [("She has 3*4=<<3*4=12>>12.\n#### 12", "12"), ("#### 1,234,567", "1234567"), ("#### -5", "-5"), ("18", "18")],
)
def test_the_answer_of_gsm8k(answer: str, number: str) -> None:
    assert clean_gsm8k("p", answer) == ("p", number)


def test_the_wrapper_of_dapo_comes_off_whole() -> None:
    # Every letter of "Solve for x." is in the prefix: lstrip(prefix) would leave "x.", and rstrip would eat the dot.
    assert clean_dapo(DAPO_PREFIX + "Solve for x." + DAPO_SUFFIX, "3") == ("Solve for x.", "3")
    assert clean_dapo("Solve for x.", "3") == ("Solve for x.", "3")


def test_the_control_characters_of_dapo() -> None:
    assert clean_dapo("in the form \x0crac{m}{n}", "7")[0] == "in the form \\frac{m}{n}"
    assert (
        clean_dapo("the fi\x0crst \x14of $m^2=\x0c\\frac{p}{q}$\n\tx", "7")[0] == "the first of $m^2=\\frac{p}{q}$\n\tx"
    )


def test_a_dataset_with_one_split_has_it_for_both_uses() -> None:
    assert listed("math500", "train")[0] == "test"
    assert listed("math12k", "test")[0] == "train"
    assert listed("gsm8k", "train")[1].rows == 7473
    assert listed("gsm8k", "test")[1].rows == 1319


def test_names_are_of_one_thing_only() -> None:
    assert not BUNDLED.keys() & REGISTRY.keys()
    files = [file for splits in REGISTRY.values() for entry in splits.values() for file in entry.files]
    assert len(files) == len(set(files))


def test_the_page_has_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for row in known_datasets():
        cells = (f"`{row['name']}`", row["use"], f"{row['rows']:,}", row["repository"], row["split"], row["licence"])
        assert "| " + " | ".join(cells) + " |" in page

"""docs/estimators.md says what the code does: its tables, its example, the numbers in its sentences."""

import importlib.util
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rsgrpo_cli.config import VARIANTS
from rsgrpo_cli.core.estimators import ESTIMATORS, estimator_function
from rsgrpo_cli.core.risk import prompt_weight

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
FLAT = " ".join(TEXT.split())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("estimator_page", ROOT / "scripts" / "estimator_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_what_the_code_gives(script: ModuleType) -> None:
    assert script.page(TEXT) == TEXT
    assert script.page(TEXT.replace("0.381", "0.382", 1)) == TEXT


def test_every_estimator_is_in_the_tables(script: ModuleType) -> None:
    assert {name for name, _ in script.SHOWN} == set(ESTIMATORS)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_estimator_has_a_section_that_names_its_settings(name: str) -> None:
    sections = re.split(r"^### ", TEXT, flags=re.MULTILINE)
    (section,) = (text for text in sections if name in text.splitlines()[0].split(", "))
    for setting in VARIANTS[name](estimator=name).knobs():
        assert f"`{setting}`" in section or f"`{setting} =" in section, setting


def test_the_example() -> None:
    code, comment = re.search(r"^(estimator_function\(.*\))  # array\(\[(.*)\]\)$", TEXT, re.MULTILINE).groups()  # type: ignore[union-attr]
    result = eval(code, {"estimator_function": estimator_function})
    assert result == pytest.approx([float(number) for number in comment.split(",")], abs=5e-4)


def test_the_numbers_in_the_sentences() -> None:
    peaks = [f"{1 / (1 + math.exp(beta / 2)):.2f} at" for beta in (2, 4, 8)]
    assert all(peak in FLAT for peak in peaks)
    # The largest weight of an accuracy lies at 1/16 from 2 log 15 on.
    assert "beyond beta 5.4 the weight only falls" in FLAT
    assert 1 / (1 + math.exp(2 * math.log(15) / 2)) == pytest.approx(1 / 16)
    alone = estimator_function("rs_grpo", beta=8.0, denominator="leave_one_out")(np.eye(1, 16))[0, 0]
    assert f"{alone:.0f} at beta 8" in FLAT
    assert f"{estimator_function('grpo', eps=0.0)(1 - np.eye(1, 16))[0, 0]:.2f}.".replace("-", "−") in FLAT
    finite = prompt_weight(estimator_function("rs_grpo", beta=2.0), 0.02, 16)
    population = math.expm1(2) / 2 / (1 + 0.02 * math.expm1(2))
    assert f"{finite / population:.2f} of it at p = 0.02" in FLAT


def test_its_weight_of_easy_prompts_is_bounded_as_it_says() -> None:
    for beta in (1.0, 2.0, 8.0):
        weights = prompt_weight(estimator_function("rs_grpo", beta=beta), [0.9, 0.99, 1.0], 16)
        assert (weights > -math.expm1(-beta) / beta * (1 - 1e-9) * 15 / 16).all()


def test_the_picture_is_drawn(script: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    script.draw(tmp_path / "estimators.svg")
    assert (tmp_path / "estimators.svg").stat().st_size > 10_000
    assert (ROOT / "docs" / "estimators.svg").is_file()
    assert "](estimators.svg)" in TEXT

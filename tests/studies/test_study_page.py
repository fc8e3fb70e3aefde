"""The page of the study, from results that are made by hand."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rsgrpo_cli.config import Overrides, resolve
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.results import Counts, Result

ROOT = Path(__file__).parents[2]
ARMS: dict[str, Overrides] = {
    "grpo": {"advantage.estimator": "grpo"},
    "beta4": {"advantage.beta": 4},
    "beta8": {"advantage.beta": 8},
}


def counts(policy: int, right: int, benchmark: str, at: float = 1.0) -> Counts:
    ids = tuple(f"p{number}" for number in range(8))
    correct = np.array([right, 8, 4, 2, 1, 1, 0, 0])
    return Counts(policy, benchmark, "id", ids, np.full(8, 16), correct, np.full(8, 3), at)


def keep(folder: Path, name: str, settings: Overrides, evaluations: list[Counts], steps: int = 4) -> None:
    metrics = [{"step": step, "entropy": 0.5 - 0.1 * step} for step in range(steps)]
    one = Result(name, folder.name, resolve(settings), {}, metrics, evaluations, steps)
    results.write(folder / f"{name}.parquet", one)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two methods and two seeds: at two learning rates on the validation set, at one on the test set."""
    two_sweeps(tmp_path, ("validation", "toy-validation"), ("puzzles", "toy"))
    return tmp_path


def two_sweeps(
    folder: Path, validation: tuple[str, str], test: tuple[str, str], seeds: tuple[int, ...] = (0, 1)
) -> None:
    """The results of one tier: the folder of each sweep under `folder`, and its benchmark."""
    for seed in seeds:
        for place, benchmark in (validation, test):
            keep(folder / place, f"base-seed{seed}-0000", {"seed": seed}, [counts(0, 2, benchmark)], steps=0)
        for number, (arm, own) in enumerate(ARMS.items()):
            for rate, right in ((1e-4, 6), (3e-4, 3)):
                settings = own | {"seed": seed, "update.learning_rate": rate}
                name = f"{arm}-learning_rate{rate:g}-seed{seed}"
                keep(folder / validation[0], name, settings, [counts(4, right + number, validation[1])])
            path = [counts(2, 4, test[1]), counts(4, 8, test[1]), counts(4, 6, test[1], at=0.5)]
            keep(folder / test[0], f"{arm}-seed{seed}", own | {"seed": seed}, path)


def write_page(folder: Path) -> str:
    """The page over the results in a folder."""
    page = folder / "study.md"
    command = [sys.executable, str(ROOT / "scripts" / "study.py"), "--results", str(folder), "--out", str(page)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return page.read_text()


def test_the_page_says_what_the_results_say(study: Path) -> None:
    page = write_page(study)
    # (6 + 16) / 128 at the better learning rate, (3 + 16) / 128 at the other, for GRPO; the first is chosen. In 16
    # tries 6 of 8 problems are solved.
    assert "| method | 0.0001 | 0.0003 |" in page
    assert "| GRPO | **0.172 / 0.750** | 0.148 / 0.750 |" in page
    assert "| RS-GRPO, beta 4 | **0.180 / 0.750** | 0.156 / 0.750 |" in page
    assert "The base model: 0.141 / 0.750." in page
    # How much there was of everything comes from the results as well, and what is said of the real study is left out.
    assert "8 validation puzzles, which are neither trained on nor tested on, 16 samples each, 2 seeds" in page
    assert "120 steps of 32 prompts with 16 completions" in page
    assert "## What this says so far" not in page
    # The base has (2 + 16) / 128, both methods (8 + 16) / 128 at the end.
    assert "GRPO minus the base model: +0.047 [" in page
    assert "\n| GRPO | 0.188 |" in page
    assert "* RS-GRPO, beta 4 minus GRPO: +0.000 [+0.000, +0.000] at k = 1" in page
    # Of two methods that are the same, nothing is left at equal pass@1.
    assert "| RS-GRPO, beta 4 | 0.188 | way | +0.000 [+0.000, +0.000] |" in page
    # GRPO weights a group of solve rate p with sqrt(p (1 - p)), and here each problem's samples are one group. The base
    # has 1/16 twice, 1/8 twice and 1/4, and 1/2: .484, 1.094 and .5 of 2.079. Of the second part's 48, 8 become 14.
    assert "| 0.01 to 0.1 | 2 | GRPO | 23% |" in page
    assert "| 0.1 to 0.3 | 3 | GRPO | 53% | 0.292 (+0.125 [" in page
    assert "| 0.3 to 0.6 | 1 | GRPO | 24% |" in page
    # (6 + 16) / 128 halfway, against (2 + 16) / 128.
    assert "| GRPO | 0.5 | 0.172 (+0.031 [" in page


def test_only_seeds_that_all_methods_have_count(study: Path) -> None:
    (study / "puzzles" / "beta4-seed1.parquet").unlink()
    assert "learning rate 0.0001, 1 seed\n" in write_page(study)


def test_each_tier_has_a_part_of_its_own(study: Path) -> None:
    assert "## Five numbers" not in write_page(study)
    two_sweeps(study, ("hard-validation", "toy-hard-validation"), ("hard", "toy-hard"))
    first, _, second = write_page(study).partition("## Five numbers")
    assert "](study/passk.svg)" in first
    assert "](study/hard-passk.svg)" in second
    for part in (first, second):
        assert "| GRPO | **0.172 / 0.750** | 0.148 / 0.750 |" in part
        assert "GRPO minus the base model: +0.047 [" in part


def test_further_sweeps_of_a_tier_are_compared_with_its_own(study: Path) -> None:
    two_sweeps(study, ("hard-validation", "toy-hard-validation"), ("hard", "toy-hard"))
    halfway = counts(4, 7, "toy-hard", at=0.5)
    for seed in (0, 1):
        base = [counts(0, 2, "toy-hard")]
        keep(study / "hard-methods", f"base-seed{seed}-0000", {"seed": seed}, base, steps=0)
        keep(study / "hard-settings", f"base-seed{seed}-0000", {"seed": seed}, base, steps=0)
        own = {"advantage.estimator": "max_rl", "seed": seed}
        keep(study / "hard-methods", f"max_rl-seed{seed}", own, [counts(4, 12, "toy-hard"), halfway])
        for (arm, settings), right in zip(ARMS.items(), (5, 6, 7), strict=True):
            other = settings | {"seed": seed, "rollout.group_size": 4}
            keep(study / "hard-settings", f"group4-{arm}-seed{seed}", other, [counts(4, right, "toy-hard")])
    page = write_page(study)
    # (12 + 16) / 128 against (8 + 16) / 128 of GRPO; halfway (7 + 16) / 128 against (2 + 16) / 128 of the base model.
    assert "| MaxRL | 0.219 (+0.031 [" in page
    # More than GRPO ever has: it is MaxRL that is followed, back to where it has GRPO's .188. All solve 6 in 16 tries.
    assert "| MaxRL | 0.219 | +0.000 [+0.000, +0.000] † | +0.000 [+0.000, +0.000] † |" in page
    assert "| MaxRL | 0.180 (+0.039 [" in page
    assert "| as above | 2 | GRPO | 0.188 |" in page
    assert "| groups of 4, 128 prompts a step | 2 | GRPO | 0.164 |" in page
    assert "| | | RS-GRPO, beta 8 | 0.180 (+0.016 [" in page


def test_methods_at_their_own_rates_stand_beside_those_at_one(study: Path) -> None:
    two_sweeps(study, ("hard-validation", "toy-hard-validation"), ("hard", "toy-hard"))
    for seed in (0, 1):
        keep(study / "hard-rates", f"base-seed{seed}-0000", {"seed": seed}, [counts(0, 2, "toy-hard")], steps=0)
        for arm, right, more in (("grpo", 5, 0), ("beta8", 7, 3)):
            found = replace(counts(4, right, "toy-hard"), correct_M=np.array([right, 8, 4, 2, 1, 1, more, more]))
            settings = ARMS[arm] | {"seed": seed, "update.learning_rate": 1e-5}
            keep(study / "hard-rates", f"{arm}_own-seed{seed}", settings, [found])
    section = write_page(study).partition("### Each method at its own learning rate")[2]
    # (7 + 6 + 16) / 128 against (5 + 16) / 128; the other rates are those of the main comparison.
    assert "| RS-GRPO, beta 8, 1e-5 | 0.227 (+0.062 [" in section
    assert "| RS-GRPO, beta 8 | 0.188 (+0.023 [" in section
    # Solved in 16 tries: all 8 problems, where the base model and GRPO solve 6. Intervals over few problems are wide.
    assert "each for itself: " in section


def test_a_beta_that_moves_is_compared_on_the_seeds_of_both_sweeps(study: Path) -> None:
    two_sweeps(study, ("hard-validation", "toy-hard-validation"), ("hard", "toy-hard"), seeds=(0, 1, 2))
    law: Overrides = {"advantage.estimator": "rs_grpo_moving", "advantage.law": "shrunk"}
    for seed, sweep in enumerate(("hard-methods", "hard-confirm", "hard-confirm")):
        keep(study / sweep, f"base-seed{seed}-0000", {"seed": seed}, [counts(0, 2, "toy-hard")], steps=0)
        path = [counts(4, 8 + 2 * seed, "toy-hard"), counts(4, 6, "toy-hard", at=0.5)]
        keep(study / sweep, f"shrunk-seed{seed}", law | {"seed": seed}, path)
    section = write_page(study).partition("### Is a beta that moves better than the best fixed one?")[2]
    assert "\n3 seeds, " in section
    # (8 + 10 + 12 + 3 * 16) / (3 * 128) against (8 + 16) / 128 of beta 8.
    assert "| beta 4, earlier visits counted | 0.203 (+0.016 [" in section


def test_a_real_language_model_has_a_part_of_its_own(study: Path) -> None:
    for seed in (0, 1):
        keep(study / "smollm2", f"base-seed{seed}-0000", {"seed": seed}, [counts(0, 2, "test")], steps=0)
        for (arm, settings), right in zip(ARMS.items(), (5, 6, 7), strict=True):
            keep(study / "smollm2", f"{arm}-seed{seed}", settings | {"seed": seed}, [counts(4, right, "test")])
    part = write_page(study).partition("## One-step word problems: a real language model")[2]
    # (5 + 16) / 128 for GRPO, (7 + 16) / 128 for beta 8.
    assert "| GRPO | 0.164 |" in part
    assert "| RS-GRPO, beta 8 | 0.180 (+0.016 [" in part
    assert "test: 8 problems. 2 seeds." in part


def test_what_is_newly_solved_by_chance_is_told_by_the_base_models_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from study_how import by_chance

    # The first solves one problem that the second does not, the second solves two that the first does not.
    seeds = [
        Result(
            "base", "s", resolve({"seed": seed}), {}, [], [replace(counts(0, 0, "toy"), correct_M=np.array(right))], 0
        )
        for seed, right in enumerate(([1, 5, 3, 0, 0, 0, 0, 0], [0, 2, 9, 1, 4, 0, 0, 0]))
    ]
    assert by_chance(Group("base", tuple(seeds)), "toy") == 1.5


def test_how_many_of_a_group_are_right_is_as_for_a_draw_without_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from study_how import right_of

    # Two of four are drawn, of which one is right: it is among them in 3 of 6 draws.
    assert right_of(2, 4, 1).tolist() == [0.5, 0.5, 0.0]
    assert right_of(2, 4, 2).tolist() == [1 / 6, 4 / 6, 1 / 6]

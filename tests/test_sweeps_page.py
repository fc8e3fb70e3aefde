"""docs/sweeps.md: its commands about finished runs work, on results that are made by hand."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from rsgrpo_cli.config import resolve
from rsgrpo_cli.studies import results
from rsgrpo_cli.studies.results import Counts, Result
from tests.conftest import Cli
from tests.run_on_disk import new_run

PAGE = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text()
COMMANDS = [
    shlex.split(line.partition("  #")[0])[2:]
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ rsgrpo ")
]
ON_RESULTS = [words for words in COMMANDS if words[0] in ("ls", "compare", "figure")]
"""The others train, remove or evaluate, which tests/commands has tests of."""
METRICS = {"reward_mean": 0.3, "pass@1": 0.3, "pass@G": 0.7, "cumulative_solve_rate": 0.8}


def counts(policy: int, seed: int) -> Counts:
    right = np.random.default_rng([policy, seed]).integers(0, 257, size=12)
    ids = tuple(f"p{number:02}" for number in range(12))
    return Counts(policy, "toy", "id", ids, np.full(12, 256), right, np.minimum(right, 50))


@pytest.fixture
def finished(tmp_path: Path) -> None:
    """The sweep that the page is about, with two of its seeds, and the runs that it names."""
    new_run(tmp_path / "runs/mine")
    settings = {"eval.num_samples": 256, "eval.k": [1, 16, 64, 256], "train.steps": 120}
    rows = [{"step": step, **METRICS} for step in range(120)]
    for seed in (0, 1):
        base = Result(
            f"base-seed{seed}-0000", "betas", resolve(settings | {"seed": seed}), {}, [], [counts(0, seed)], 0
        )
        made = [base]
        for beta in (0, 2, 4, 8):
            config = resolve(settings | {"seed": seed, "advantage.beta": beta})
            found = [counts(policy, seed) for policy in (40, 120)]
            varied = {"advantage.beta": beta}
            made.append(Result(f"beta{beta}-seed{seed}", "betas", config, varied, rows, found, 120))
        for place in ("runs/betas", "results/betas"):
            for one in made:
                results.write(tmp_path / place / f"{one.name}.parquet", one)
        for name, one in (("ab"[seed], made[1]), ("cd"[seed], made[2])):
            results.write(tmp_path / f"runs/{name}/{name}.parquet", one)


def test_the_page_shows_what_can_be_tried_here() -> None:
    assert {words[0] for words in COMMANDS} == {"sweep", "ls", "rm", "eval", "export", "compare", "figure"}
    assert len(ON_RESULTS) >= 12


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("words", ON_RESULTS, ids=" ".join)
def test_its_command_works(cli: Cli, words: list[str]) -> None:
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert done.out


def test_its_sweep_can_be_planned(cli: Cli) -> None:
    (words,) = [words for words in COMMANDS if words[:2] == ["sweep", "--name"]]
    assert len(cli(*words, "--dry-run", "--json").json["cells"]) == 32

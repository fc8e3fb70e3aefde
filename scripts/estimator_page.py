"""Fills in the tables of docs/estimators.md and draws its picture: `python scripts/estimator_page.py`.

--check only compares the tables. Every number comes from `rsgrpo_cli.core`; a test holds the page to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from page_writer import DOCS, fill, finish, table

from rsgrpo_cli.core.estimators import Estimator, estimator_function
from rsgrpo_cli.core.history_advantages import beta_of_rate
from rsgrpo_cli.core.risk import advantage_rms, prompt_weight, scale_advantages

PAGE = DOCS / "estimators.md"
PICTURE = PAGE.with_name("estimators.svg")
GROUP = 16
SHOWN: list[tuple[str, dict[str, Any]]] = [
    ("dr_grpo", {}),
    ("rloo", {}),
    ("grpo", {"eps": 0.0}),
    ("rs_grpo", {"beta": 2.0}),
    ("rs_grpo", {"beta": 4.0}),
    ("rs_grpo", {"beta": 8.0}),
    ("rs_grpo", {"beta": 8.0, "denominator": "leave_one_out"}),
    ("entropic_loo", {"beta": 2.0}),
    ("entropic_adaptive", {}),
    ("max_rl", {"eps": 0.0}),
    ("tail_rl", {}),
    ("qae", {"eps": 0.0}),
    ("pkpo", {"k": 4}),
    ("pkpo", {"k": 4, "variant": "sloo"}),
    ("mahdavi_passk", {"k": 4, "variant": "plugin"}),
    ("mahdavi_passk", {"k": 4, "variant": "plugin_grpo", "eps": 0.0}),
    ("mahdavi_passk", {"k": 4, "variant": "unbiased"}),
    ("passk_rloo", {"k": 4}),
    ("chen_passk", {"k": 4, "eps": 0.0}),
    ("tang_max", {}),
    ("power", {"alpha": 2.0}),
    ("power", {"alpha": 3.0}),
    ("f_grpo", {"gamma": 1.0, "eps": 0.0}),
    ("bbg", {"k": 4}),
    ("w_reinforce", {}),
    ("asym_grpo", {}),
]
PROBABILITIES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
BETAS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
DRAWN = (0, 2, 3, 5, 9, 12, 18)
"""Which of SHOWN the picture has."""


def label(name: str, settings: dict[str, Any]) -> str:
    """An estimator as `--compare` takes it; eps = 0 is not worth a word."""
    told = {setting: value for setting, value in settings.items() if setting != "eps"}
    shown = (f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in told.items())
    return ":".join([name, *shown])


def staircase() -> np.ndarray:
    """Row c is the group of 16 with c right answers, which come first: (C, G)."""
    return np.tri(GROUP + 1, GROUP, -1)


def right_and_wrong(estimate: Estimator) -> tuple[np.ndarray, np.ndarray]:
    """Advantage of a right and of a wrong answer by the number of right ones, NaN where there is none."""
    advantages = estimate(staircase())
    right, wrong = advantages[:, 0].copy(), advantages[:, -1].copy()
    right[0] = wrong[-1] = np.nan
    return right, wrong


def advantages_table() -> str:
    """A of right and wrong answers at some accuracies."""
    counts = (1, 4, 8, 12, 15)
    rows = []
    for name, settings in SHOWN:
        right, wrong = right_and_wrong(estimator_function(name, **settings))
        rows.append([f"`{label(name, settings)}`", *(f"{_number(right[c])}, {_number(wrong[c])}" for c in counts)])
    return _markdown(["right, wrong", *(f"{c} of {GROUP}" for c in counts)], rows)


def weights_table() -> str:
    """W(p) of every estimator."""
    rows = []
    for name, settings in SHOWN:
        weights = prompt_weight(estimator_function(name, **settings), PROBABILITIES, GROUP)
        rows.append([f"`{label(name, settings)}`", *map(_number, weights)])
    return _markdown(["W(p)", *(f"p = {p:g}" for p in PROBABILITIES)], rows)


def sizes_table() -> str:
    """What beta does to the size of the update, and what each scale makes of it.

    The batches have one group of each accuracy: from 0 to 16 right of 16, from 0 to 4 (hard), from 12 to 16 (easy).
    """
    rows = []
    for beta in BETAS:
        advantages = estimator_function("rs_grpo", beta=beta)(staircase())
        scaled = [scale_advantages(advantages, mode, beta) for mode in ("none", "beta", "rms")]
        hard, easy = advantages[:5], advantages[12:]
        cells = (advantages[8, 0], *map(advantage_rms, (hard, easy, *scaled)))
        rows.append([f"{beta:g}", *(f"{cell:.3f}" for cell in cells)])
    headers = ["beta", "A, 8 of 16 right", "RMS, hard", "RMS, easy", "RMS, all", "all, scale beta", "all, scale rms"]
    return _markdown(headers, rows)


def frontier_table() -> str:
    """The beta that gives prompts of a rate the largest signal."""
    rates = (0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5)
    return _markdown(["p", *(f"{p:g}" for p in rates)], [["beta", *(_number(float(beta_of_rate(p))) for p in rates)]])


TABLES = {"frontier": frontier_table, "advantages": advantages_table, "weights": weights_table, "sizes": sizes_table}


def page(text: str) -> str:
    """The page with its tables computed again."""
    for name, make in TABLES.items():
        text = fill(text, name, make())
    return text


def draw(path: Path) -> None:
    """Advantages against accuracy, and the weight of a prompt against its probability of being solved."""
    from rsgrpo_cli.report.figures import BASE_COLOUR, pyplot, save
    from rsgrpo_cli.studies.figures.style import look

    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    accuracy, p = np.arange(GROUP + 1) / GROUP, np.linspace(0.01, 0.99, 50)
    for number, index in enumerate(DRAWN):
        name, settings = SHOWN[index]
        estimate = estimator_function(name, **settings)
        grey = {"color": BASE_COLOUR, "marker": "X", "linestyle": (0, (6, 2))}
        style = look(number - 1).line() if number else look(0).line(**grey)
        for values, extra in zip(right_and_wrong(estimate), ({}, {"markerfacecolor": "white"}), strict=True):
            left.plot(accuracy, values, **style, **extra)
        weights = prompt_weight(estimate, p, GROUP)
        right.plot(p, weights, **style, markevery=(3 * number % 7, 7), label=label(name, settings))
    left.axhline(0, color="black", linewidth=0.8)
    left.set(xlabel=f"accuracy of a group of {GROUP}", ylabel="advantage A", ylim=(-4, 6))
    left.set_title("filled: a right answer, open: a wrong one", fontsize=10)
    right.set(xlabel="probability p of a right answer", ylabel="weight W(p) of the prompt")
    right.set(yscale="log", ylim=(0.02, 20))
    right.set_title("expected update: W(p) times the gradient of p", fontsize=10)
    for panel in (left, right):
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    save(figure, path)
    plt.close(figure)


def _number(value: float) -> str:
    size = abs(value)
    digits = 0 if size >= 100 else 2 if size >= 0.01 else 3
    return f"{value:.{digits}f}" if size >= 5e-4 else "0"


def _markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return table(headers, rows, "---:")


def main() -> None:
    """Write the page and the picture, or say that the page is out of date."""
    finish(__doc__, lambda: {PAGE: page(PAGE.read_text(encoding="utf-8"))})
    draw(PICTURE)


if __name__ == "__main__":
    main()

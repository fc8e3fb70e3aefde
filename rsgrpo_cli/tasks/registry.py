"""Datasets by name: where each is on the Hub, which columns it has, under which licence, and what is wrong with it.

Nothing of them is part of this package. docs/datasets.md has the same table with the evidence; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "test"]
Clean = Callable[[str, str], tuple[str, str]]

DAPO_PREFIX = (
    "Solve the following math problem step by step. The last line of your response should be of the form "
    "Answer: $Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
DAPO_SUFFIX = '\n\nRemember to put your answer on its own line after "Answer:".'


@dataclass(frozen=True, slots=True)
class Listed:
    """One split of a dataset that is known by name.

    Args:
        repository: Its id on the Hub.
        config: Its configuration there; None is the only one.
        split: What the Hub calls the split, which is often "train" for a benchmark.
        prompt: The column with the problem.
        answer: The column with the reference answer.
        rows: How many rows it has; another number is an error.
        licence: As its card or its source states it.
        files: What its file in `--data-dir` may be called, without suffix.
        clean: Mends the known defects of a problem and its answer.
        stream: Read column by column from the Hub: the other columns are gigabytes.
    """

    repository: str
    config: str | None
    split: str
    prompt: str
    answer: str
    rows: int
    licence: str
    files: tuple[str, ...]
    clean: Clean | None = None
    stream: bool = False


def clean_gsm8k(problem: str, answer: str) -> tuple[str, str]:
    """The number after the "####" that ends a worked solution, without the commas between its digits."""
    return problem, answer.rpartition("####")[2].strip().replace(",", "")


def clean_dapo(problem: str, answer: str) -> tuple[str, str]:
    r"""The problem without its wrapper, which asks for another form of answer, and without stray control characters.

    Whole prefix and suffix come off, never single characters of them: `lstrip` would eat into the problem. A form feed
    before "rac" was the \f of \frac; elsewhere it stands inside a word (the "fi" ligature of a scan) and only disturbs.
    """
    problem = problem.removeprefix(DAPO_PREFIX).removesuffix(DAPO_SUFFIX).replace("\x0crac", "\\frac")
    return re.sub(r"[\x00-\x08\x0b-\x1f]", "", problem), answer


def clean_math12k(problem: str, answer: str) -> tuple[str, str]:
    """The answer, but none where it is a time of day, which cannot be compared: such a row is left out."""
    return problem, "" if answer == "05\\!:\\!00" else answer


_MIT_MATH = "MIT (hendrycks/math)"
_MAA = "not stated on the card; problems © MAA"
_MATHARENA = "CC BY-NC-SA 4.0"


def _arena(name: str, repository: str, rows: int = 30) -> Mapping[Split, Listed]:
    found = Listed(f"MathArena/{repository}", None, "train", "problem", "answer", rows, _MATHARENA, (name,))
    return {"test": found}


def _gsm8k(split: Split, rows: int) -> Listed:
    files = (f"gsm8k_{split}", "gsm8k") if split == "test" else (f"gsm8k_{split}",)
    return Listed("openai/gsm8k", "main", split, "question", "answer", rows, "MIT", files, clean_gsm8k)


REGISTRY: Mapping[str, Mapping[Split, Listed]] = {
    "math12k": {
        "train": Listed(
            *("hiyouga/math12k", None, "train", "problem", "answer", 12_000, _MIT_MATH),
            files=("math12k",),
            clean=clean_math12k,
        )
    },
    "dapo17k": {
        # The original has each problem about 100 times (1,791,700 rows); this is the same, once.
        "train": Listed(
            *("open-r1/DAPO-Math-17k-Processed", "all", "train", "prompt", "solution", 17_398, "Apache-2.0"),
            files=("dapo17k",),
            clean=clean_dapo,
        )
    },
    "deepmath103k": {
        "train": Listed(
            *("zwhe99/DeepMath-103K", None, "train", "question", "final_answer", 103_110, "MIT"),
            files=("deepmath103k", "deepmath"),
            stream=True,
        )
    },
    "gsm8k": {"train": _gsm8k("train", 7_473), "test": _gsm8k("test", 1_319)},
    "math500": {
        "test": Listed(
            *("HuggingFaceH4/MATH-500", None, "test", "problem", "answer", 500, _MIT_MATH), files=("math500",)
        )
    },
    "aime24": {
        "test": Listed("HuggingFaceH4/aime_2024", None, "train", "problem", "answer", 30, _MAA, ("aime24",)),
    },
    "aime25": _arena("aime25", "aime_2025"),
    "hmmt_feb24": _arena("hmmt_feb24", "hmmt_feb_2024"),
    "hmmt_feb25": _arena("hmmt_feb25", "hmmt_feb_2025"),
    "cmimc25": _arena("cmimc25", "cmimc_2025", 40),
    "brumo25": _arena("brumo25", "brumo_2025"),
    "amc23": {"test": Listed("math-ai/amc23", None, "test", "question", "answer", 40, _MAA, ("amc23",))},
}
"""Name -> split -> where it is."""


def listed(name: str, split: Split) -> tuple[Split, Listed]:
    """The split asked for of a dataset in REGISTRY, or the only one it has."""
    splits = REGISTRY[name]
    found = split if split in splits else next(iter(splits))
    return found, splits[found]

"""Training problems that are also in a benchmark, found by the runs of words that they share."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

SHINGLE = 8
"""Words in a run."""
THRESHOLD = 0.6
"""Share of a benchmark problem's runs that one training problem has to have."""


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    r"""The runs of SHINGLE words of a text; a shorter text is one run.

    Words are runs of letters or of digits in lower case, without LaTeX commands: so \dfrac{3}{4} and \frac34 are alike.
    """
    words = re.findall(r"[a-z]+|[0-9]+", re.sub(r"\\[a-zA-Z]+", " ", text).lower())
    runs = [tuple(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))]
    return frozenset(run for run in runs if run)


def overlaps(
    training: Sequence[str], benchmarks: Mapping[str, Sequence[str]]
) -> dict[str, dict[int, dict[int, float]]]:
    """Which training problems cover which problems of some benchmarks.

    Args:
        training: Texts of the training problems.
        benchmarks: Name -> texts of its problems.

    Returns:
        Name -> position in the benchmark -> position in `training` -> share of the benchmark problem's runs that are in
        it, for shares of THRESHOLD and above.
    """
    wanted = {(name, position): shingles(text) for name, own in benchmarks.items() for position, text in enumerate(own)}
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for place, runs in wanted.items():
        for run in runs:
            places[run].append(place)
    found: dict[str, dict[int, dict[int, float]]] = {name: {} for name in benchmarks}
    for position, text in enumerate(training):
        shared = Counter(place for run in shingles(text) & places.keys() for place in places[run])
        for (name, other), count in shared.items():
            share = count / len(wanted[name, other])
            if share >= THRESHOLD:
                found[name].setdefault(other, {})[position] = share
    return found

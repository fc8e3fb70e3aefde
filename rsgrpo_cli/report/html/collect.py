"""Everything that the page shows, as one JSON object made from what is on disk."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rsgrpo_cli import __version__
from rsgrpo_cli.errors import UsageError
from rsgrpo_cli.report.html import audits, groups, runs
from rsgrpo_cli.report.html.history import visits
from rsgrpo_cli.report.html.page import render
from rsgrpo_cli.report.html.passk import Measured
from rsgrpo_cli.report.html.places import Arm, Place, arms_of, find, runs_of
from rsgrpo_cli.report.html.problems import problems
from rsgrpo_cli.report.html.room import PAGE_BYTES, Room, Texts
from rsgrpo_cli.report.measuring import measure_command
from rsgrpo_cli.report.sweeps import each_run
from rsgrpo_cli.run.staleness import stale_evaluation

SHARES = {"groups": 0.3, "tokens": 0.2, "visits": 0.1}
"""How much of the room each part may fill; the rest is for the completions of evaluations."""
MARGIN = 20_000
"""Bytes that are kept free: numbers of bytes are estimates until the page is made."""


def page(names: Sequence[str], benchmark: str | None = None, baseline: str | None = None) -> bytes:
    """The page about some runs.

    Args:
        names: "[LABEL=]RUN[@POLICY]" each; a sweep stands for its runs.
        benchmark: The benchmark, needed only where a run has several.
        baseline: Label of the policy that the others are compared with.

    Raises:
        MissingError: If a run is not there.
        UsageError: If it is not clear what is meant, or the evaluations cannot stand beside each other.
    """
    places = [find(name, benchmark) for name in each_run(names)]
    arms = arms_of(places)
    return render(_Page(places, arms, _command(names, benchmark, baseline), benchmark).data(baseline))


def _command(names: Sequence[str], benchmark: str | None, baseline: str | None) -> str:
    chosen = ["--benchmark", benchmark] if benchmark else []
    chosen += ["--baseline", baseline] if baseline else []
    return shlex.join(["rsgrpo", "report", *names, *chosen, "--html", "report.html"])


class _Page:
    def __init__(self, places: Sequence[Place], arms: Sequence[Arm], command: str, benchmark: str | None) -> None:
        self.places, self.command, self.benchmark = places, command, benchmark
        self.runs = runs_of(places)
        # Arms with an evaluation come first: their numbers are those of the comparison.
        self.arms = [arm for arm in arms if arm.evaluations] + [arm for arm in arms if not arm.evaluations]
        with_evaluation = [arm for arm in self.arms if arm.evaluations]
        self.measured = Measured(with_evaluation) if with_evaluation else None

    def data(self, baseline: str | None) -> dict[str, Any]:
        data = self._frame(self._baseline(baseline))
        room = PAGE_BYTES - MARGIN - len(render(data | _EMPTY))
        texts, statuses = Texts(), list[str]()
        share = {name: Room(int(max(room, 0) * part)) for name, part in SHARES.items()}
        data["groups"] = groups.shown(self.runs, texts, share["groups"], share["tokens"], statuses)
        each = share["visits"].left // max(len(self.runs), 1)
        data["visits"] = [visits(run, Room(each)) for run in self.runs]
        left = Room(PAGE_BYTES - MARGIN - len(render(data | {"problems": None, "texts": texts.listed})))
        if self.measured:
            data["problems"] = problems(self.measured, data["baseline"], texts, left, statuses)
        return data | {"texts": texts.listed, "statuses": statuses}

    def _frame(self, baseline: int) -> dict[str, Any]:
        """All that is small."""
        measured = self.measured
        return {
            "title": " · ".join(arm.label for arm in self.arms),
            "version": __version__,
            "command": self.command,
            "arms": [self._arm(number, arm) for number, arm in enumerate(self.arms)],
            "baseline": baseline,
            "benchmark": self._benchmark(),
            "pairs": measured.pairs(baseline) if measured and len(measured.arms) > 1 else {},
            "missing": [[place.name, self._measure(place)] for place in self.places if not place.evaluation],
            "stale": _stale(self.places),
            "curves": runs.curves(self.arms),
            "runs": [runs.about(run) for run in self.runs],
            "settings": runs.settings(self.runs),
            "audits": audits.shown(self.runs),
            "problems": None,
        }

    def _measure(self, place: Place) -> str:
        """The command that evaluates a place: on what the others are, as only that can stand beside them."""
        one = self.measured.first if self.measured else None
        return measure_command(
            place.run, place.policy, self.benchmark, (one.run, one.version, one.benchmark) if one else None
        )

    def _arm(self, number: int, arm: Arm) -> dict[str, Any]:
        own = arm.evaluations
        return {
            "label": arm.label,
            "base": arm.is_base,
            "runs": [self.runs_at(place) for place in arm.places],
            "policies": [one.version for one in own],
            "seeds": len(own),
            "samples": own[0].num_samples if own else None,
            "curve": self.measured.curve(number) if self.measured and own else [],
        }

    def runs_at(self, place: Place) -> int | None:
        """The number of a place's run among those of the page."""
        paths = [run.path.resolve() for run in self.runs]
        return paths.index(place.run.path.resolve()) if place.run.path.resolve() in paths else None

    def _benchmark(self) -> dict[str, Any] | None:
        if self.measured is None:
            return None
        one = self.measured.first
        return {
            "name": one.benchmark,
            "problems": len(self.measured.ids),
            "samples": self.measured.samples,
            "seeds": self.measured.seeds,
            "graded": self.measured.graded,
            "ks": self.measured.ks,
            "temperature": one.sampling.get("temperature"),
            "verifier": one.verifier,
        }

    def _baseline(self, label: str | None) -> int:
        """The arm that the others are compared with: as named; else the first trained one of several, or the base."""
        arms = self.measured.arms if self.measured else []
        labels = [arm.label for arm in arms]
        if label is not None:
            if label not in labels:
                have = ", ".join(labels) or "none is evaluated yet"
                raise UsageError(f"no policy here is called {label!r}", f"--baseline takes one of: {have}")
            return labels.index(label)
        trained = [number for number, arm in enumerate(arms) if not arm.is_base]
        bases = [number for number, arm in enumerate(arms) if arm.is_base]
        if not arms:
            return 0
        return trained[0] if len(trained) > 1 or not bases else bases[0]


_EMPTY: dict[str, Any] = {
    "groups": {"steps": [], "pieces": [], "spelled": [], "notes": []},
    "visits": [],
    "texts": [],
    "statuses": [],
}


def _stale(places: Sequence[Place]) -> list[str]:
    shown = [place.evaluation for place in places if place.evaluation is not None and place.evaluation.stale]
    told = [stale_evaluation(one.run, one.version, one.benchmark) for one in shown]
    return [text for text in dict.fromkeys(told) if text]

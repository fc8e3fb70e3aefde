"""The page's section about second graders: what each decides otherwise than a run's rewards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from rsgrpo_cli.report.audits import Audit, audits_of_evaluations, audits_of_steps, folded, more_generous
from rsgrpo_cli.report.html.room import cut
from rsgrpo_cli.run.run_dir import RunDir

MOST_AUDITS, MOST_ROWS = 8, 30
"""Comparisons of a run's evaluations and of its steps that are shown, the newest first; and different disagreements
of each."""
_HEAD, _TAIL = 120, 40


def shown(runs: Sequence[RunDir]) -> list[dict[str, Any]]:
    """The comparisons of all runs."""
    return [
        {"run": number} | _one(audit)
        for number, run in enumerate(runs)
        for audit in chain(*(islice(made(run), MOST_AUDITS) for made in (audits_of_evaluations, audits_of_steps)))
    ]


def _one(audit: Audit) -> dict[str, Any]:
    kinds, more = folded(audit.table), more_generous(audit.table.to_pylist())
    return {
        "of": audit.of,
        "again": audit.again,
        "grader": audit.grader,
        "compared": audit.compared,
        "current": audit.current,
        "more": more,
        "less": len(audit.table) - more,
        "kinds": len(kinds),
        "rows": [
            [one.count, _short(one.ground_truth), _short(one.answer), one.verdict, one.second, one.completion]
            for one in kinds[:MOST_ROWS]
        ],
    }


def _short(text: str) -> Any:
    return cut(text, _HEAD, _TAIL)

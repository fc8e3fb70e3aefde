"""Prompts by visits: how often each training prompt was solved each time it was drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow.compute as pc

from rsgrpo_cli.report.html.room import Room, cost
from rsgrpo_cli.rewards.verdicts import COLUMNS, right
from rsgrpo_cli.run.run_dir import RunDir
from rsgrpo_cli.run.step_dir import Step
from rsgrpo_cli.wording import plural, verb

MOST_STEPS = 2000
"""Steps that are read, the newest."""
LEARNT, FORGOTTEN, NEVER, ALWAYS, MIXED, ONCE = "learnt", "forgotten", "never", "always", "mixed", "once"
KINDS = (LEARNT, FORGOTTEN, NEVER, ALWAYS, MIXED, ONCE)


def visits(run: RunDir, room: Room) -> dict[str, Any]:
    """The prompts of a run with their visits, and how many there are of each kind.

    Returns:
        "prompts": rows of prompt_id, kind, and [step, right, completions] for each visit; "kinds": counts over all
        prompts; "by_visit": [none right, some right, all right] of the first visits, the second ones and so on; and
        "notes". Only "notes" where there is nothing to show.
    """
    steps = [step for step in run.steps() if Step(run, step).rewards]
    notes = [f"only the newest {MOST_STEPS} of {len(steps)} steps are read"] if len(steps) > MOST_STEPS else []
    found: dict[str, list[list[int]]] = defaultdict(list)
    for step in steps[-MOST_STEPS:]:
        counted = _counts(run, step)
        if counted is None:
            return {"notes": ["Rewards are grades here, which are neither right nor wrong."]}
        for prompt_id, (hits, total) in counted.items():
            found[prompt_id].append([step, hits, total])
    kinds = {prompt_id: kind(own) for prompt_id, own in found.items()}
    order = sorted(found, key=lambda prompt_id: (KINDS.index(kinds[prompt_id]), -len(found[prompt_id]), prompt_id))
    rows = [[prompt_id, kinds[prompt_id], found[prompt_id]] for prompt_id in order]
    kept = [row for row in rows if room.take(cost(row))]
    if len(kept) < len(rows):
        less = len(rows) - len(kept)
        told = f"{less:,} of {len(rows):,} {plural(len(rows), 'prompt')} {verb(less, 'is')} left out of the list"
        notes.append(f"{told}; all are counted")
    counts = Counter(kinds.values())
    return {"prompts": kept, "kinds": [counts[name] for name in KINDS], "by_visit": _by_visit(found), "notes": notes}


def kind(own: list[list[int]]) -> str:
    """What became of a prompt, from its visits in order: [step, right, completions] each.

    learnt: none right at first, some at the last visit; forgotten: some right before, none at the last visit; never:
    none right in two visits or more; always: all right at each; once: visited only once; mixed: all others.
    """
    if len(own) < 2:
        return ONCE
    hits = [right for _, right, _ in own]
    if not any(hits):
        return NEVER
    if not hits[-1]:
        return FORGOTTEN
    if not hits[0]:
        return LEARNT
    return ALWAYS if all(right == total for _, right, total in own) else MIXED


def _counts(run: RunDir, step: int) -> dict[str, tuple[int, int]] | None:
    """Right and all completions of each prompt of a step; None where rewards are grades."""
    table = Step(run, step).rewards.table(["group_id", *COLUMNS])
    verdicts = right(table)
    if verdicts is None:
        return None
    groups = pc.dictionary_encode(table["group_id"].combine_chunks())
    codes = groups.indices.to_numpy()
    names = groups.dictionary.to_pylist()
    total = np.bincount(codes, minlength=len(names)).tolist()
    hits = np.bincount(codes, weights=verdicts.to_numpy().astype(float), minlength=len(names)).astype(int).tolist()
    return {name.partition(":")[2]: (hits[at], total[at]) for at, name in enumerate(names)}


def _by_visit(found: dict[str, list[list[int]]]) -> list[list[int]]:
    made: list[list[int]] = []
    for own in found.values():
        for number, (_, hits, total) in enumerate(own):
            if number == len(made):
                made.append([0, 0, 0])
            made[number][0 if not hits else 2 if hits == total else 1] += 1
    return made

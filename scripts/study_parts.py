"""What the sections of docs/study.md share: the methods' names, the seeds that count, how a number is written."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from rsgrpo_cli.core.crossed_bootstrap import FloatArray, crossed_difference_interval
from rsgrpo_cli.errors import RsgrpoError
from rsgrpo_cli.studies.comparison import Entry
from rsgrpo_cli.studies.equal import AtEqual
from rsgrpo_cli.studies.figures.inputs import Choices
from rsgrpo_cli.studies.figures.kinds import kind_of
from rsgrpo_cli.studies.finding import find
from rsgrpo_cli.studies.groups import Group, group_results
from rsgrpo_cli.studies.labels import BASE
from rsgrpo_cli.studies.results import Result

KS = (1, 16, 64, 256, 1024)
NAMES = {
    BASE: "base model",
    "grpo": "GRPO",
    "grpo_own": "GRPO",
    "dr_grpo": "Dr. GRPO (beta 0)",
    "dr_grpo_own": "Dr. GRPO (beta 0)",
    "beta1": "RS-GRPO, beta 1",
    "beta1_own": "RS-GRPO, beta 1",
    "beta2": "RS-GRPO, beta 2",
    "beta2_own": "RS-GRPO, beta 2",
    "beta4": "RS-GRPO, beta 4",
    "beta4_own": "RS-GRPO, beta 4",
    "beta8": "RS-GRPO, beta 8",
    "beta8_own": "RS-GRPO, beta 8",
    "beta8_low": "RS-GRPO, beta 8",
    "beta16": "RS-GRPO, beta 16",
    "beta16_own": "RS-GRPO, beta 16",
    "grpo_small": "GRPO, half the learning rate",
    "grpo_kl": "GRPO, KL penalty 0.1",
    "grpo_kl_own": "GRPO, KL penalty 0.1",
    "grpo_entropy": "GRPO, entropy bonus 0.01",
    "grpo_entropy_own": "GRPO, entropy bonus 0.01",
    "grpo_entropy_kept": "GRPO, entropy kept at 0.6",
    "max_rl": "MaxRL",
    "max_rl_own": "MaxRL",
    "chen_passk": "Chen et al., k 4",
    "chen_own": "Chen et al., k 4",
    "pkpo": "PKPO (Walder & Karkhanis), k 4",
    "pkpo_own": "PKPO (Walder & Karkhanis), k 4",
    "mahdavi_passk": "Mahdavi et al., k 4",
    "mahdavi_own": "Mahdavi et al., k 4",
    "f_grpo": "F-GRPO, gamma 1",
    "f_grpo_own": "F-GRPO, gamma 1",
    "bbg": "BBG, k 4",
    "bbg_own": "BBG, k 4",
    "w_reinforce": "W-REINFORCE",
    "asym_grpo": "AsymGRPO",
    "asym_grpo_own": "AsymGRPO",
    "fade": "FADE",
    "curve_rl": "CurveRL",
    "curve_rl_own": "CurveRL",
    "frontier": "beta by the frontier",
    "frontier_sign": "beta by the frontier, FADE's signs",
    "solve_rate": "beta by the solve rate, 8 to 0",
    "entropy": "beta by the entropy, from 4",
    "per_prompt": "beta per prompt",
    "shrunk": "beta 4, earlier visits counted",
}
"""Labels of the sweeps' groups, in the order of the tables. What ends in _own is at a learning rate of its own, what
ends in _low at GRPO's."""


def in_order(groups: Sequence[Group]) -> list[Group]:
    """As in `NAMES`; what is not there comes last."""
    return sorted(groups, key=lambda group: [*NAMES, group.label].index(group.label))


def groups_in(folder: Path) -> list[Group]:
    """The groups of a sweep, cut to the seeds that all of its methods have."""
    groups = uncut(folder)
    return cut(groups, shared_seeds(groups))


def uncut(folder: Path) -> list[Group]:
    """The groups of a sweep, each with all of its seeds."""
    return group_results(find([str(folder)]))


def labelled(groups: Sequence[Group], *labels: str) -> list[Group]:
    """The groups of these labels, in their order."""
    by_label = {group.label: group for group in groups}
    return [by_label[label] for label in labels]


def joined(*sweeps: Sequence[Group]) -> list[Group]:
    """The groups of several sweeps; those of one label as one, which has each seed once."""
    members: dict[str, dict[int, Result]] = {}
    for group in (group for groups in sweeps for group in groups):
        known = members.setdefault(group.label, {})
        members[group.label] = {member.config.seed: member for member in group.members} | known
    return [Group(label, tuple(found[seed] for seed in sorted(found))) for label, found in members.items()]


def shared_seeds(groups: Sequence[Group]) -> set[int]:
    """The seeds that all groups have.

    Raises:
        RsgrpoError: If there is none.
    """
    shared = set.intersection(*(set(group.seeds) for group in groups))
    if not shared:
        sweeps = dict.fromkeys(member.sweep for group in groups for member in group.members)
        raise RsgrpoError(f"no seed is complete: {', '.join(sweeps)}", "let the sweep go on")
    return shared


def of_most_seeds(groups: Sequence[Group]) -> list[Group]:
    """The groups that have as many seeds as any; the others are on their way."""
    most = max(len(group.seeds) for group in groups)
    return [group for group in groups if len(group.seeds) == most]


def cut(groups: Sequence[Group], seeds: Container[int]) -> list[Group]:
    """The groups without other seeds."""
    return [
        replace(group, members=tuple(member for member in group.members if member.config.seed in seeds))
        for group in groups
    ]


def sampled_ks(groups: Sequence[Group], benchmark: str) -> list[int]:
    """The values of k for which every run has the samples, and as many as the one with the fewest has."""
    fewest = min(samples_of(group, benchmark) for group in groups)
    return sorted({*(k for k in KS if k <= fewest), fewest})


def problems_of(group: Group, benchmark: str) -> int:
    """How many problems a benchmark has."""
    return len(group.counts(benchmark)[0].n_M)


def samples_of(group: Group, benchmark: str) -> int:
    """How many samples every problem has at least."""
    return min(int(one.n_M.min()) for one in group.counts(benchmark))


def counted(seeds: Sequence[int]) -> str:
    """1 seed, 8 seeds."""
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def mean(group: Group, benchmark: str, k: int) -> float:
    """pass@k over problems and seeds."""
    return float(group.passed(benchmark, k).mean())


def last_entropy(group: Group) -> float:
    """Nats per token, over the last ten steps and the seeds."""
    return float(np.mean([row["entropy"] for member in group.members for row in member.metrics[-10:]]))


def figure(kind: str, name: str, groups: Sequence[Group], folder: Path, choices: Choices, alt: str) -> Iterator[str]:
    """Draw a figure into a folder and show it."""
    chosen, path = kind_of(kind), folder / f"{name}.svg"
    found = chosen.collect(groups, choices)
    chosen.draw(found, path)
    yield f"![{alt}]({folder.name}/{path.name})"
    yield ""
    yield found.caption
    yield ""


def signed(difference: float, low: float, high: float) -> str:
    """+0.012 [-0.003, +0.027]."""
    return f"{difference:+z.3f} [{low:+z.3f}, {high:+z.3f}]"


def difference(entry: Entry) -> str:
    """The difference that a table's entry has to the baseline."""
    assert entry.difference is not None
    assert entry.difference_low is not None
    assert entry.difference_high is not None
    return signed(entry.difference, entry.difference_low, entry.difference_high)


def difference_at_equal(found: AtEqual) -> str:
    """The difference at equal pass@1."""
    return signed(found.difference, found.interval.low, found.interval.high)


def above(after: FloatArray, before: FloatArray) -> str:
    """The mean of pass@k of shape (S, M), and its difference to another."""
    change, interval = (after - before).mean(), crossed_difference_interval([after], [before])
    return f"{after.mean():.3f} ({signed(change, interval.low, interval.high)})"


def with_its_rate(group: Group) -> Group:
    """A group that is called by its method and, where that is its own, its learning rate: GRPO, 1e-5."""
    own = f", {told_rate(group)}" if group.label.endswith(("_own", "_low")) else ""
    return replace(group, label=named(group.label) + own)


def told_rate(group: Group) -> str:
    """Its learning rate: 1e-5."""
    rate = group.members[0].config.update.learning_rate
    assert rate is not None
    return np.format_float_scientific(rate, trim="-", exp_digits=1)


def named(label: str) -> str:
    """A method as it is called on the page."""
    return NAMES.get(label, label)

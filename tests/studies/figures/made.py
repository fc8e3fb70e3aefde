"""Groups that are made by hand."""

from dataclasses import replace

import numpy as np

from rsgrpo_cli.studies.groups import Group
from rsgrpo_cli.studies.results import Counts, Result
from tests.studies.test_groups import counts, result


def group(label: str, *seeds: list[int], steps: int = 2, n: int = 4, **settings: object) -> Group:
    """One list of right answers per seed, of as many problems, of four samples unless told."""
    made = [
        replace(result(f"{label}-seed{seed}", seed, right, steps, **settings), evaluations=[counts(steps, right, n)])
        for seed, right in enumerate(seeds)
    ]
    return Group(label, tuple(made))


def base(*seeds: list[int], n: int = 4, **settings: object) -> Group:
    """The base model."""
    return group("base", *seeds, steps=0, n=n, **settings)


def also(one: Group, *more: Counts) -> Group:
    """A group every member of which has further evaluations."""

    def extended(member: Result) -> Result:
        found = sorted([*member.evaluations, *more], key=lambda each: each.policy)
        return replace(member, evaluations=found)

    return Group(one.label, tuple(extended(member) for member in one.members))


def at(interpolation: float, policy: int, right: list[int], n: int = 4) -> Counts:
    """An evaluation of weights between the base model's and a policy's."""
    size = len(right)
    ids = tuple(f"p{number}" for number in range(size))
    ones = np.ones(size, dtype=int)
    return Counts(policy, "toy", "id", ids, np.full(size, n), np.array(right), ones, interpolation)

"""What the arguments of `report --html` and `view` name: runs, their evaluations, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from rsgrpo_cli.config import RunConfig
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.report import evaluations
from rsgrpo_cli.report.evaluations import Evaluation
from rsgrpo_cli.run import policies
from rsgrpo_cli.run.run_dir import RunDir


@dataclass(frozen=True, slots=True)
class Place:
    """One argument.

    Args:
        text: As it was given.
        label: The label that was given with it, "" if none was.
        run: The run.
        evaluation: Its evaluation; None where it has none yet.
        policy: The policy that was named, None where none was.
    """

    text: str
    label: str
    run: RunDir
    evaluation: Evaluation | None
    policy: int | None = None

    @property
    def name(self) -> str:
        """What it is called where it has no evaluation: by its label, or its run and the policy that was named."""
        at = "" if self.policy is None else f"@{self.run.policy_name(self.policy)}"
        return self.label or f"{self.run.name}{at}"


@dataclass(frozen=True, slots=True)
class Arm:
    """Policies that are shown as one: the same settings with several seeds, or what the user gave one label.

    Args:
        label: What it is called.
        places: Its policies, one per seed.
    """

    label: str
    places: tuple[Place, ...]

    @property
    def evaluations(self) -> list[Evaluation]:
        """Those that there are."""
        return [place.evaluation for place in self.places if place.evaluation is not None]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs that were evaluated, in the order of `evaluations`."""
        return [place.run.config().seed for place in self.places if place.evaluation is not None]

    @property
    def is_base(self) -> bool:
        """Whether it is the model before training."""
        return all(one.version == 0 for one in self.evaluations) and bool(self.evaluations)


def find(text: str, benchmark: str | None) -> Place:
    """What "[LABEL=]RUN[@POLICY]" names; a run without an evaluation will do.

    Raises:
        MissingError: If there is no such run or policy.
        UsageError: If the run has several benchmarks and none was chosen.
    """
    label, where = evaluations.split_label(text)
    run, policy = evaluations.split(where)
    try:
        return Place(text, label, run, evaluations.find(where, benchmark, stale=True), policy)
    except MissingError:
        policies.require_known(run, policy or 0)
        return Place(text, label, run, None, policy)


def arms_of(places: Sequence[Place]) -> list[Arm]:
    """The places by arm, in the order given; the base model of the runs comes first if it was evaluated too."""
    found = [*_base(places), *places]
    keys = _without_repeated_seeds(found, [_key(place) for place in found])
    arms = []
    for key in dict.fromkeys(keys):
        members = tuple(place for place, own in zip(found, keys, strict=True) if own == key)
        arms.append(Arm(_label(members), members))
    return _distinct(arms)


def runs_of(places: Sequence[Place]) -> list[RunDir]:
    """The runs, each once."""
    return list({place.run.path.resolve(): place.run for place in places}.values())


def _base(places: Sequence[Place]) -> list[Place]:
    """The base model, evaluated on what the others were, where nobody named it: once for each seed of the runs.

    The seed of a run decides the samples: those of two runs with one seed would be the same.
    """
    shown = [place.evaluation for place in places if place.evaluation is not None]
    if not shown or any(one.version == 0 for one in shown):
        return []
    found: dict[int, Place] = {}
    for one in shown:
        seed = one.run.config().seed
        if seed not in found and one.benchmark in one.run.benchmarks_of(0):
            base = evaluations.find(f"{one.run.path}@0", one.benchmark, stale=True)
            if base.benchmark_id == one.benchmark_id and base.is_graded == one.is_graded:
                found[seed] = Place(f"{one.run.path}@0", "base model", one.run, base)
    return list(found.values())


def _key(place: Place) -> tuple[object, ...]:
    if place.label:
        return ("label", place.label)
    version = place.evaluation.version if place.evaluation else None
    if version == 0:
        return ("base", place.run.config().model.name)
    return ("settings", version, place.run.beside, _without_seed(place.run.config()))


def _without_repeated_seeds(places: Sequence[Place], keys: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """The keys; places that share one without a label, and a seed too, are not one method: each stands alone."""
    seeds: dict[tuple[object, ...], list[int]] = {}
    for place, key in zip(places, keys, strict=True):
        seeds.setdefault(key, []).append(place.run.config().seed)
    repeated = {key for key, own in seeds.items() if key[0] == "settings" and len(set(own)) < len(own)}
    return [(*key, number) if key in repeated else key for number, key in enumerate(keys)]


def _without_seed(config: RunConfig) -> str:
    alike = {
        "seed": 0,
        "train": config.train.model_copy(update={"steps": 1, "tracker": ()}),
        "eval": type(config.eval)(),
    }
    return config.model_copy(update=alike).model_dump_json()


def _label(members: Sequence[Place]) -> str:
    first = members[0]
    name = first.label or (first.evaluation.label if first.evaluation else first.name)
    if len(members) > 1 and not first.label:
        shared = _SEED.sub("", _shared(members)) or first.run.name
        policy = f"@{first.run.policy_name(first.evaluation.version)}" if first.evaluation else ""
        name = f"{shared}{policy}, {len(members)} seeds"
    stale = " (stale)" if any(one.evaluation and one.evaluation.stale for one in members) else ""
    return f"{name}{stale}"


def _shared(members: Sequence[Place]) -> str:
    """What the names of the runs begin with."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*(one.run.name for one in members), strict=False))
    return "".join(letters[0] for letters in alike)


_SEED = re.compile(r"[-_. ]*(seed|s)?[-_. =]*0*$")
"""What stands before the number of a seed at the end of a run's name."""


def _distinct(arms: list[Arm]) -> list[Arm]:
    """The arms with labels of which no two are the same."""
    seen: dict[str, int] = {}
    made = []
    for arm in arms:
        seen[arm.label] = seen.get(arm.label, 0) + 1
        number = seen[arm.label]
        made.append(arm if number == 1 else replace(arm, label=f"{arm.label} [{number}]"))
    return made

"""What is missing, current, made with other settings, or stale: of a step, and of the evaluations.

Reads footers only. An artifact is stale once something that it was made from has been replaced. LINKS lists what a step
makes from what. Everybody who reads an evaluation asks here first: it belongs to the weights that it was made with.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rsgrpo_cli.artifacts import Lineage, combined_id, read_lineage
from rsgrpo_cli.errors import ArtifactError, MissingError, StaleError
from rsgrpo_cli.footers import remake
from rsgrpo_cli.part_names import sample_range
from rsgrpo_cli.run.identity import read_identity
from rsgrpo_cli.run.run_commands import command, eval_command
from rsgrpo_cli.run.run_dir import WHOLE, RunDir
from rsgrpo_cli.run.step_dir import CHAIN, STAGES, Step, part_files
from rsgrpo_cli.schemas import PROBLEMS, PROMPTS, REWARDS, ROLLOUTS, SUMMARY, ArtifactSchema

SAMPLED, GRADED = "rollouts", "rewards"
"""Directories of an evaluation: its part files."""


class Freshness(StrEnum):
    """How an artifact on disk relates to what would be made now."""

    MISSING = "missing"
    CURRENT = "current"
    OTHER_SETTINGS = "other settings"
    STALE = "stale"  # made from inputs that have been replaced since


def freshness(path: Path, kind: ArtifactSchema, wanted: Lineage) -> Freshness:
    """How the artifact at `path` relates to one made now from `wanted`'s inputs and settings."""
    if not path.is_file():
        return Freshness.MISSING
    found = read_lineage(path, kind)
    same = found.config_hash == wanted.config_hash
    # Other settings may have other inputs: an estimator that looks back is given the steps before.
    roles = found.inputs.keys() | wanted.inputs.keys() if same else found.inputs.keys() & wanted.inputs.keys()
    if any(found.inputs.get(role) != wanted.inputs.get(role) for role in roles):
        return Freshness.STALE
    return Freshness.CURRENT if same else Freshness.OTHER_SETTINGS


# -- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """One artifact of a step, and one input that it is made from.

    Args:
        what: The artifact, one of CHAIN.
        role: What its lineage calls the input.
        current: The id of that input as it is now; None where that cannot be told.
    """

    what: str
    role: str
    current: Callable[[Step], str | None]


LINKS = (
    Link("rollouts", "prompts", lambda step: step.prompts_id),
    Link("rollouts", "policy", lambda step: step.policy_id),
    Link("rewards", "rollouts", lambda step: step.scored_id),
    Link("advantages", "rewards", lambda step: step.rewards.id if step.rewards else None),
    Link("advantages", "history", lambda step: step.history_id),
    Link("updates", "advantages", lambda step: step.advantages.id if step.advantages else None),
)


@dataclass(frozen=True, slots=True)
class Stale:
    """Something in a step that was made from what has been replaced since.

    Args:
        what: The artifact: one of CHAIN, or "history".
        role: What its lineage calls the input.
        sentence: The same in words.
    """

    what: str
    role: str
    sentence: str


def stale_inputs(run: RunDir, step: int, upto: str = "updates") -> list[str]:
    """What of a step was made from something that has been replaced since, as sentences; empty if nothing was.

    Compares ids in footers only. Settings are not compared: a single stage may be run with its own.

    Args:
        run: The run.
        step: The step.
        upto: The last artifact of CHAIN to look at.
    """
    return [stale.sentence for stale in stale_links(run, step, upto)]


def stale_links(run: RunDir, step: int, upto: str = "updates", *, apart_from: Collection[str] = ()) -> list[Stale]:
    """`stale_inputs`, each with the artifact and the input that it is about.

    Args:
        run: The run.
        step: The step.
        upto: The last artifact of CHAIN to look at.
        apart_from: Artifacts and inputs that are not compared with anything: what is known to be damaged.
    """
    found = Step(run, step)
    problems = []
    for link in LINKS[: _links_upto(upto)]:
        if {link.what, link.role} & {*apart_from}:
            continue
        artifact = found.artifact(link.what)
        current = link.current(found) if artifact else None
        if current is not None and artifact.made_from(link.role) != current:
            sentence = f"the {link.what} of step {step} were made from {_other(link.role)}"
            problems.append(Stale(link.what, link.role, sentence))
    if upto in ("advantages", "updates") and not {"history", "advantages"} & {*apart_from} and found.history_id:
        problems += [stale for stale in _stale_history(found) if stale.role not in apart_from]
    return problems + ([] if {"rollouts", "rewards"} & {*apart_from} else _scored_in_part(found, upto))


def is_of_what_is_there(run: RunDir, step: int, what: str) -> bool:
    """Whether an artifact of a step was made from what is there now, as far as that can be told.

    Args:
        run: The run.
        step: The step.
        what: The artifact, one of CHAIN.
    """
    found = Step(run, step)
    made, links = found.artifact(what), [link for link in LINKS if link.what == what]
    return not made or all(link.current(found) in (None, made.made_from(link.role)) for link in links)


def history_inputs(step: Step) -> dict[str, str]:
    """What the history of the step after this one is made from, beside this one's own.

    The policy stands for the update: it is known by what it was made of, so that an update that is repeated after a
    crash is the same although a GPU rounds differently.

    Raises:
        MissingError: If the step has no rewards or no update.
    """
    return {"rewards": step.rewards.id, "policy": step.updates.first.outputs["policy"]}


def is_sound_history(run: RunDir, step: int) -> bool:
    """Whether the history of a step is what the step before came to, as far as that is there."""
    return not _stale_history(Step(run, step))


def _stale_history(step: Step) -> list[Stale]:
    """What of the step before was replaced since the history of a step was made."""
    if step.number == 0:
        return []
    before = Step(step.run, step.number - 1)
    current = {
        "history": before.history.id if before.history else None,
        "rewards": before.rewards.id if before.rewards else None,
        "policy": step.policy_id,
    }
    return [
        Stale(
            "history", role, f"the history of step {step.number} was made from {_other(role)} of step {before.number}"
        )
        for role, id_now in current.items()
        if id_now is not None and step.history.made_from(role) != id_now
    ]


def _other(role: str) -> str:
    return f"another {role}" if role in ("policy", "history") else f"other {role}"


def _links_upto(what: str) -> int:
    return sum(CHAIN.index(link.what) <= CHAIN.index(what) for link in LINKS)


def _scored_in_part(step: Step, upto: str) -> list[Stale]:
    """Rewards of only some rollouts are unfinished; they are stale as soon as something is made from them."""
    used = upto == "rewards" or (upto != "rollouts" and step.advantages)
    if not used or not step.rewards or step.scored_id is None or step.scored in (0, len(step.rollouts.paths)):
        return []
    return [Stale("rewards", "rollouts", f"the rewards of step {step.number} are of only some of its rollouts")]


def require_fresh(run: RunDir, step: int, upto: str) -> None:
    """Refuse to build on something stale.

    Raises:
        StaleError: Saying what is stale and what to do about it.
    """
    problems = stale_inputs(run, step, upto)
    if problems:
        raise StaleError(
            problems[0],
            f"run that stage again with --force, or branch off: rsgrpo fork NEW --run {run.path} --step {step}",
        )


def decide(state: Freshness, path: Path, *, dependents: Sequence[Path], force: bool, tagged: bool = True) -> bool:
    """Whether an artifact has to be made.

    Args:
        state: How what is there relates to what would be made now.
        path: Where it is or would be.
        dependents: Artifacts that would be made from it; those that exist are at stake.
        force: Replace it whatever depends on it.
        tagged: Whether its command has a --tag.

    Returns:
        False if it is there, from the same inputs and settings.

    Raises:
        StaleError: If replacing it needs a decision.
    """
    at_stake = [dependent for dependent in dependents if dependent.exists()]
    if force:
        return True
    beside = "write beside it: --tag NAME; " if tagged else ""
    match state:
        case Freshness.CURRENT:
            return False
        case Freshness.STALE:
            keep = "keep both: --tag NAME; " if path.parent.name == "benchmarks" else ""
            raise StaleError(
                f"{path} was made from inputs that have been replaced since", f"{keep}make it again: {_again(path)}"
            )
        case Freshness.OTHER_SETTINGS if at_stake:
            branch = f"branch the run here: {_fork_at(path)}; " if path.parent.parent.name == "steps" else ""
            raise StaleError(
                f"{path} was made with other settings, and {_named(at_stake[0])} was made from it",
                f"{beside}{branch}replace it, which makes what follows stale: --force",
            )
    return True


def _again(path: Path) -> str:
    """The command that makes an artifact again; `train` has no --force."""
    name, _, tag = path.name.removesuffix(".parquet").partition(".")
    stage = STAGES.get("updates" if name == "update_metrics" else name)
    if stage is None:
        return "the same command with --force"
    tagged = ["--tag", tag] if tag else []
    return command(RunDir(path.parents[2]), stage, "--step", str(int(path.parent.name)), *tagged, "--force")


def _fork_at(path: Path) -> str:
    """The command that branches a run off before the step that an artifact belongs to."""
    return shlex.join(["rsgrpo", "fork", "NEW", "--run", str(path.parents[2]), "--step", str(int(path.parent.name))])


def _named(path: Path) -> str:
    """What is at stake in a few words: steps/000002, evals/000001/toy, advantages.parquet."""
    if path.suffix:
        return path.name
    inside = [part for part in path.parts[-3:] if part in ("steps", "evals")]
    return "/".join(path.parts[-3:][path.parts[-3:].index(inside[0]) :]) if inside else path.name


# -- evaluations ------------------------------------------------------------------------------------------------------


def evaluations(run: RunDir) -> list[tuple[int, str]]:
    """Policy version and name of every evaluation that was summed up."""
    return [(version, name) for version in run.evaluated() for name in run.benchmarks_of(version)]


def evaluation_parts(folder: Path, samples: int | None = None) -> list[Path]:
    """The part files of an evaluation's directory of samples or verdicts, in order; a user's own copies are not ours.

    Args:
        folder: `rollouts` or `rewards` of an evaluation.
        samples: Only those that hold some of the first so many samples of a problem.
    """
    named = [(path, sample_range(path.stem)) for path in part_files(folder)]
    return [path for path, held in named if held and (samples is None or held[0] < samples)]


def policy_id(run: RunDir, version: int) -> str | None:
    """The id of policy `version` as far as the run itself tells; None where nothing does."""
    if version:
        try:
            return run.policy_id(version, "")
        except MissingError:
            return None
    identity = read_identity(run.path)
    recorded = identity.base.get("weights") if identity else None
    first = Step(run, 0).rollouts
    return recorded or (first.first.inputs["policy"] if first else None)


def why_stale(run: RunDir, version: int, name: str, at: float = WHOLE) -> str | None:
    """Why an evaluation does not say what it seems to, None where it does.

    Args:
        run: The run.
        version: The policy.
        name: Of the evaluation: its benchmark, with its tag.
        at: Where on the line from the base model to the policy its weights are.
    """
    folder = run.evaluation(version, name, at)
    summary = read_lineage(folder / "summary.parquet", SUMMARY)
    if not (folder / "problems.parquet").is_file() or not _alike(
        summary, read_lineage(folder / "problems.parquet", PROBLEMS)
    ):
        return "was summed up only in part"
    samples = summary.config["num_samples"]
    if type(samples) is not int:
        path = folder / "summary.parquet"
        raise ArtifactError(f"{path} is damaged: its number of samples is not valid", remake(path))
    parts = evaluation_parts(folder / SAMPLED, samples)
    if not parts:
        return "has lost its samples"
    lineages = [read_lineage(path, ROLLOUTS) for path in parts]
    return _of_something_else(run, version, name, lineages) or _changed_since(folder, summary, parts, lineages)


def _alike(summary: Lineage, problems: Lineage) -> bool:
    return (dict(summary.inputs), summary.config_hash) == (dict(problems.inputs), problems.config_hash)


def _of_something_else(run: RunDir, version: int, name: str, parts: list[Lineage]) -> str | None:
    current = policy_id(run, version)
    if current is not None and any(part.inputs["policy"] != current for part in parts):
        return f"is of another policy {version}, which has been replaced since"
    identity = read_identity(run.path)
    accepted = identity.note if identity else {}
    if any(part.inputs.get("accepted") != accepted.get("accepted") for part in parts):
        return "was made before the base model was changed"
    prompts = run.benchmark(name)
    if prompts.is_file():
        current = read_lineage(prompts, PROMPTS).id
        if any(part.inputs["prompts"] != current for part in parts):
            return "is of other problems than the benchmark has now, or of the same ones worded differently"
    return None


def _changed_since(folder: Path, summary: Lineage, parts: list[Path], lineages: list[Lineage]) -> str | None:
    if summary.inputs[SAMPLED] != combined_id(lineage.id for lineage in lineages):
        return "has different samples from those that were summed up"
    graded = [folder / GRADED / path.name for path in parts]
    there = [path for path in graded if path.is_file()]
    if summary.inputs[GRADED] == combined_id(read_lineage(path, REWARDS).id for path in there):
        return None
    return "was graded again since it was summed up" if there == graded else "has lost verdicts that were summed up"


def stale_evaluation(run: RunDir, version: int, name: str, at: float = WHOLE) -> str | None:
    """`why_stale` as a sentence that ends in the way out."""
    why = why_stale(run, version, name, at)
    if why is None:
        return None
    again = eval_command(run, version, name, *place_flags(at), "--force", at=at)
    return f"the evaluation of {policy_at(run, version, at)} on {name} {why}: {again}"


def require_own(run: RunDir, version: int, name: str, at: float = WHOLE) -> None:
    """Refuse an evaluation that does not belong to the policy it is named after.

    Raises:
        StaleError: Saying why, and how to measure again.
    """
    why = why_stale(run, version, name, at)
    if why is not None:
        raise StaleError(
            f"run {run.name}: the evaluation of {policy_at(run, version, at)} on {name} {why}",
            f"measure again: {eval_command(run, version, name, *place_flags(at), '--force', at=at)}",
        )


def policy_at(run: RunDir, version: int, at: float = WHOLE) -> str:
    """A policy, or a place on the line to it from the base model, in words."""
    return f"policy {run.policy_name(version)}" + ("" if at == WHOLE else f" at {at:g}")


def place_flags(at: float) -> list[str]:
    """The flags of `eval` that name a place on the line."""
    return [] if at == WHOLE else ["--interpolate", f"{at:g}"]


def evaluations_of(run: RunDir, version: int) -> list[Path]:
    """The directories of a policy's own evaluations, those begun included: what is lost when it is replaced."""
    found = []
    for folder in sorted(run.evaluations(version).glob("*")):
        parts = evaluation_parts(folder / SAMPLED)
        current = policy_id(run, version)
        if parts and (current is None or read_lineage(parts[0], ROLLOUTS).inputs["policy"] == current):
            found.append(folder)
    return found

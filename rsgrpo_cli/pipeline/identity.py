"""What decides a run beside its settings, compared whenever it resumes: the base model's files, users' functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsgrpo_cli.artifacts import Lineage, hash_json, read_lineage
from rsgrpo_cli.errors import StaleError
from rsgrpo_cli.identity import Function, Identity, pinned, read_identity, write_identity
from rsgrpo_cli.models import model_directory, weights_id
from rsgrpo_cli.prompt_tokens import chat_template_id
from rsgrpo_cli.run_dir import RunDir
from rsgrpo_cli.schemas import REWARDS, ROLLOUTS
from rsgrpo_cli.staleness import GRADED, evaluation_parts, evaluations
from rsgrpo_cli.step_dir import Step, part_files

if TYPE_CHECKING:
    from rsgrpo_cli.pipeline.session import Session

ACCEPT = "--accept-changes"
_LABELS = {
    "weights": "weights",
    "config": "config.json",
    "tokenizer": "tokenizer",
    "chat_template": "chat template",
    "stop_tokens": "stop tokens (generation_config.json)",
}
"""What is compared, and what it is called."""
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json")
_IRRELEVANT = {"transformers_version", "_name_or_path", "dtype", "torch_dtype", "use_cache"}
"""Entries of config.json that change with whoever saved it, and decide nothing."""


# -- the base model ---------------------------------------------------------------------------------------------------


def base_facts(directory: Path, weights: str) -> dict[str, str | None]:
    """What of a base model decides its completions, by name; None where it has no such file.

    Args:
        directory: The model's.
        weights: Hash of its weights.
    """
    config = {name: value for name, value in _json(directory / "config.json").items() if name not in _IRRELEVANT}
    stops = _json(directory / "generation_config.json").get("eos_token_id")
    files = sorted(directory / name for name in _TOKENIZER if (directory / name).is_file())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return {
        "weights": weights,
        "config": hash_json(config),
        "tokenizer": hash_json([[path.name, digest] for path, digest in zip(files, digests, strict=True)]),
        "chat_template": chat_template_id(directory),
        "stop_tokens": None if stops is None else json.dumps(stops),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # whoever loads the model says what is wrong with it
        return {}
    return data if isinstance(data, dict) else {}


def check_base(session: Session) -> None:
    """Compare the base model with the one that the run was made with; record it where nothing is recorded yet.

    Raises:
        StaleError: If it has changed since and the changes are not to be accepted.
    """
    if "base" in session.checked:
        return
    found = base_facts(session.base, session.base_id)
    compare_base(session.run, session.config.model.name, session.base, found, accept=session.accept_changes)
    session.checked.add("base")


def check_base_of(run: RunDir, *, accept: bool) -> None:
    """`check_base` for who only reads the run; what it has not recorded stays so.

    Raises:
        StaleError: As `check_base`.
        MissingError: If the base model is not here.
    """
    model = run.config().model.name
    directory = model_directory(pinned(run.path, model))
    found = base_facts(directory, weights_id(directory))
    compare_base(run, model, directory, found, accept=accept, record=False)


def compare_base(
    run: RunDir, model: str, directory: Path, found: dict[str, str | None], *, accept: bool, record: bool = True
) -> None:
    """Compare what was found of a base model with what the run recorded, and record what it has not.

    Args:
        run: The run.
        model: Its base model's name.
        directory: Where that is.
        found: From `base_facts`.
        accept: Go on with what has changed, and say so in the log and in `identity.json`.
        record: Write down what was not recorded yet.

    Raises:
        StaleError: If something has changed and that is not accepted.
    """
    recorded = read_identity(run.path)
    if recorded is not None and recorded.base.get("model") != model:
        recorded = None  # of another model than the run has now
    known = dict(recorded.base) if recorded else _known_from_artifacts(run)
    changed = {name: (known[name], found[name]) for name in _LABELS if name in known and known[name] != found[name]}
    if changed and not accept:
        raise StaleError(_what_changed(run, model, changed), _ways_back(run, model, recorded))
    made = recorded or Identity({})
    if changed:
        changes = [{"name": name, "was": was, "is": now} for name, (was, now) in changed.items()]
        run.record({"stage": "accept-changes", "changes": changes})
        made = replace(made, accepted=(*made.accepted, *changes))
    revision = made.revision if recorded and not changed else _commit(directory)
    made = replace(made, base={"model": model, **found}, revision=revision)
    if made != recorded and (record or changed):
        write_identity(run.path, made)


def _known_from_artifacts(run: RunDir) -> dict[str, str | None]:
    """Of a run that recorded nothing: the weights that its first samples are from."""
    folders = [run.rollouts(0)]
    folders += [run.evaluation(version, name) / "rollouts" for version, name in evaluations(run) if version == 0]
    parts = [path for folder in folders for path in part_files(folder)[:1]]
    return {"weights": read_lineage(parts[0], ROLLOUTS).inputs["policy"]} if parts else {}


def _what_changed(run: RunDir, model: str, changed: dict[str, tuple[str | None, str | None]]) -> str:
    told = ", ".join(f"{_LABELS[name]} {was or 'none'}, now {now or 'none'}" for name, (was, now) in changed.items())
    return f"the base model {model} is not the one that run {run.name} was made with: {told}"


def _ways_back(run: RunDir, model: str, recorded: Identity | None) -> str:
    back = "put the old files back"
    if recorded is not None and recorded.revision:
        back = f"get the old files: hf download {model.partition('@')[0]} --revision {recorded.revision}"
    return f"{back}; or start a new run; to continue with the changed model: {ACCEPT}"


def _commit(directory: Path) -> str | None:
    """The commit of a model in the Hub's cache (models--OWNER--NAME/snapshots/COMMIT)."""
    return directory.name if directory.parent.name == "snapshots" else None


def accepted(session: Session) -> dict[str, str]:
    """For the lineage of what the base model decides: empty unless changes of it were accepted."""
    identity = read_identity(session.run.path)
    return identity.note if identity else {}


# -- the reward, the estimator ----------------------------------------------------------------------------------------


def check_reward(
    session: Session, name: str, identity: str, *, before: int | None = None, benchmark: str | None = None
) -> None:
    """Compare a reward with the one that the run's other rewards were made with.

    Only rewards of the same name are compared, and no step that a fork shares with its source: a fork may have others.

    Args:
        session: The run.
        name: The reward, as in the settings.
        identity: What it is now.
        before: Compare with the nearest step before this one; with the newest unless given.
        benchmark: Compare with the run's evaluations on this benchmark, too.

    Raises:
        StaleError: If it has changed and that is not to be accepted.
    """
    run = session.run
    if f"reward {identity}" in session.checked:
        return
    others = chain(_rewards_of_steps(run, before), _rewards_of_evaluations(run, benchmark))
    made = next((rewards for rewards in others if rewards.config.get("reward") == name), None)
    _compare_function(session, "reward", name, identity, made)


def check_estimator(session: Session, name: str, identity: str, *, before: int | None = None) -> None:
    """Compare a user's estimator with the one that the run's other advantages were made with, as `check_reward` does.

    Raises:
        StaleError: If it has changed and that is not to be accepted.
    """
    if f"estimator {identity}" in session.checked:
        return
    others = _advantages_of_steps(session.run, before)
    made = next((advantages for advantages in others if advantages.config.get("estimator") == name), None)
    _compare_function(session, "estimator", name, identity, made)


def _compare_function(session: Session, kind: Function, name: str, identity: str, made: Lineage | None) -> None:
    run = session.run
    recorded = read_identity(run.path)
    was = made.config.get("identity") if made else identity
    if was != identity and identity not in (recorded.accepted_functions(kind) if recorded else ()):
        if not session.accept_changes:
            raise StaleError(
                f"the {kind} {name} is not the one that run {run.name} was made with: {was}, now {identity}",
                f"put the old one back; branch off with the new one: rsgrpo fork NEW --run {run.path}; to continue "
                f"on purpose: {ACCEPT}",
            )
        changes = [{"name": f"{kind} {name}", "was": was, "is": identity}]
        run.record({"stage": "accept-changes", "changes": changes})
        kept = recorded or Identity({"model": session.config.model.name, **_known_from_artifacts(run)})
        write_identity(run.path, kept.with_function(kind, identity))
    session.checked.add(f"{kind} {identity}")


def keeps_its_rewards(run: RunDir, step: int, wanted: Lineage) -> bool:
    """Whether a step was scored and used before a changed reward was accepted: it stays as it is."""
    found = Step(run, step)
    if not found.rewards or not found.advantages:
        return False
    made = found.rewards.first
    inputs = {**made.inputs, "rollouts": str(found.rewards.made_from("rollouts"))}
    return _made_before_accepted(run, "reward", replace(made, inputs=inputs), wanted)


def keeps_its_advantages(run: RunDir, step: int, wanted: Lineage) -> bool:
    """Whether a step's advantages were made and used before a changed estimator was accepted: they stay as they are."""
    found = Step(run, step)
    used = bool(found.advantages and found.updates)
    return used and _made_before_accepted(run, "estimator", found.advantages.first, wanted)


def _made_before_accepted(run: RunDir, kind: Function, made: Lineage, wanted: Lineage) -> bool:
    identity = read_identity(run.path)
    if identity is None or wanted.config.get("identity") not in identity.accepted_functions(kind):
        return False
    same = dict(made.config) | {"identity": wanted.config["identity"]} == dict(wanted.config)
    return same and dict(made.inputs) == dict(wanted.inputs)


def _first_own_step(run: RunDir) -> int:
    origin = run.origin()
    return origin["step"] if origin else 0


def _own_steps(run: RunDir, before: int | None) -> Iterator[Step]:
    """The steps that the run does not share with the one that it was forked from, the newest first."""
    first = _first_own_step(run)
    return (Step(run, step) for step in reversed(run.steps()) if step >= first and (before is None or step < before))


def _rewards_of_steps(run: RunDir, before: int | None) -> Iterator[Lineage]:
    """The rewards of the run's own steps that something was made from, the newest first."""
    for step in _own_steps(run, before):
        if step.rewards and step.advantages:
            yield step.rewards.first


def _advantages_of_steps(run: RunDir, before: int | None) -> Iterator[Lineage]:
    """The advantages of the run's own steps that a policy was made from, the newest first."""
    for step in _own_steps(run, before):
        if step.advantages and step.updates:
            yield step.advantages.first


def _rewards_of_evaluations(run: RunDir, benchmark: str | None) -> Iterator[Lineage]:
    first = _first_own_step(run) if run.origin() else -1
    own = [(version, name) for version, name in evaluations(run) if name == benchmark and version > first]
    for version, name in reversed(own):
        for path in evaluation_parts(run.evaluation(version, name) / GRADED)[:1]:
            yield read_lineage(path, REWARDS)

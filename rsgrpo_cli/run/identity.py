"""What a run was made with, beyond its settings: `identity.json`, so that it can be compared when the run resumes.

    {"version": 1, "base": {"model": NAME, "weights": ID, ...}, "revision": COMMIT, "accepted": [...], "rewards": [...],
     "estimators": [...], "place": DIR}

`base` holds what of the base model's files decides its completions. `accepted` are the changes of it that the user
accepted on purpose, each {"name", "was", "is"}; `rewards` and `estimators` the identities of changed functions that
were accepted so. `place` is there where the model was found elsewhere than its name says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

from rsgrpo_cli.artifacts import hash_json, read_json, write_json
from rsgrpo_cli.errors import ArtifactError, UsageError

FILE = "identity.json"
Function = Literal["reward", "estimator"]
"""What may be a function of the user's own."""
VERSION = 1
_HINT = "put the file back as it was; without it, what the run was made with is recorded again"


@dataclass(frozen=True, slots=True)
class Identity:
    """The content of `identity.json`.

    Args:
        base: "model", its name, and by name the ids of what decides: "weights", "config", "tokenizer",
            "chat_template", "stop_tokens", "generation_config" (but for these), "tokenizer_config"; None where the
            model has no such thing. Older runs have fewer.
        revision: The commit of a model on the Hub.
        accepted: Changes of the base that were accepted, in order.
        rewards: Identities of changed rewards that were accepted.
        estimators: The same of estimators.
        place: The directory that the model is in since it or the run was moved.
    """

    base: Mapping[str, str | None]
    revision: str | None = None
    accepted: Sequence[Mapping[str, str | None]] = field(default_factory=tuple)
    rewards: Sequence[str] = field(default_factory=tuple)
    estimators: Sequence[str] = field(default_factory=tuple)
    place: str | None = None

    def accepted_functions(self, kind: Function) -> Sequence[str]:
        """The identities of changed rewards, or estimators, that were accepted."""
        return self.rewards if kind == "reward" else self.estimators

    def with_function(self, kind: Function, identity: str) -> Identity:
        """The same with another one accepted."""
        if kind == "reward":
            return replace(self, rewards=(*self.rewards, identity))
        return replace(self, estimators=(*self.estimators, identity))

    @property
    def note(self) -> dict[str, str]:
        """For the inputs of what belongs to the weights: empty unless a change of the base was accepted."""
        return {"accepted": hash_json([dict(change) for change in self.accepted])} if self.accepted else {}


def read_identity(run: Path) -> Identity | None:
    """What a run recorded, None where it has no such file.

    Raises:
        ArtifactError: If the file is damaged.
    """
    path = run / FILE
    if not path.is_file():
        return None
    data = read_json(path, version=int, base=dict)
    if data["version"] != VERSION:
        raise ArtifactError(f"{path} was written by another version of rsgrpo", _HINT)
    accepted, revision, place = data.get("accepted", []), data.get("revision"), data.get("place")
    functions = [data.get(name, []) for name in ("rewards", "estimators")]
    fits = _texts(data["base"]) and isinstance(accepted, list) and all(_texts(change) for change in accepted)
    for names in functions:
        fits = fits and isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not fits or not all(text is None or isinstance(text, str) for text in (revision, place)):
        raise ArtifactError(f"{path} is damaged", _HINT)
    rewards, estimators = functions
    return Identity(data["base"], revision, tuple(accepted), tuple(rewards), tuple(estimators), place)


def write_identity(run: Path, identity: Identity) -> None:
    """Record what a run is made with."""
    content = asdict(identity)
    if identity.place is None:  # of hardly any run
        del content["place"]
    write_json(run / FILE, {"version": VERSION, **content})


def pinned(run: Path, model: str) -> str:
    """The name under which to look for a run's base model: where it was moved, with the run's own commit on the Hub.

    A run stays with the commit that it was created with, whatever is pushed to the Hub later.

    Args:
        run: The run directory.
        model: The model's name in the settings; if that has a revision, it stays as it is.
    """
    identity = read_identity(run)
    if identity is None or identity.base.get("model") != model:
        return model
    if identity.place and Path(identity.place).is_dir():
        return identity.place
    on_hub = model.count("/") == 1 and "@" not in model and not Path(model).is_dir()
    return f"{model}@{identity.revision}" if identity.revision and on_hub else model


def refuse_unasked(run: Path, kind: Function, name: str, *, has_flag: bool = True) -> NoReturn:
    """Refuse to call a user's function that only a run's configuration names.

    Args:
        run: The run.
        kind: What the function is.
        name: Its name.
        has_flag: Whether the command has a flag that names such a function.

    Raises:
        UsageError: Saying how to have it called.
    """
    raise UsageError(
        f"run {run.resolve().name} is set to call the {kind} function {name}, and a run directory is data: nothing "
        "that it names is run unasked",
        "if you know the function: the same command with --trust" + (f", or with --{kind} {name}" if has_flag else ""),
    )


def _texts(values: Any) -> bool:
    return isinstance(values, dict) and all(value is None or isinstance(value, str) for value in values.values())

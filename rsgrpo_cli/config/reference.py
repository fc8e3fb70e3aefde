"""Each setting as help and docs show it: type, default, limits, help text and flag, read from the configuration models.

The command line's flags, docs/settings.md and the error about an unknown setting are all made from this.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from rsgrpo_cli.config.base import Flag, StageConfig
from rsgrpo_cli.config.estimators import VARIANTS, EstimatorConfig, RsGrpoConfig
from rsgrpo_cli.config.run import RunConfig


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Args:
        name: Its dotted name, "rollout.group_size".
        kind: Type of its value.
        default: Its default; None where another setting decides it.
        choices: The values it may have, where there are only a few.
        limits: The numbers it may have, in words: "2 or more".
        help: One or two sentences.
        flag: Its flag on the command line, if it has one.
    """

    name: str
    kind: type
    default: Any
    choices: tuple[str, ...]
    limits: str
    help: str
    flag: Flag | None

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of its flag."""
        if self.flag is None:
            return ()
        field = self.name.rpartition(".")[2].replace("_", "-")
        return self.flag.names or ((f"--{field}/--no-{field}",) if self.kind is bool else (f"--{field}",))


@cache
def settings(section: str) -> dict[str, Setting]:
    """The settings of a section by their dotted names; of "advantage", those of the default estimator.

    Args:
        section: A section of the configuration, or "seed".
    """
    if section == "seed":
        return {"seed": _setting(RunConfig, "seed", "seed")}
    return {f"{section}.{name}": _setting(_model(section), name, f"{section}.{name}") for name in fields(section)}


def setting(name: str) -> Setting:
    """The setting with this dotted name."""
    return settings(name.partition(".")[0])[name]


def setting_of(flag: str) -> str | None:
    """The dotted name of the one setting that a flag means, whether it is a flag of some command or of none."""
    every = [name for section in sections() for name in settings(section)]
    named = {name: f"--{name.partition('.')[2].replace('_', '-')}" for name in every}
    meant = [name for name in every if flag in (*setting(name).flags, named[name])]
    return meant[0] if len(meant) == 1 else None


def fields(section: str) -> list[str]:
    """Names of the settings in a section; of "advantage", those of the default estimator."""
    return list(_model(section).model_fields)


def estimator_settings(estimator: str) -> list[Setting]:
    """The settings that only this estimator has, beside those of all."""
    variant = VARIANTS[estimator]
    own = [name for name in variant.model_fields if name not in EstimatorConfig.model_fields]
    return [_setting(variant, name, f"advantage.{name}") for name in own]


def sections() -> list[str]:
    """The sections of the configuration, in order."""
    return [name for name in RunConfig.model_fields if name != "seed"]


def _model(section: str) -> type[StageConfig]:
    found = RsGrpoConfig if section == "advantage" else RunConfig.model_fields[section].annotation
    assert isinstance(found, type)
    assert issubclass(found, StageConfig)
    return found


def _setting(model: type[StageConfig], field: str, name: str) -> Setting:
    info = model.model_fields[field]
    default = info.get_default(call_default_factory=True)
    if field == "estimator":  # which each variant narrows to its own name
        info, model = EstimatorConfig.model_fields[field], EstimatorConfig
    notes = [*info.metadata, *_notes(info.annotation)]
    kind, choices = _kind(info.annotation)
    if field == "estimator":
        choices = tuple(VARIANTS)
    flag = next((note for note in notes if isinstance(note, Flag)), None)
    return Setting(name, kind, default, choices, _limits(notes), _docstring(model, field), flag)


def _notes(annotation: Any) -> Iterator[Any]:
    """The metadata inside an annotation such as `Annotated[int, Field(ge=1)] | None`."""
    if get_origin(annotation) is Annotated:
        for note in get_args(annotation)[1:]:
            yield from getattr(note, "metadata", [note])
    elif get_origin(annotation) in (Union, UnionType):
        for option in get_args(annotation):
            yield from _notes(option)


def _kind(annotation: Any) -> tuple[type, tuple[str, ...]]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin in (Union, UnionType):
        return _kind(next(option for option in inner if option is not NoneType))
    if origin is Literal:
        return str, tuple(inner)
    return origin or annotation, ()


def _limits(notes: list[Any]) -> str:
    low = next((note for note in notes if isinstance(note, Ge | Gt)), None)
    high = next((note for note in notes if isinstance(note, Le | Lt)), None)
    above = isinstance(low, Gt)
    least = None if low is None else (low.gt if isinstance(low, Gt) else low.ge)
    most = None if high is None else (high.lt if isinstance(high, Lt) else high.le)
    if least is not None and most is not None:
        return f"above {_plain(least)}, at most {_plain(most)}" if above else f"{_plain(least)} to {_plain(most)}"
    if least is not None:
        return f"above {_plain(least)}" if above else f"{_plain(least)} or more"
    return "" if most is None else f"at most {_plain(most)}"


def _plain(value: Any) -> str:
    """A number as people write it: 1e-6."""
    return re.sub(r"e-0(?=\d)", "e-", f"{value:g}")


def _docstring(model: type[StageConfig], field: str) -> str:
    """A field's help, from the model that declares it."""
    for owner in model.__mro__:
        found = _docstrings(owner.__module__).get((owner.__name__, field)) if owner is not object else None
        if found:
            return found
    return ""


@cache
def _docstrings(module: str) -> dict[tuple[str, str], str]:
    """(class, field) -> the docstring below the field.

    pydantic's `use_attribute_docstrings` finds the same, but parses the file once a class: a tenth of a second at each
    start of the command line.
    """
    if not module.startswith("rsgrpo_cli."):
        return {}
    path = sys.modules[module].__file__
    assert path is not None
    classes = [node for node in ast.parse(Path(path).read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    found: dict[tuple[str, str], str] = {}
    for node in classes:
        for statement, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[node.name, statement.target.id] = " ".join(str(below.value.value).split())
    return found

"""The worker's side of `rewards.user`: loads a user's reward function and calls it, in a worker process.

Kept apart so that a worker imports the function and little else.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Set
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = Path(__file__).resolve().parents[1]


class ForbiddenModuleError(ImportError):
    """The module lies in a run directory, and nobody asked for that."""


class SourceChangedError(RuntimeError):
    """The function's source is not the one that the run began with."""


def caller(name: str, keep_out: str | None = None) -> Callable[..., Any]:
    """Load the function that `name` ("package.module:function") stands for, and return what serves the parent's jobs.

    The module is looked up in the current directory first, as `python -m` does; the `rsgrpo` command alone would not
    look there.

    Args:
        name: The function; "module:object.method" will do, and so will a class that needs no arguments.
        keep_out: A directory from which nothing is imported.

    Raises:
        ForbiddenModuleError: If the module lies in `keep_out`.
        LookupError: If the module has no such function.
        TypeError: If it cannot be called.
        Exception: Whatever the import raises.
    """
    module_name, _, attribute = name.partition(":")
    forbidden = Path(keep_out).resolve() if keep_out else None
    _look_here_first(forbidden)
    module = _imported(module_name, forbidden)
    function = _found(module, attribute)
    parameters = _Parameters(function)
    source = _source_hash(module)

    def serve(columns: dict[str, list[Any]] | None, expected: str | None = None) -> Any:
        if columns is None:
            return {"source": source, **parameters.described()}
        if expected is not None and expected != source:
            raise SourceChangedError("its source has been changed since this command began")
        return _plain(_awaited(parameters.call(columns)))

    return serve


# -- loading ----------------------------------------------------------------------------------------------------------


def _look_here_first(forbidden: Path | None) -> None:
    here = os.getcwd()
    path = [here, *(entry for entry in sys.path if entry != here)]
    sys.path[:] = [entry for entry in path if forbidden is None or not _is_in(Path(entry), forbidden)]


def _imported(name: str, forbidden: Path | None) -> ModuleType:
    if forbidden is not None:
        _refuse_inside(name, forbidden)
    module = importlib.import_module(name)
    # What this process had imported before wins over a file of the same name, as Python's own modules do.
    here, first = Path(os.getcwd()), name.partition(".")[0]
    file = getattr(module, "__file__", None)
    meant = (here / f"{first}.py").is_file() or (here / first / "__init__.py").is_file()
    if meant and str(here) in sys.path and not (file and _is_in(Path(file), here.resolve())):
        raise ImportError(f"{name} is also the name of {file or 'a part of Python'}: give yours another name")
    return module


def _refuse_inside(name: str, forbidden: Path) -> None:
    """Refuse a module that lies in a directory before any of it is run, and the packages on the way to it."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        part = ".".join(parts[:length])
        if length == 1 and _is_in(Path(os.getcwd()), forbidden) and _stands_in(Path(os.getcwd()), part):
            raise ForbiddenModuleError(f"{part} lies in the run directory, and a run directory is data, not a program")
        spec = importlib.util.find_spec(part)
        if spec is None:
            return
        for place in [spec.origin, *(spec.submodule_search_locations or ())]:
            if place and _is_in(Path(place), forbidden):
                raise ForbiddenModuleError(f"{name} lies in the run directory, and a run directory is data")


def _stands_in(folder: Path, name: str) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _found(module: ModuleType, attribute: str) -> Callable[..., Any]:
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        have = [name for name, value in vars(module).items() if _is_its_own_function(module, value)]
        there = f"functions there: {', '.join(have)}" if have else "there are no functions there"
        raise LookupError(f"{module.__name__} has no {attribute}; {there}") from error
    if inspect.isclass(found):
        found = _instance(found)
    if not callable(found):
        raise TypeError(f"{attribute} is of type {type(found).__name__} and cannot be called")
    return found


def _is_its_own_function(module: ModuleType, value: Any) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def _instance(found: type) -> Any:
    if not any("__call__" in vars(base) for base in found.__mro__):
        raise TypeError(f"{found.__name__} is a class whose instances cannot be called")
    try:
        return found()
    except TypeError as error:
        raise TypeError(f"{found.__name__} is a class: name an instance of it ({error})") from error


class _Parameters:
    """What a function can be given, and the call that gives it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = [one for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        self.required = [one.name for one in named if one.default is one.empty]
        self.optional = [one.name for one in named if one.default is not one.empty]
        self.by_position = [one.name for one in named if one.kind is one.POSITIONAL_ONLY]

    def described(self) -> dict[str, Any]:
        """For the parent, which reads the columns and knows what there is."""
        return {"required": self.required, "optional": self.optional, "everything": self.takes_all}

    def call(self, columns: Mapping[str, list[Any]]) -> Any:
        """Call the function with the columns it takes."""
        named = {*self.required, *self.optional} - {*self.by_position}
        first = [columns[name] for name in self.by_position if name in columns]
        rest = {name: values for name, values in columns.items() if name not in self.by_position}
        return self.function(*first, **{name: rest[name] for name in rest if self.takes_all or name in named})


# -- what it returns --------------------------------------------------------------------------------------------------


def _awaited(returned: Any) -> Any:
    """What an async function returns in the end."""
    if not inspect.isawaitable(returned):
        return returned

    async def wait() -> Any:
        return await returned

    return asyncio.run(wait())


def _plain(returned: Any) -> list[Any] | str:
    """The rewards as floats and None, a text in place of anything that is neither; a text where there is no list."""
    no_list = isinstance(returned, (str, bytes, Mapping, Set)) or not hasattr(returned, "__iter__")
    if no_list or getattr(returned, "ndim", 1) != 1:  # of an array or a tensor with several axes, a row is no reward
        return f"{type(returned).__name__} {_short(returned)}"
    return [_reward(value) for value in returned]


def _reward(value: Any) -> float | str | None:
    # NumPy's and torch's scalars are numbers too, and text is not, though float("1") would take it.
    if value is None or isinstance(value, (str, bytes)):
        return None if value is None else _short(value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return _short(value)


def _short(value: Any) -> str:
    return " ".join(repr(value).split())[:80]


# -- identity ---------------------------------------------------------------------------------------------------------


def _source_hash(module: ModuleType) -> str:
    """Hash of the module's file and of the user's other modules that it has imported; empty where it has no file.

    The user's are those under the folder that the module was imported from, for instance the current directory, without
    installed packages. Of a function in an installed package, they are the other modules of that package.
    """
    file = getattr(module, "__file__", None)
    if not file:
        return ""
    files = dict(_project_files(module, Path(file).resolve()))
    if len(files) == 1:
        return hashlib.sha256(*files.values()).hexdigest()[:16]
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest()[:16]


def _project_files(module: ModuleType, file: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files that decide what the function does."""
    packages = module.__name__.count(".") + hasattr(module, "__path__")
    root = file.parents[packages]
    if _is_installed(root):
        root = root / module.__name__.partition(".")[0]
    others = (getattr(one, "__file__", None) for one in list(sys.modules.values()))
    for path in {file, *(Path(other).resolve() for other in others if other)}:
        inside = _is_in(path, root) and not _is_in(path, _OURS) and not _is_below_installed(path, root)
        if path == file or (inside and path.is_file()):
            yield os.path.relpath(path, root), path.read_bytes()


def _is_below_installed(path: Path, root: Path) -> bool:
    """Whether a file of the project's folder is a package installed there, or Python itself: a `.venv` in it."""
    stdlib = Path(sysconfig.get_paths()["stdlib"]).resolve()
    return bool({"site-packages", "dist-packages"} & {*path.relative_to(root).parts}) or _is_in(path, stdlib)


def _is_installed(folder: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & {*folder.parts})


def _is_in(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)

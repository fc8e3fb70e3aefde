"""A function of the user's own: loading it by its name, and the hash of its source.

Rewards and estimators are loaded with it, in worker processes; `user_function` has the parent's side.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = Path(__file__).resolve().parent


class ForbiddenModuleError(ImportError):
    """The module lies in a run directory, and nobody asked for that."""


class SourceChangedError(RuntimeError):
    """The function's source is not the one that the run began with."""


def load_in_worker(name: str, keep_out: Path | None) -> tuple[Callable[..., Any], str]:
    """`load` in a process that serves nothing else, and the hash of the source.

    The current directory stays first on the path: the function may import when it is called.
    """
    if not is_inside(Path.cwd(), keep_out):
        sys.path.insert(0, os.getcwd())
    module, function = load(name, keep_out)
    return function, source_hash(module)


def load(name: str, keep_out: Path | None = None) -> tuple[ModuleType, Callable[..., Any]]:
    """Import the function that `name` ("package.module:function") stands for.

    The module is looked up in the current directory first, as `python -m` does. Once it is imported, the current
    directory comes last: what rsgrpo itself imports later must not be found there.

    Args:
        name: The function. "module:object.method" works too, and so does a class that needs no arguments.
        keep_out: A directory from which nothing is imported.

    Returns:
        The module and the function.

    Raises:
        ForbiddenModuleError: If the module lies in `keep_out`.
        LookupError: If the module has no such function.
        TypeError: If it cannot be called.
        Exception: Whatever the import raises.
    """
    module_name, _, attribute = name.partition(":")
    forbidden = keep_out.resolve() if keep_out else None
    with _current_directory_first(forbidden):
        module = _imported(module_name, forbidden)
        return module, _found(module, attribute)


@contextmanager
def _current_directory_first(forbidden: Path | None) -> Iterator[None]:
    here, before = os.getcwd(), [entry for entry in sys.path if not is_inside(Path(entry), forbidden)]
    allowed = [] if is_inside(Path(here), forbidden) else [here]
    sys.path[:] = [*allowed, *(entry for entry in before if entry != here)]
    try:
        yield
    finally:
        sys.path[:] = before if here in before else [*before, *allowed]


def is_inside(path: Path, folder: Path | None) -> bool:
    """Whether a path lies in a folder, if there is one."""
    return folder is not None and path.resolve().is_relative_to(folder.resolve())


def _imported(name: str, forbidden: Path | None) -> ModuleType:
    if forbidden is not None:
        _refuse_inside(name, forbidden)
    module = importlib.import_module(name)
    # What this process had imported before wins over a file of the same name, as Python's own modules do.
    here, first = Path(os.getcwd()), name.partition(".")[0]
    file = getattr(module, "__file__", None)
    meant = (here / f"{first}.py").is_file() or (here / first / "__init__.py").is_file()
    if meant and str(here) in sys.path and not (file and is_inside(Path(file), here.resolve())):
        raise ImportError(f"{name} is also the name of {file or 'a part of Python'}: give yours another name")
    return module


def _refuse_inside(name: str, forbidden: Path) -> None:
    """Refuse a module that lies in a directory before any of it is run, and the packages on the way to it."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        part = ".".join(parts[:length])
        if length == 1 and is_inside(Path(os.getcwd()), forbidden) and _has_module(Path(os.getcwd()), part):
            raise ForbiddenModuleError(f"{part} lies in the run directory, and a run directory is data, not a program")
        spec = importlib.util.find_spec(part)
        if spec is None:
            return
        for place in [spec.origin, *(spec.submodule_search_locations or ())]:
            if place and is_inside(Path(place), forbidden):
                raise ForbiddenModuleError(f"{name} lies in the run directory, and a run directory is data")


def _has_module(folder: Path, name: str) -> bool:
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


# -- what it returns ---------------------------------------------------------------------------------------------------


def awaited(returned: Any) -> Any:
    """What an async function returns in the end."""
    if not inspect.isawaitable(returned):
        return returned

    async def wait() -> Any:
        return await returned

    return asyncio.run(wait())


def short(value: Any) -> str:
    """A value in one line of an error."""
    return " ".join(repr(value).split())[:80]


# -- identity ---------------------------------------------------------------------------------------------------------


def source_hash(module: ModuleType) -> str:
    """Hash of the module's file and of the user's other modules that it imports; empty where it has no file.

    Those that are imported only when the function is called count too, where an import statement names them.
    The user's are those under the folder that the module was imported from, for instance the current directory, without
    installed packages. Of a function in an installed package, they are the other modules of that package.

    Args:
        module: From `load`, in a process that has imported little else.
    """
    if not module.__file__:
        return ""
    found = dict(_project_files(module, Path(module.__file__).resolve()))
    if len(found) == 1:
        return hashlib.sha256(*found.values()).hexdigest()[:16]
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\0{len(found[name])}\0".encode() + found[name])
    return digest.hexdigest()[:16]


def _loaded_files() -> set[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {Path(file).resolve() for file in files if file}


def _project_files(module: ModuleType, file: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files that decide what the function does."""
    packages = module.__name__.count(".") + hasattr(module, "__path__")
    root = file.parents[packages]  # the folder that the module was imported from
    if _is_installed(root):
        root = root / module.__name__.partition(".")[0]
    loaded = {file, *_loaded_files()}
    for path in loaded | _named_files(loaded, root):
        inside = is_inside(path, root) and not is_inside(path, _OURS) and not _is_below_installed(path, root)
        if path == file or (inside and path.is_file()):
            yield os.path.relpath(path, root), path.read_bytes()


def _named_files(files: set[Path], root: Path) -> set[Path]:
    """The files below a folder that import statements name, in these files or in one that they name."""
    found = set[Path]()
    waiting = [path for path in files if is_inside(path, root) and not _is_below_installed(path, root)]
    while waiting:
        path = waiting.pop()
        new = {named.resolve() for named in _imports(path, root)} - found - files
        found |= new
        waiting += [named for named in new if is_inside(named, root)]
    return found


def _imports(path: Path, root: Path) -> Iterator[Path]:
    """The files below a folder that the import statements of a file name, wherever in it they stand."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):  # no Python, or none that can be run
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files_of(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if node.level else root
            names = [f"{node.module or ''}.{alias.name}".lstrip(".") for alias in node.names]
            yield from (file for name in names for file in _files_of(base, name))


def _files_of(base: Path, name: str) -> Iterator[Path]:
    """The files of a module and of the packages on the way to it, as far as they are below a folder."""
    folder = base
    for part in name.split("."):
        folder /= part
        yield from (file for file in (folder.with_suffix(".py"), folder / "__init__.py") if file.is_file())


def _is_below_installed(path: Path, root: Path) -> bool:
    """Whether a file of the project's folder is a package installed there, or Python itself: a `.venv` in it."""
    stdlib = Path(sysconfig.get_paths()["stdlib"]).resolve()
    return bool({"site-packages", "dist-packages"} & {*path.relative_to(root).parts}) or is_inside(path, stdlib)


def _is_installed(folder: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & {*folder.parts})

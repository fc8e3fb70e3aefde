"""`rsgrpo recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rsgrpo_cli.commands import options
from rsgrpo_cli.console import Output, table
from rsgrpo_cli.errors import MissingError


def recipes(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Print the recipe of this model.")] = None,
    copy: Annotated[
        Path | None,
        typer.Option("--copy", metavar="FILE", help="Write it to a new file, to be changed."),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """List the models that have a recipe, the default settings for them; or print or copy one recipe.

    A copy is used with --config FILE, with this model or with another one.
    """
    from rsgrpo_cli.config import RECIPES
    from rsgrpo_cli.config.run import recipe_for

    out = Output(as_json=as_json)
    if model is None:
        found = [_entry(path) for path in sorted(RECIPES.glob("*.toml"))]
        made = table("model", "recipe", text=("recipe",))
        for entry in found:
            made.add_row(entry["model"], entry["about"])
        return out.result({"recipes": found}, made)
    path = recipe_for(model)
    if path is None:
        raise MissingError(f"there is no recipe for {model}", "rsgrpo recipes lists those that there are")
    text = path.read_text(encoding="utf-8")
    if copy is not None:
        _write_new(copy, text)
        return out.result({"model": model, "copy": str(copy)}, lines=[f"{copy}: use it with --config {copy}"])
    out.result({"model": model, "recipe": text}, lines=text.rstrip().split("\n"))


def _entry(path: Path) -> dict[str, Any]:
    """A recipe: its model, as a user names it in lower case, and its first comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    about = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
    return {"model": path.stem.replace("--", "/"), "about": about, "file": str(path)}


def _write_new(path: Path, text: str) -> None:
    """Write a file that must not be there.

    Raises:
        UsageError: If it is.
    """
    from rsgrpo_cli.disk import write_exclusively
    from rsgrpo_cli.errors import UsageError

    try:
        write_exclusively(path, lambda file: file.write(text.encode()))
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "choose another name for the copy") from error

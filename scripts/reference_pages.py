"""Writes the reference pages that are made from code: `python scripts/reference_pages.py`; --check only compares.

Whole pages, and in the pages on stages the tables of columns. What a column means stands in
`rsgrpo_cli/schema_notes.py`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page_writer import DOCS, ROOT, fill, finish, heading, places, table

from rsgrpo_cli import api, errors, schemas
from rsgrpo_cli.rewards import types
from rsgrpo_cli.schema_notes import NOTES
from rsgrpo_cli.schemas import ArtifactSchema
from rsgrpo_cli.stages.advantage import STATUSES

SCRIPT = "reference_pages.py"
LANGUAGES = {".py": "python", ".slurm": "bash"}
KINDS = {kind.name: kind for kind in vars(schemas).values() if isinstance(kind, ArtifactSchema)}
FILES = {
    "prompts": "`prompts.parquet`, `benchmarks/NAME.parquet`",
    "rollouts": "`steps/00000k/rollouts/`, `evals/00000k/NAME/rollouts/`",
    "rewards": "`steps/00000k/rewards/`, `evals/00000k/NAME/rewards/`",
    "audit": "`steps/00000k/audit.GRADER.parquet`, `evals/00000k/NAME/audit.GRADER.parquet`: where a second "
    "grader gives another reward",
    "advantages": "`steps/00000k/advantages.parquet`",
    "history": "`steps/00000k/history.parquet`; the running means are in its metadata",
    "policy_logprobs": "`steps/00000k/policy_logprobs.parquet`",
    "update_metrics": "`steps/00000k/update_metrics.parquet`",
    "problems": "`evals/00000k/NAME/problems.parquet`",
    "summary": "`evals/00000k/NAME/summary.parquet`",
    "metrics": "`metrics.parquet`; a column is null where it does not apply",
    "solved": "`solved.parquet`, from which `cumulative_solve_rate` is counted",
    "checked": "`checked.parquet`: files that need not be checked again while they stay untouched",
    "cells": "`NAME.parquet` of a finished run, where `sweep --keep DIR` leaves it",
    "bandit_runs": "`runs.parquet` of `rsgrpo bandit`",
    "bandit_curves": "`curves.parquet` of `rsgrpo bandit`",
    "bandit_policies": "`policies.parquet` of `rsgrpo bandit`",
}
GROUPS = {
    "mixed": "some are right and some wrong, or grades differ; the group has a gradient",
    "shaped": "only length or format tells the rewards apart; it has a gradient",
    "all_right": "equal rewards, all right: no gradient",
    "all_wrong": "equal rewards, none right: no gradient",
    "constant": "equal grades: no gradient",
    "empty": "no completion has a reward",
}


def columns(kind: ArtifactSchema) -> str:
    """The columns of an artifact; keys are bold, `?` marks what may be null."""
    notes = NOTES[kind.name]
    rows = []
    for field in kind.schema:
        name = f"**`{field.name}`**" if field.name in kind.keys else f"`{field.name}`"
        name += "?" * field.nullable
        late = " Files of older versions lack it." if field.name in kind.optional else ""
        rows.append([name, f"`{_type(field.type)}`", notes[field.name] + ("." + late if late else "")])
    return table(["column", "type", "meaning"], rows)


def _type(kind: Any) -> str:
    """An Arrow type as a reader needs it."""
    text = re.sub(r"(item|element|key|value): | not null", "", str(kind))
    if len(text) > 70:
        return "list of structs"
    return re.sub(r"(?<=[< ])float(?=[,>])", "float32", text.replace("double", "float64")).replace(" ('entries')", "")


def schemas_page() -> str:
    """All tables."""
    about = (
        "Keys are bold: rows are sorted by them, and no two rows share them. `?` marks a column that may be null. "
        "`rsgrpo_cli/schemas.py` has the Arrow schemas. Rollouts, rewards and advantages of a step have the same rows. "
        "Where prompts were resampled, keys of later parts lie between those of earlier ones: `open_run` sorts them; "
        "whoever reads the files joins by key, not by position.\n"
    )
    parts = [heading("Schemas", SCRIPT, "the schemas of the files"), about]
    parts += [f"## {name}\n\n{FILES[name]}, version {kind.version}\n\n{columns(kind)}" for name, kind in KINDS.items()]
    return "\n".join(parts)


def metrics_page() -> str:
    """Metrics with their units."""
    parts = [heading("Metrics", SCRIPT, "the schemas of the files")]
    parts.append(
        "What is measured, and in which unit. `rsgrpo train` shows some of it while it runs; "
        "`rsgrpo sql RUN` reads all of it. A share lies between 0 and 1.\n"
    )
    titles = {
        "metrics": "Of a step",
        "update_metrics": "Of an optimizer step",
        "problems": "Of an evaluated problem",
    }
    for name, title in titles.items():
        rows = [_metric(column, note) for column, note in NOTES[name].items()]
        parts.append(f"## {title}\n\n{FILES[name]}\n\n" + table(["metric", "unit", "meaning"], rows))
    return "\n".join(parts)


def _metric(column: str, note: str) -> list[str]:
    found = re.fullmatch(r"(.*?)(?: \[(.*)\])?", note)
    assert found is not None
    return [f"`{column}`", found[2] or "", found[1]]


def statuses_page() -> str:
    """Why a completion got its reward, and how a group's rewards differ."""
    source = inspect.getsource(types.Status)
    of_completions = re.findall(r'^    \w+ = "(\w+)"  # (.*)$', source, re.MULTILINE)
    assert len(of_completions) == len(types.Status), "a status has no comment"
    assert set(GROUPS) == set(STATUSES.tolist())
    rows = [[f"`{name}`", note.replace("`math.answer`", "[grading](scoring.md)")] for name, note in of_completions]
    groups = [[f"`{name}`", note] for name, note in GROUPS.items()]
    return "\n".join(
        [
            heading("Statuses", SCRIPT, "the code that gives them"),
            "## Completions\n\nThe column `reward_status` says why a completion got its reward. Only `ok` is right.\n",
            table(["status", "meaning"], rows),
            "## Groups\n\nThe column `group_status` says how the rewards of a prompt's completions differ. "
            "Where a function of your own\nreturned nothing but 0 and 1 in a step, 1 is right.\n",
            table(["status", "meaning"], groups),
        ]
    )


def exit_codes_page() -> str:
    """Exit codes and the errors behind them."""
    found = [item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, errors.RsgrpoError)]
    rows = [[str(item.exit_code), f"`{item.__name__}`", _first(item)] for item in found]
    rows.sort(key=lambda row: int(row[0]))
    return "\n".join(
        [
            heading("Exit codes", SCRIPT, "the errors of `rsgrpo_cli/errors.py`"),
            "0 means that the command did what it was asked. Any other end prints one line that says what is wrong and "
            "one that says what to do next, to stderr. What was finished stays on disk, whatever the code.\n",
            "With `--json`, stdout has them as `error` and `hint` of one JSON object (`stopped` and `hint` for 130), "
            "together with the result where there is one all the same: of a sweep, the runs that are done. `train` "
            "prints it as its last line, after the objects of the steps.\n",
            table(["code", "error in Python", "meaning"], rows),
            "A command that a signal stopped ends with 130 too, after saving: the same command resumes. 1 is also the "
            "code where the reader of the output has gone (`rsgrpo ... | head`).\n",
        ]
    )


def api_page() -> str:
    """The Python API, from its docstrings."""
    parts = [heading("Python API", SCRIPT, "docstrings"), "[Reading a run in Python](python.md) shows it at work.\n"]
    parts.append(_entry("open_run", api.open_run))
    for kind in (api.Run, api.Evaluation):
        parts.append(f"## {kind.__name__}\n\n{_prose(kind)}\n")
        for name, item in vars(kind).items():
            if not name.startswith("_") and (inspect.isfunction(item) or isinstance(item, property)):
                parts.append(_entry(name, item, "###"))
    return "\n".join(parts)


def _entry(name: str, item: Callable[..., object] | property, level: str = "##") -> str:
    signature = "" if isinstance(item, property) else str(inspect.signature(item))
    signature = signature.replace("(self, ", "(").replace("(self)", "()")
    return f"{level} {name}\n\n```python\n{name}{signature.replace(chr(39), '')}\n```\n\n{_prose(item)}\n"


def _prose(item: object) -> str:
    """A docstring as Markdown: sections become lists."""
    text = inspect.getdoc(item) or ""
    text = re.sub(r"\n\n(Args|Raises):\n", r"\n\n\1:\n\n", text)
    return re.sub(r"^    (\w+): ", r"* `\1`: ", text, flags=re.MULTILINE)


def _first(item: object) -> str:
    return (inspect.getdoc(item) or "").partition("\n")[0]


def examples_page() -> str:
    """The files of examples/, whole."""
    parts = [heading("Examples", SCRIPT, "the files of `examples/`, which tests run")]
    for path in sorted((ROOT / "examples").iterdir()):
        if path.suffix in LANGUAGES:
            text = path.read_text(encoding="utf-8")
            parts.append(f"## {path.name}\n\n{_about(path.suffix, text)}\n\n```{LANGUAGES[path.suffix]}\n{text}```\n")
    return "\n".join(parts)


def _about(suffix: str, text: str) -> str:
    """The first sentence of a file about itself."""
    first = (ast.get_docstring(ast.parse(text)) or "") if suffix == ".py" else text.splitlines()[1].lstrip("# ")
    return first.partition("\n")[0]


WHOLE = {
    "schemas.md": schemas_page,
    "metrics.md": metrics_page,
    "statuses.md": statuses_page,
    "exit-codes.md": exit_codes_page,
    "api.md": api_page,
    "examples.md": examples_page,
}


def made() -> dict[Path, str]:
    """All of it."""
    pages = {DOCS / name: make() for name, make in WHOLE.items()}
    for path in sorted((DOCS / "stages").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for name in places(text):
            text = fill(text, name, columns(KINDS[name]).replace("](", "](../"))
        pages[path] = text
    return pages


if __name__ == "__main__":
    finish(__doc__, made)

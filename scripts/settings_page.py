"""Writes docs/settings.md, every setting of a run: `python scripts/settings_page.py`; --check only compares."""

from __future__ import annotations

from collections.abc import Iterable

from page_writer import DOCS, finish, heading, table

from rsgrpo_cli.commands.typed import shown
from rsgrpo_cli.config import ESTIMATORS, VARIANTS
from rsgrpo_cli.config.reference import Setting, estimator_settings, sections, settings

PAGE = DOCS / "settings.md"
HEADING = (
    heading("Settings", "settings_page.py", "the configuration models")
    + """
Values come from, each winning over the one before: the defaults below, the recipe of the model
(`rsgrpo_cli/recipes/`), a TOML file (`--config FILE`), and the command line: the setting's own flag, or
`--set SECTION.FIELD=VALUE`. A run's `config.json` holds the result.

```toml
# rsgrpo train --config mine.toml
seed = 1

[rollout]
group_size = 8

[advantage]
estimator = "rs_grpo"
beta = 4.0
```
"""
)
ABOUT = {
    "model": "The model that is trained.",
    "prepare": "Which problems, and how they are put to the model.",
    "rollout": "How completions are sampled for training.",
    "vllm": "The vLLM sampler, where that is the engine.",
    "score": "How completions are rewarded.",
    "advantage": "`estimator` and `scale` are for all estimators (a scale of `beta` for rs_grpo alone), the others for "
    "rs_grpo. The settings of an estimator of your own are its function's parameters.",
    "update": "One policy update from the rollouts of a step.",
    "train": "The loop over steps.",
    "eval": "How pass@k is measured.",
}


def page() -> str:
    """The whole page."""
    parts = [HEADING, _table(settings("seed").values())]
    for section in sections():
        parts += [f"## {section}\n\n{ABOUT[section]}\n", _table(settings(section).values())]
    parts.append(
        "## Settings of the other estimators\n\nTheir names are `advantage.NAME`; see [estimators.md](estimators.md).\n"
    )
    others = [name for name in ESTIMATORS if name != "rs_grpo"]
    for name in others:
        doc = " ".join((VARIANTS[name].__doc__ or "").split())
        own = estimator_settings(name)
        parts.append(f"### {name}\n\n{doc}\n" + ("" if own else "\nIt has no settings of its own.\n"))
        parts += [_table(own)] if own else []
    return "\n".join(parts)


def _table(rows: Iterable[Setting]) -> str:
    return table(["setting", "default", "values", "what it does", "flag"], [_cells(row) for row in rows])


def _cells(row: Setting) -> list[str]:
    default = "" if row.default in (None, "", (), {}) else f"`{shown(row.default)}`"
    values = ", ".join(row.choices) or row.limits or ("true, false" if row.kind is bool else "")
    flags = ", ".join(f"`{flag}`" for flag in row.flags)
    return [f"`{row.name}`", default, values, row.help.replace("|", "\\|"), flags.replace("/", "`, `")]


def main() -> None:
    """Write the page, or say that it is out of date."""
    finish(__doc__, lambda: {PAGE: page()})


if __name__ == "__main__":
    main()

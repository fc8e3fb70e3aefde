"""What a user should know about prompts made of a data set: what is missing, left out, or asked for otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rsgrpo_cli.config import PrepareConfig
from rsgrpo_cli.errors import MissingError
from rsgrpo_cli.pipeline.session import Session
from rsgrpo_cli.stages.prepare import Overlap, Preparation
from rsgrpo_cli.tasks.columns import unasked
from rsgrpo_cli.tasks.phrasing import INSTRUCTION
from rsgrpo_cli.tasks.sources import Source
from rsgrpo_cli.wording import counted, counts_told, plural, verb

ROWS_SHOWN = 12
"""Problems of a benchmark that are named when they stand in the training problems."""


def told(session: Session, cfg: PrepareConfig, source: Source, made: Preparation) -> Iterator[str]:
    """A line for each oddity.

    Args:
        session: The run.
        cfg: How the prompts were put.
        source: The data set.
        made: The prompts.
    """
    for oddity in (*_rows(cfg, source, made), *_forms(session, made)):
        yield f"{source.name}: {oddity}"
    yield from (_overlapping(overlap, source, cfg) for overlap in made.overlaps if overlap.rows)


def _rows(cfg: PrepareConfig, source: Source, made: Preparation) -> Iterator[str]:
    if source.expected_rows:
        yield f"a sample of {len(source.problems)} of {counted(source.expected_rows, 'row')}"
    if made.without_problem:
        yield f"rows without a problem, left out: {made.without_problem}"
    if missing := unasked(source, (cfg.prompt_column, cfg.answer_column)):
        yield (
            f"the prompts are without the {plural(len(missing), 'column')} {', '.join(missing)}, which "
            f"{verb(len(missing), 'seems')} to belong to the problem; the model sees the text of the prompt column only"
        )
    if made.answers_left_out:
        yield (
            f"chats that end with an answer, which is removed: {made.answers_left_out}; a prompt ends with the problem"
        )
    if made.worked_solutions:
        yield f"worked solutions, of which only the final answer is kept: {made.worked_solutions}"


def left_out(facts: Mapping[str, Any]) -> str:
    """What was left out of a benchmark, empty if nothing was: an evaluation has no line of `prepare` that says so."""
    words = counts_told({name: number for name, number in facts.items() if name in _LEFT_OUT})
    return f"rows left out: {', '.join(words.values())}" if words else ""


_LEFT_OUT = ("without_answer", "duplicates", "conflicting", "too_long", "with_images")


def _forms(session: Session, made: Preparation) -> Iterator[str]:
    of = len(made.prompts)
    if made.answers_shown:
        yield (
            f"problems that contain their own answer, in a box or after ####: {made.answers_shown} of {of}; take the "
            "solutions out of them"
        )
    if made.without_box and not _template_asks_for_a_box(session):
        setting = f"to ask for it: --set prepare.instruction='{INSTRUCTION}'"
        way_out = setting if made.places_instruction else "write {{ instruction }} in the prompt template"
        counts = f"{made.without_box} of {of}"
        yield f"prompts that do not ask for \\boxed{{}}, in which answers are graded: {counts}; {way_out}"
    if made.other_form:
        yield (
            "prompts that ask for another form of answer than \\boxed{}, in which answers are graded: "
            f"{made.other_form} of {of}; take that sentence out of the problems, or grade that form with a function of "
            "your own: --reward package.module:function"
        )


def _template_asks_for_a_box(session: Session) -> bool:
    """Whether the model's chat template does, as that of Qwen2.5-Math in a system turn of its own."""
    try:
        return "boxed" in str(session.tokenizer.chat_template)
    except MissingError:
        return False


def _overlapping(overlap: Overlap, source: Source, cfg: PrepareConfig) -> str:
    rows = ", ".join(f"#{row}" for row in overlap.rows[:ROWS_SHOWN])
    more = f" and {len(overlap.rows) - ROWS_SHOWN} more" if len(overlap.rows) > ROWS_SHOWN else ""
    dropped = "dropped" if cfg.decontaminate == "drop" else "kept: --set prepare.decontaminate=drop"
    return (
        f"{overlap.benchmark}: {len(overlap.rows)} of {counted(overlap.of, 'problem')} "
        f"{verb(len(overlap.rows), 'is')} in {source.name} ({rows}{more}); "
        f"the {overlap.training} training problems are {dropped}"
    )

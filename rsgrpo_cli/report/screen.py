"""A run on one screen: from a snapshot to lines of text, at any width from 60 columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from rsgrpo_cli.console import duration, number, visible
from rsgrpo_cli.report.samples import Sampled
from rsgrpo_cli.report.snapshot import Measured, Snapshot

if TYPE_CHECKING:
    from rich.text import Text

DRAWN = (
    ("reward", "reward_mean", 3),
    ("pass@G", "pass@G", 3),
    ("solved", "cumulative_solve_rate", 3),
    ("entropy", "entropy", 3),
    ("truncated", "truncated_fraction", 3),
    ("gradient", "grad_norm", 3),
)
"""What is drawn over the steps: label, column, digits."""
BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
FULL, HALF, ASCII_FULL = "━", "─", "#"
TWO_COLUMNS = 96
"""From this width on, the curves stand in two columns."""
LABEL, NUMBERS = 10, 18
"""Columns of a curve's name, and of its first and last value."""
MARGIN = 1


def screen(snapshot: Snapshot, width: int, *, ascii_only: bool = False) -> Text:
    """Draw a snapshot.

    Args:
        snapshot: The run.
        width: Columns of the terminal.
        ascii_only: Whether it can show nothing else.

    Returns:
        Lines, none wider than `width`. What the run's files say cannot command the terminal.
    """
    from rich.text import Text

    width = max(20, width - MARGIN)
    blocks = (
        _heading(snapshot, width),
        _progress(snapshot, width, ascii_only),
        _curves(snapshot, width, ascii_only),
        _groups(snapshot, width),
        _evaluation(snapshot.measured, width),
        _sample("right", "green", snapshot.right, width),
        _sample("wrong", "red", snapshot.wrong, width),
        _warnings(snapshot, width),
    )
    return Text("\n").join(line for block in blocks for line in block)


# -- blocks -----------------------------------------------------------------------------------------------------------


def _heading(snapshot: Snapshot, width: int) -> Iterator[Text]:
    config = snapshot.config
    knobs = config.advantage.model_dump(include={"estimator", "beta"})
    told = " ".join(f"{name} {value:g}" if name == "beta" else str(value) for name, value in knobs.items())
    yield _ends((snapshot.run, "bold"), (snapshot.state, ""), width)
    yield _line(f"{config.model.name} on {config.prepare.dataset}, {told}", width, "dim")


def _progress(snapshot: Snapshot, width: int, ascii_only: bool) -> Iterator[Text]:
    from rich.text import Text

    share = snapshot.done / snapshot.wanted if snapshot.wanted else 0.0
    facts = [f"step {snapshot.done} of {snapshot.wanted}", f"{share:.0%}"]
    facts += [f"{duration(snapshot.seconds_left)} left"] if snapshot.seconds_left is not None else []
    speed = snapshot.last.get("tokens_per_second")
    facts += [f"{speed:,.0f} tokens/s"] if speed else []
    for line in _packed(facts, width):
        yield Text(line, "bold")
    yield _bar(share, width, ascii_only)
    now = snapshot.progress
    if now is not None:
        yield _line(" ".join(part for part in (now.what, now.count, duration(now.seconds)) if part), width, "cyan")
        if now.detail:
            yield _line(now.detail, width, "cyan")


def _curves(snapshot: Snapshot, width: int, ascii_only: bool) -> Iterator[Text]:
    from rich.text import Text

    if not snapshot.curves:
        return
    columns = 2 if width >= TWO_COLUMNS else 1
    each = (width - 2 * (columns - 1)) // columns
    made = [_curve(label, snapshot.curves[name], digits, each, ascii_only) for label, name, digits in DRAWN]
    rows = math.ceil(len(made) / columns)
    for row in range(rows):
        yield Text("  ").join(made[row::rows])


def _curve(label: str, values: Sequence[float | None], digits: int, width: int, ascii_only: bool) -> Text:
    """A name, the values over the steps as bars, and the first and the last of them."""
    from rich.text import Text

    known = [value for value in values if value is not None and math.isfinite(value)]
    first, last = (number(known[end], digits) if known else "-" for end in (0, -1))
    text = f"{first} to {last}" if len(known) > 1 else last
    bars = sparkline(values, width - LABEL - NUMBERS - 1, ASCII_BARS if ascii_only else BARS)
    return Text.assemble((f"{label:<{LABEL}}", ""), (bars, "cyan"), (f" {text:>{NUMBERS}}", ""))


def sparkline(values: Sequence[float | None], width: int, bars: str = BARS) -> str:
    """Values as bars, from the lowest to the highest; of more values than columns, the mean of each column's.

    A column without a value is a space, and so is what is left of `width`.
    """
    columns = min(width, len(values))
    cuts = [round(column * len(values) / columns) for column in range(columns + 1)] if columns else [0]
    means = [_mean(values[start:stop]) for start, stop in pairwise(cuts)]
    known = [mean for mean in means if mean is not None]
    low, span = (min(known), max(known) - min(known)) if known else (0.0, 0.0)
    top = len(bars) - 1
    drawn = [" " if mean is None else bars[round((mean - low) / span * top) if span else 0] for mean in means]
    return "".join(drawn).ljust(max(0, width))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _groups(snapshot: Snapshot, width: int) -> Iterator[Text]:
    from rich.text import Text

    last = snapshot.last
    counts = [(name, last.get(f"groups_{key}"), style) for name, key, style in _KINDS]
    told = [(f"{count:.0f} {name}", style) for name, count, style in counts if count]
    if not told:
        return
    line = Text(f"{'groups':<{LABEL}}")
    for place, (text, style) in enumerate(told):
        line.append(", " if place else "").append(text, style)
    line.append(f" of {last['groups_sampled']:.0f}" if last.get("groups_sampled") else "", "dim")
    yield _cut(line, width)


_KINDS = (
    ("all right", "all_right", "green"),
    ("mixed", "mixed", "yellow"),
    ("all wrong", "all_wrong", "red"),
    ("shaped", "shaped", "yellow"),
)


def _evaluation(measured: Measured | None, width: int) -> Iterator[Text]:
    if measured is None:
        return
    yield _line(f"evaluation of policy {measured.policy} on {measured.benchmark}", width)
    changes = {name: rest for name, *rest in measured.differences}
    for name, value, low, high in measured.values:
        facts = [f"{name} {value:z.3f}{_interval(low, high, '')}"]
        if name in changes:
            by, low, high = changes[name]
            facts.append(f"{by:+z.3f}{_interval(low, high, '+')} against policy {measured.against}")
        for line in _packed(facts, width - 2):
            yield _line(f"  {line}", width)


def _interval(low: float | None, high: float | None, sign: str) -> str:
    return "" if low is None or high is None else f" [{low:{sign}z.3f}, {high:{sign}z.3f}]"


def _sample(word: str, style: str, sampled: Sampled | None, width: int) -> Iterator[Text]:
    """Its problem, its answer and the end of its text: that is where the answer is."""
    from rich.text import Text

    if sampled is None:
        return
    graded = sampled.status not in ("ok", "wrong")
    reward = f", reward {number(sampled.reward, 2)}" if graded else ""
    answer = f", answer {_plain(sampled.answer)}" if sampled.answer else ""
    head = Text.assemble((f"{word:<{LABEL}}", style), f"{_plain(sampled.prompt_id)}, {sampled.status}{reward}{answer}")
    yield _cut(head, width)
    room = LINES_OF_TEXT * (width - 2)
    text = _plain(sampled.completion)
    text = text if _cells(text) <= room else "..." + _tail(text, room - 3)
    while text:
        line = _head(text, width - 2)
        text = text[len(line) :]
        yield Text(f"  {line}", "dim")


LINES_OF_TEXT = 2


def _warnings(snapshot: Snapshot, width: int) -> Iterator[Text]:
    from rich.text import Text

    told = [warned.text for warned in snapshot.warnings] + ([snapshot.problem] if snapshot.problem else [])
    for text in told:
        for place, line in enumerate(_wrapped(f"warning: {_plain(text)}", width - 2)):
            yield Text(f"{'' if place == 0 else '  '}{line}", "yellow")


# -- lines ------------------------------------------------------------------------------------------------------------


def _bar(share: float, width: int, ascii_only: bool) -> Text:
    from rich.text import Text

    full = round(min(1.0, max(0.0, share)) * width)
    done, rest = (ASCII_FULL, "-") if ascii_only else (FULL, HALF)
    return Text.assemble((done * full, "green"), (rest * (width - full), "dim"))


def _plain(text: str) -> str:
    """In one line, and nothing that a terminal would obey."""
    return visible(" ".join(text.split()))


def _line(text: str, width: int, style: str = "") -> Text:
    from rich.text import Text

    return _cut(Text(visible(text), style), width)


def _cut(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text


def _ends(left: tuple[str, str], right: tuple[str, str], width: int) -> Text:
    """Two texts at the ends of a line; the left one gives way."""
    from rich.text import Text

    end = _line(right[0], width // 2, right[1])
    start = _line(left[0], width - end.cell_len - 2, left[1])
    return Text.assemble(start, " " * (width - start.cell_len - end.cell_len), end)


def _packed(facts: Sequence[str], width: int) -> list[str]:
    """Facts side by side, as many to a line as fit."""
    lines: list[str] = []
    for fact in facts:
        if lines and _cells(lines[-1]) + 2 + _cells(fact) <= width:
            lines[-1] += f"  {fact}"
        else:
            lines.append(fact)
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """A text in lines; a word is broken only where it is wider than a line."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if _cells(joined) <= width:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = lines[-1] or word
        while _cells(lines[-1]) > width:
            head = _head(lines[-1], width)
            lines[-1:] = [head, lines[-1][len(head) :]]
    return lines


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _head(text: str, width: int) -> str:
    """As much of a text as fits, at least one character."""
    end = min(len(text), width)
    while end > 1 and _cells(text[:end]) > width:
        end -= 1
    return text[:end]


def _tail(text: str, width: int) -> str:
    start = max(0, len(text) - width)
    while _cells(text[start:]) > width:
        start += 1
    return text[start:]

r"""Finds the answer in a completion: the last `\boxed{}` outside the thinking, by one pass over the text.

Untrusted text of any length: every function here takes time linear in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsgrpo_cli.rewards.surroundings import formula_around, scale_behind
from rsgrpo_cli.rewards.thinking import after_thinking
from rsgrpo_cli.rewards.types import Status

# Far more than is written between the thinking and the end, and a bound on the time that one completion can cost here:
# 10 MB of boxes took a minute.
_SEARCHED_CHARS = 200_000
# One backslash or two: a model that has read much JSON writes "\\boxed", and no sense of "\\" before that word remains.
_BOX = r"\\{1,2}(?:boxed|fbox|framebox)(?![A-Za-z])\s*"
# An escaped character is consumed as a pair, so that "\{" and "\}" never count as braces, and "\\{" does.
_TOKEN = re.compile(rf"(?P<box>{_BOX})|\\[\s\S]|[{{}}]")
_BOX_COMMAND = re.compile(_BOX)
# "\boxed 42", as in old MATH solutions. Numbers only: "the \boxed command" in prose is no answer.
_BARE_NUMBER = re.compile(r"[-+]?\d[\d.,/]*")

_ANSWER_TAG = re.compile(r"<answer>([^<]*)</answer>")
_ANSWER_MARKER = re.compile(r"(?:####|\banswer\s*(?:is|:|=|：)(?:\s*:)?|答案(?:是|为)?\s*[:：]?)", re.IGNORECASE)
# What stands between boxes that are one answer together: "$x = \boxed{3}$ or $x = \boxed{-3}$".
_JOINED = re.compile(
    r"[$.\s]*(?:(?:[a-z]{1,12}\s+)?(?:,|;|\band\b|\bor\b|,\s*(?:and|or)\b|([-+*=_~])\1{2,}))?[$\s]*(?:[A-Za-z](?:_\w)?\s*=[$\s]*)?"
)
# The same between formulas on lines of their own.
_JOINED_LINES = re.compile(r"(?:\\[\])]|[$.,\s])*(?:\\text\s*\{\s*)?(?:,|;|and|or)?(?:\s*\})?(?:\\[\[(]|[$\s])*")
_DENIAL = re.compile(
    r"n't\b|\b(?:not|never|cannot|wrong|incorrect|false|fails?|excluded?|except|impossible|unlike|instead|mistake|rather|but|however|wait|no|reject\w*|discard\w*|extraneous|invalid)\b"
    r"|\\(?:neq?|not)(?![A-Za-z])|≠",
    re.IGNORECASE,
)
# What joins boxes so that each of them is said to be the answer: "\\boxed{6} or \\boxed{7}".
_EITHER = re.compile(
    r"(?:\\[\])]|[$.\s])*(?:[a-z]{1,12}\s+)?(?:\\text\s*\{\s*)?(?:[,;]\s*(?:and|or)\b|[,;]|\b(?:and|or)\b)(?:\s*\})?"
    r"(?:\\[\[(]|[$\s])*(?:[A-Za-z](?:_\w)?\s*=[$\s]*)?"
)
# "\\boxed{6} or it might be \\boxed{7}", and boxes with nothing between them.
_PERHAPS = re.compile(
    r"(?=[^\n\\.]{0,40}\b(?:or|alternatively)\b)"
    r"(?![^\n\\]*\b(?:equal|equiv|same|simpl|approx|about|decimal|percent|form\b|i\.e|that is))"
    r"[^\n\\.]{1,60}|(?:[$ ]|\\[,;:!()\[\] ]|\\q?quad(?![A-Za-z]))*",
    re.IGNORECASE,
)
# "We discard \\boxed{2}": what is said before the first of several.
_DISCARDS = re.compile(
    r"(?<!not )(?<!n't )\b(?:discard|reject|exclud|eliminat|dismiss|omit|rul(?:e|ing) out)\w*\b"
    r"(?:\s+[a-z]+){0,3}\s*(?:[A-Za-z]\s*=\s*)?\Z",
    re.IGNORECASE,
)
_BESIDE_CHARS = 40
_MOST_JOINED = 5  # boxes in one formula
# "= -\boxed{14}", "so -\boxed{14}", "$2\boxed{14}$"; a dash before a box at the start of a line is a bullet.
_SIGN_BEFORE = re.compile(
    r"(?:(?:[=(]|\$|\\[\[(]|\b(?:is|of|to)\s)\s*(?P<sign>-\s*|-?\d+(?:\.\d+)?(?:\s*\\(?:cdot|times)\s*)?)|(?P<denied>\\neq?\s*))\{?\Z"
    r"|(?<=[a-z:,] )(?P<close>-)\Z"
)
_POWER_BEHIND = re.compile(r"\^\s*(?:\{[^{}\\]{1,20}\}|[\dn])(?!\s*\\circ)")
# All of a formula with a box in it: "$1 + \\boxed{7}$". With more than a letter before "=", it may be a gap to fill.
_OPENED = re.compile(
    r"(?:\$|\\[\[(])\s*(?:[A-Za-z]?\s*=)?\s*(?P<said>-?\d+(?:\.\d+)?\s*[-+*/]\s*|\\sqrt\s*\{\s*|\\[dt]?frac\s*\{\d+\}\s*\{\s*)?\Z"
)
_CLOSED = re.compile(r"(?P<said>\}?\s*(?:!|[-+*/]\s*\d+(?:\.\d+)?)?)\s*[.,]?\s*(?:\$|\\[\])])")
# A factor that stands against the box in its formula: "$\\sqrt{2}\\boxed{5}$", "$\\boxed{5}\\pi$". Of single letters
# behind it those that are no units.
_FACTOR = (
    r"(?:\\(?:pi|theta|alpha|beta|lambda|omega|phi)(?![A-Za-z])|\\sqrt\s*(?:\{[^{}]{1,20}\}|\d)"
    r"|\\[dt]?frac\s*\{\d+\}\s*\{\d+\})"
)
_TIMES = r"\s*(?:\\(?:cdot|times)\s*)?"
_FACTOR_BEFORE = re.compile(
    rf"(?:\$|\\[\[(]|=)\s*(?P<said>-?(?:\d{{1,9}})?\s*(?:{_FACTOR}|[a-zA-Z]|(?<=\d))){_TIMES}\Z"
)
_FACTOR_BEHIND = re.compile(
    rf"(?:\\,(?=\s*\\))?{_TIMES}(?P<said>(?:{_FACTOR}|[abcinkpqrtxyz](?![A-Za-z]))(?:\^\{{?\d\}}?)?)\s*[.,]?\s*(?:\$|\\[\])])"
)
_DOLLARS = re.compile(r"\$+([^$]+)\$")
_SENTENCE_END = re.compile(r"[.。](?:\s|$)")
# A minus counts where nothing stands before it: "10-5" ends in 5.
_NUMBER = re.compile(r"(?:(?<![\w)])[-−–])?(?<![\d.])\d[\d,]*(?:\.\d+)?(?:/\d+)?")


@dataclass(frozen=True, slots=True)
class Extraction:
    """The answer of a completion, or why there is none.

    Args:
        answer: What is in the last box, without the boxes in it; None where there is no answer.
        line: What is in each box on the line of the last, that one included.
        either: What is in each of the boxes that a comma, "and" or "or" joins with the last, that one included.
        status: NO_BOX, THINK_UNCLOSED or TRUNCATED where there is no answer, else None.
        formula: The whole formula that the last box is a part of; None where it is none of one.
        scale: "million" or the like right behind the last box: it multiplies it, or names the unit that was asked for.
    """

    answer: str | None = None
    line: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    status: Status | None = None
    formula: str | None = None
    scale: str = ""


def extract(completion: str, *, finish_reason: str = "stop", in_thought: bool = False) -> Extraction:
    r"""The last box (`\boxed`, `\fbox` or `\framebox`) after the thinking.

    An empty box is no box. A box that is opened last and never closed means that there is no answer: `\boxed{4` may be
    the beginning of any number, and an earlier box is not what was meant either.

    Args:
        completion: The generated text.
        finish_reason: "length" where the text was cut, which turns NO_BOX into TRUNCATED.
        in_thought: Whether the prompt ends inside a thought, so that the completion begins in it.
    """
    spoken = _after_thinking(completion, in_thought)
    if spoken is None:
        return Extraction(status=Status.THINK_UNCLOSED)
    boxes, all_closed = _boxes(spoken)
    if not boxes or not all_closed:
        return Extraction(status=Status.TRUNCATED if finish_reason == "length" else Status.NO_BOX)
    first = len(boxes) - 1
    while first and _go_together(spoken, boxes[first - 1].end, boxes[first].start):
        first -= 1
    if _DISCARDS.search(spoken, max(0, boxes[first].start - _BESIDE_CHARS), boxes[first].start):
        first = len(boxes) - 1
    contents = tuple(box.content for box in boxes[first:])
    before, behind = _glued(spoken, boxes[-1])
    either = len(boxes) - 1
    while either > first and _either(spoken, boxes[either - 1].end, boxes[either].start):
        either -= 1
    joined = tuple(box.content for box in boxes[either:])
    formula = formula_around(spoken, [(box.start, box.end, box.content) for box in boxes[-_MOST_JOINED:]])
    scale = scale_behind(spoken, boxes[-1].end, boxes[-1].content)
    answer = before + contents[-1] + behind
    return Extraction(answer=answer, line=contents, either=joined, formula=formula, scale=scale)


def _go_together(text: str, start: int, end: int) -> bool:
    """Whether two boxes may be one answer: on one line without a denial between them, or joined by "and" or "or"."""
    between = text[start:end]
    if "\n" in between:
        return bool(_JOINED_LINES.fullmatch(text, start, end))
    return not _DENIAL.search(between)


def _either(text: str, start: int, end: int) -> bool:
    """Whether what stands between two boxes says that each of them may be the answer."""
    return bool(_EITHER.fullmatch(text, start, end) or _PERHAPS.fullmatch(text, start, end))


def _glued(text: str, box: _Box) -> tuple[str, str]:
    """What stands against a box in its formula and changes it: a sign, a factor or a root before it, a power behind."""
    opened = _OPENED.search(text, max(0, box.start - _BESIDE_CHARS), box.start)
    closed = _CLOSED.match(text, box.end) if opened else None
    if opened and closed and (opened["said"] or closed["said"].strip()):
        return f"{opened['said'] or ''}(", f"){closed['said']}"
    factor = _FACTOR_BEFORE.search(text, max(0, box.start - _BESIDE_CHARS), box.start)
    other = _FACTOR_BEHIND.match(text, box.end)
    if factor or other:
        return f"{factor['said']} \\cdot (" if factor else "(", f") \\cdot {other['said']}" if other else ")"
    before = _SIGN_BEFORE.search(text, max(0, box.start - _BESIDE_CHARS), box.start)
    behind = _POWER_BEHIND.match(text, box.end)
    sign = (before["sign"] or before["denied"] or before["close"]).strip() if before else ""
    if sign in ("", "-") and not behind:
        return sign, ""
    return f"{sign}(", f"){behind[0] if behind else ''}"


def extract_lenient(completion: str, *, in_thought: bool = False) -> str | None:
    """What a generous reader would take for the answer; None where there is nothing.

    The last box; else what is in the last `<answer>` or follows the last "answer is", "Answer:" or `####`; else
    the last number. For evaluation only: it pays for numbers that were never meant as an answer.
    """
    spoken = _after_thinking(completion, in_thought)
    boxes, all_closed = _boxes(spoken) if spoken else ([], True)
    if not spoken or not all_closed:
        return None
    if boxes:
        return boxes[-1].content
    if (stated := _stated(spoken)) is not None:
        return stated
    number = _last(_NUMBER, spoken)
    return number[0] if number else None


def extract_stated(solution: str) -> str | None:
    r"""The final answer of a worked solution that a person wrote; None where it says none.

    What is in its last box, with the boxes before it that a comma, "and" or "or" joins to it; else what `<answer>`,
    "answer is", "Answer:" or `####` states last. Numbers that happen to come last are no answer.
    """
    spoken = _after_thinking(solution, in_thought=False)
    if spoken is None:
        return None
    boxes, all_closed = _boxes(spoken)
    if not all_closed:
        return None
    if not boxes:
        return _stated(spoken)
    first = len(boxes) - 1
    while first and _JOINED.fullmatch(spoken, boxes[first - 1].end, boxes[first].start):
        first -= 1
    return ", ".join(box.content.strip() for box in boxes[first:])


def _stated(spoken: str) -> str | None:
    """What `<answer>` holds, or follows the last "answer is", "Answer:" or `####`."""
    if tagged := _last(_ANSWER_TAG, spoken):
        return tagged[1].strip()
    if marker := _last(_ANSWER_MARKER, spoken):
        rest = spoken[marker.end() :].lstrip(" \t\r\n*").partition("\n")[0].strip(" \t*")
        if dollars := _DOLLARS.match(rest):
            return dollars[1].strip()
        if stated := _SENTENCE_END.split(rest, maxsplit=1)[0].strip():
            return stated
    return None


def _after_thinking(completion: str, in_thought: bool) -> str | None:
    """The text after the thinking, or its end where it is enormous; None where the thinking never ends."""
    spoken = after_thinking(completion, in_thought=in_thought)
    return None if spoken is None else spoken[-_SEARCHED_CHARS:]


@dataclass(frozen=True, slots=True)
class _Box:
    start: int  # of the command
    end: int  # behind the closing brace
    content: str


def _boxes(text: str) -> tuple[list[_Box], bool]:
    """The closed outermost boxes that are not empty, in order, and whether the box that was opened last is closed."""
    spans: list[tuple[int, int, int, int]] = []  # start and end of the command with its braces, and of the content
    open_braces: list[int] = []  # start of the box command, -1 for any other brace
    command, brace_at = -1, -1  # a box command, and where its brace must stand
    last_opened, last_closed = -1, True
    for token in _TOKEN.finditer(text, _first_box(text)):
        if token["box"]:
            command, brace_at = token.start(), token.end()
            if bare := _BARE_NUMBER.match(text, brace_at):
                spans.append((command, bare.end(), bare.start(), bare.end()))
        elif token[0] == "{":
            if token.start() == brace_at:
                last_opened, last_closed = command, False
            open_braces.append(command if token.start() == brace_at else -1)
        elif token[0] == "}" and open_braces and (start := open_braces.pop()) >= 0:
            while spans and spans[-1][0] > start:  # a box inside this one
                spans.pop()
            content = text.index("{", start) + 1
            spans.append((start, token.end(), content, token.start()))
            last_closed = last_closed or start == last_opened
    boxes = [_Box(start, end, _BOX_COMMAND.sub("", text[left:right])) for start, end, left, right in spans]
    return [box for box in boxes if box.content and not box.content.isspace()], last_closed


def _first_box(text: str) -> int:
    """Where the backslashes before the first box begin; braces before it cannot matter."""
    found = [place for place in (text.find("boxed"), text.find("fbox"), text.find("framebox")) if place >= 0]
    if not found:
        return len(text)
    start = min(found)
    while start and text[start - 1] == "\\":
        start -= 1
    return start


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007  (the last one is wanted)
        pass
    return found

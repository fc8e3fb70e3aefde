r"""Brings an answer in LaTeX, Unicode or plain text to one spelling: `normalise`.

Only spelling: nothing here computes. What changes is what two people would write differently for the same thing
(`\dfrac12`, `½`, `\frac{1}{2}`), what a tokenizer or a JSON escape broke, and decoration. Linear in the text; callers
pass texts of bounded length all the same.
"""

from __future__ import annotations

import re
import unicodedata

from rsgrpo_cli.rewards.math.layout import without_layout
from rsgrpo_cli.rewards.math.named import NAMED
from rsgrpo_cli.rewards.math.numbers import join_mixed, spell_out
from rsgrpo_cli.rewards.math.spellings import COMMANDS, SHORT_FORMS, SPACING
from rsgrpo_cli.rewards.math.wording import NUMERALS

# JSON reads "\frac" as a form feed and "rac". These four characters occur in no answer, so a letter after them tells.
_LOST_BACKSLASH = re.compile(r"[\x07\x08\x0b\x0c](?=[a-z])")
_LOST = {"\x07": r"\a", "\x08": r"\b", "\x0b": r"\v", "\x0c": r"\f"}
# Escaped twice, "\\\\frac" is a line break before "frac": only between the rows of a matrix are there such.
_DOUBLED = re.compile(r"\\\\(?=[A-Za-z{}%$,;!])")
_NEW_LINE = re.compile(r"(?<=[\d})])\s*\\\\\s*(?=[A-Za-z](?:_\w)?\s*=)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_GREEK = (
    "α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho"
    " σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega"
    " Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega"
)
_SYMBOLS: dict[str, str] = {
    **{letter: f"\\{name} " for letter, name in re.findall(r"(\S) (\S+)", _GREEK)},
    **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad“”‘’", ""),
    **dict.fromkeys("、，", ","),
    **dict.fromkeys("。．", "."),
    **dict.fromkeys("：∶", ":"),
    **dict.fromkeys("·⋅∙", r"\cdot "),
    **dict.fromkeys("÷⁄∕", "/"),
    **dict.fromkeys("…⋯", r"\ldots "),
    **{
        "×": r"\times ",
        "∗": "*",
        "±": r"\pm ",
        "∓": r"\mp ",
        **dict.fromkeys("°º˚", r"^\circ "),
        "∞": r"\infty ",
        "′": "'",
        "¢": r"\text{ cents}",
    },
    **{"℃": r"^\circ C", "℉": r"^\circ F"},
    **{"≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq ", "≈": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap "},
    **{"≡": r"\equiv ", "∼": r"\sim ", "≃": r"\simeq ", "∴": r"\therefore ", "⇒": r"\Rightarrow "},
    **{"∅": r"\emptyset ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "⟨": "(", "⟩": ")"},
    **{letter: f"\\mathbb{{{plain}}}" for letter, plain in zip("ℝℤℕℚℂ", "RZNQC", strict=True)},
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "0123456789+-()n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎", "0123456789+-()")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎]+")
_UNICODE_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?|[A-Za-z])")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

_REPEATING = re.compile(
    r"(?<!\d)(\d*)\.(\d*)(?:\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?|\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d)))"
)
_REPEATING_IN_BRACKETS = re.compile(r"(?<!\d)(0?)\.(\d*)\((\d+)\)(?=\s*(?:$|[,;}\\]))")  # "2.5(4)" may be a product
_BRACKET_OR_GROUPED = re.compile(
    r"(?P<open>\\\{|[(\[])|(?P<close>\\\}|[)\]])|(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])"
)
_BLANKS = re.compile(r"\s+")
_DEGREES = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})")
_LAST_DEGREES = re.compile(r"(?<=\d)\s*\^\s*(?:\\circ|\{\s*\\circ\s*\})\s*$")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_BASE = re.compile(
    r"\(?(?P<digits>-?[0-9A-Z]*\d[0-9A-Z]*)\)?\s*(?:_\s*\{?\s*\(?\s*(?:\\text\{)?\s*|"
    r"\(?\s*(?:\\text\{)?\s*\(?(?:in )?base\s*\}?\s*)"
    r"(?P<base>\d{1,2}|[A-Za-z]+)\s*\}?\s*\)?\s*\}?\)?"
)
_MAX_BASED_CHARS = 100
_BASES = {word: str(value) for word, value in NUMERALS.items() if value > 1}
_UNESCAPED_PERCENT = re.compile(r"(?<!\\)%")
_SPACED_NUMBER = re.compile(r"-?\d{1,3}(?: \d{3})+")
_DOTTED_NUMBER = re.compile(r"-?\d{1,3}(?:(?:\.\d{3}){2,}|(?:[. ]\d{3})+,\d+)")
_ROOT_OR_BRACKET = re.compile(r"(?P<root>\\?sqrt\s*\()|[()]")
_ESCAPE_OR_BRACE = re.compile(r"\\[\s\S]|[{}]")


def normalise(text: str, *, thousands: bool = True, radians: bool = False) -> str:
    """One spelling of an answer. A second application changes nothing that matters to the comparison.

    Args:
        text: The content of a box, or a reference answer.
        thousands: Whether "1,234" outside brackets is one number; False where a list is expected.
        radians: Whether degrees are written in radians; else only the argument of a function is.
    """
    text = _LOST_BACKSLASH.sub(lambda found: _LOST[found[0]], text)
    if r"\begin" not in text:
        text = _NEW_LINE.sub(", ", text)
        text = _DOUBLED.sub(lambda _: "\\", text)
    text = without_layout(_from_unicode(_without_comments(text)))
    text = _BLANKS.sub(" ", text)  # in runs they cost the patterns quadratic time
    for pattern, replacement in COMMANDS + NAMED + SPACING:
        text = pattern.sub(replacement, text)
    text = _REPEATING_IN_BRACKETS.sub(_as_fraction, _REPEATING.sub(_as_fraction, text))
    if thousands:
        text = _join_thousands(text)
    text = _strip_decoration(_code_roots(spell_out(text)))
    for pattern, replacement in SHORT_FORMS:
        text = pattern.sub(replacement, text)
    return _plain_angles(_with_base(join_mixed(text)), radians).strip()


def _plain_angles(text: str, radians: bool) -> str:
    """Degrees as radians where they are the argument of a function; the sign is dropped from any other angle."""
    if not _DEGREES.search(text):
        return text
    if radians or _TRIGONOMETRIC.search(text):
        return without_degrees(text, radians=True)
    return _LAST_DEGREES.sub("", text)


def without_degrees(text: str, *, radians: bool) -> str:
    """Every number of degrees in radians, or without its sign."""
    return _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})" if radians else r"\1", text)


def _with_base(text: str) -> str:
    r"""`(2012)_3`, `2012_{\text{three}}` and `2012 \text{ base } 3` as `2012_3`."""
    found = _BASE.fullmatch(text) if len(text) <= _MAX_BASED_CHARS else None
    if not found:
        return text
    base = _BASES.get(found["base"].casefold(), found["base"])
    return f"{found['digits']}_{base if len(base) == 1 else f'{{{base}}}'}" if base.isdigit() else text


def _without_comments(text: str) -> str:
    """Drop TeX comments. One ends with its line, so the last line has none, and "28 %" keeps its sign."""
    *lines, last = text.split("\n")
    return "\n".join([*(_UNESCAPED_PERCENT.split(line, maxsplit=1)[0] for line in lines), last])


def _from_unicode(text: str) -> str:
    if not text.isascii():
        text = _SUPERSCRIPT_RUN.sub(lambda run: f"^{{{run[0].translate(_SUPERSCRIPTS)}}}", text)
        text = _SUBSCRIPT_RUN.sub(lambda run: f"_{{{run[0].translate(_SUBSCRIPTS)}}}", text)
        text = _UNICODE_ROOT.sub(r"\\sqrt{\1}", text).replace("√", r"\sqrt")
        text = _NOT_ASCII.sub(lambda found: _ascii(found[0]), text)
    return _CONTROL.sub("", text)


def _ascii(char: str) -> str:
    """The ASCII spelling of a symbol, a fraction, a digit or letter of any width or script; others stay."""
    if char in _SYMBOLS:
        return _SYMBOLS[char]
    compatible = unicodedata.normalize("NFKC", char)  # "½": "1⁄2" with U+2044, "４": "4", "（": "("
    numerator, slash, denominator = compatible.partition("⁄")
    if slash and denominator:
        return f"\\frac{{{numerator}}}{{{denominator}}}"
    if unicodedata.decimal(char, None) is not None:
        return str(unicodedata.decimal(char))
    if char.isspace():
        return " "
    return compatible if len(compatible) == 1 and compatible.isascii() else char


def _as_fraction(found: re.Match[str]) -> str:
    r"""`0.1\overline{6}` is (16 - 1) / 90."""
    whole, fixed, repeated = found[1], found[2], "".join(part or "" for part in found.groups()[2:])
    if len(whole + fixed + repeated) > 50:
        return found[0]
    numerator = int(whole + fixed + repeated) - int(whole + fixed or "0")
    return f"\\frac{{{numerator}}}{{{(10 ** len(repeated) - 1) * 10 ** len(fixed)}}}"


def _join_thousands(text: str) -> str:
    """Take the commas out of "1,234,567", except in brackets, where "(100,200)" is a point."""
    if _SPACED_NUMBER.fullmatch(text):
        return text.replace(" ", "")
    if _DOTTED_NUMBER.fullmatch(text):
        return text.replace(".", "").replace(" ", "").replace(",", ".")
    pieces, depth, behind = [], 0, 0
    for found in _BRACKET_OR_GROUPED.finditer(text):
        depth = max(0, depth + bool(found["open"]) - bool(found["close"]))
        grouped = not depth and not found["open"] and not found["close"]
        pieces += [text[behind : found.start()], found[0].replace(",", "") if grouped else found[0]]
        behind = found.end()
    return "".join(pieces) + text[behind:]


def _code_roots(text: str) -> str:
    r"""`sqrt(...)` and `\sqrt(...)` with the braces that LaTeX needs."""
    pieces: list[str] = []
    is_root: list[bool] = []
    behind = 0
    for found in _ROOT_OR_BRACKET.finditer(text):
        opens = found[0] != ")"
        root = bool(found["root"]) if opens else bool(is_root and is_root.pop())
        if opens:
            is_root.append(root)
        pieces += [text[behind : found.start()], ("\\sqrt{" if opens else "}") if root else found[0]]
        behind = found.end()
    return text if any(is_root) else "".join(pieces) + text[behind:]


def _strip_decoration(text: str) -> str:
    """Strip what may stand around an answer: space, a full stop, a line break, "=", "+", "**", outermost braces."""
    start, end = 0, len(text)
    while end > start and (text[end - 1].isspace() or text[end - 1] in ",;:.*" or text.endswith("\\\\", start, end)):
        if text.endswith("..", start, end):  # an ellipsis says something
            break
        end -= 2 if text.endswith("\\\\", start, end) else 1
    end -= (len(text[start:end]) - len(text[start:end].rstrip("\\"))) % 2  # a backslash that escapes nothing
    while start < end and (text[start].isspace() or text[start] in "=+:*"):
        start += 1
    layers = _outer_braces(text[start:end])
    return text[start + layers : end - layers].strip()


def _outer_braces(text: str) -> int:
    """How many pairs of braces enclose all of `text`."""
    partner: dict[int, int] = {}
    opened: list[int] = []
    for found in _ESCAPE_OR_BRACE.finditer(text):
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            partner[opened.pop()] = found.start()
    layers = 0
    while partner.get(layers) == len(text) - 1 - layers:
        layers += 1
    return layers

"""What two people write differently: patterns and what replaces them, in the order in which `text.normalise` does.

Each takes time linear in a text without runs of blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_TEXT_FONTS = r"textbf|textit|textrm|textnormal|textsf|texttt|mbox|hbox|mathrm|mathit|mathsf"
_UNITS = "km|cm|mm|m|mi|miles?|ft|feet|in|kg|mg|g|lbs?|l|L|ml|mL|h|hr|hours?|min|minutes?|s|sec|seconds?|days?|years?"
_CURRENCIES = "USD|EUR|GBP|JPY|CNY|RMB|INR|CHF|CAD|AUD|NZD|HKD|SGD|KRW|MXN|BRL|ZAR|PHP|Php|THB|RM|Rs"


def _tangent(found: re.Match[str]) -> str:
    return f"\\{found[1] or ''}{'cot' if found[2] else 'tan'} "


def _if_more(found: re.Match[str]) -> str:
    r"""Drop what says of which kind an unknown is, `, k \in \mathbb{Z}`, unless it is all that there is."""
    return "" if found.start() else found[0]


def _function(found: re.Match[str]) -> str:
    """A function's name as its command; words stay, "total cost" as well."""
    return f"\\{found[1]} " if found[1] else found[0]


def _in_ten_thousands(found: re.Match[str]) -> str:
    """`12万` as 120000."""
    number = Fraction(found["many"]) * (10**4 if found["scale"] in "万萬만" else 10**8)
    opened = found["text"] if found["text"] and not found["end"] else ""
    closed = found["end"] if found["end"] and not found["text"] else ""
    return found[0] if number.denominator > 1 else f"{number.numerator}{opened}{closed}"


_BETWEEN = r"(?:\\q?quad|\\[,;: ]|[\s,;]){0,8}"
_FOR_WHICH = r"(?:for|where|with)\s+(?:all|any|every|each|(?:some|an)\s+(?:arbitrary|real|constant|integer))\b"
_FOR_ALL = (
    rf"{_BETWEEN}(?:\\text\{{[\s,]*{_FOR_WHICH}(?![^{{}}]*\b(?:odd|even|and|or|if)\b)[^{{}}=]*\}}|\\forall(?![A-Za-z]))"
    r"(?:\s|[A-Za-z\d<>{}^+*_]|\\(?:in|mathbb|geq?|leq?|neq?|text|forall|infty|[,;: ])(?![A-Za-z]))*$"
)
_DEGREES_OF_HEAT = (
    r"(?:\\text\{\s*)?\^\s*(?:\\circ|\{\s*\\circ\s*\})\s*(?:\\,|~)?\s*(?:\\text\{\s*)?"
    r"([CF])(?:elsius|ahrenheit)?(?:\s*\})?\s*$"
)
_OR_ABOUT = (
    rf"(?<=[\w}})]){_BETWEEN}\\text\{{[\s,]*or (?:approximately|approx\.?|about|roughly)\s*\}}?\s*"
    r"(-?\d[\d,]*(?:\.\d+)?)(?:\s*\})?\s*$"
)
_HOW_OFTEN = (
    r"\s*\\text\{\s*\((?:a )?(?:(?:double|triple|repeated) (?:root|solution)s?|(?:with )?multiplicity \d)\)\s*\}$"
)
# "\quad \text{(approximately } 3.14 \text{ cm)}" and the like, behind an exact value.
_ABOUT = (
    rf"(?<=[\w}})]){_BETWEEN}(?:\\text\{{\s*\(|\(\s*\\text\{{|\()\s*(?:\\approx|(?:or )?(?:approximately|approx\.?"
    r"|about|roughly))\s*\}?\s*(-?\\?\$?\d[\d,]*(?:\.\d+)?)"
    r"\s*(?:\\text\{[^{}()]*\)\s*\}|[A-Za-z ]*\)\s*\}?|\\text\{[^{}()]*\}\s*\))\s*$"
)

# "\\frac{1}{2} \\text{ (or 0.5)}": each of the two must be right.
_SAID_AGAIN = (
    r"(?<=[\w})])\s*\\text\{\s*\(\s*(?:or|i\.e\.,?|that is,?)?\s*\}?\s*"
    r"(-?(?:\d[\d.,/]*\d|\d|\\[dt]?frac\{[^{}]*\}\{[^{}]*\}|\\[dt]?frac\d\d)(?:\\%)?)\s*(?:\\text\{\s*\)\s*\}|\)\s*\}?)\s*$"
)


def _unless_alone(found: re.Match[str]) -> str:
    """Drop of what an answer holds, "for all x", unless that says which of several it is, or is all that there is."""
    alone = not found.start() or re.search(r"\b(?:odd|even|if|and|or)\b", found[0])
    return found[0] if alone else ""


def _degrees(found: re.Match[str]) -> str:
    return f"\\text{{ {'celsius' if found[1] == 'C' else 'fahrenheit'}}}"


_PART = r"\\text\{[^{}]*\}(?:\^\{?-?\d\}?)?"
GAP = r"(?:\s|~|\\[,;:! ]){0,4}"
_UNIT_CHAIN = (
    rf"(?<=[\d}})]){GAP}(?:{_PART}(?:{GAP}(?:(?:/|\\cdot(?![A-Za-z])){GAP})?{_PART}){{1,6}}"
    rf"|\\[dt]?frac\{{{_PART}\}}\{{{_PART}\}}){GAP}$"
)


def _one_unit(found: re.Match[str]) -> str:
    r"""`\text{m}\,\text{s}^{-2}` and `\frac{\text{m}}{\text{s}^2}` as one unit."""
    parts = re.findall(r"\\text\{([^{}]*)\}(?:\^\{?(-?\d)\}?)?|(/)", found[0])
    if any(words.strip() in ("and", "or") for words, _, _ in parts):
        return found[0]
    named = [slash or f"{words.strip()}{'^' * power.isdigit()}{power}" for words, power, slash in parts]
    joined = "/".join(named) if r"frac" in found[0] else " ".join(named).replace(" / ", "/")
    return f"\\text{{ {joined}}}"


_FUNCTIONS = "arcsinh|arccosh|arctanh|sinh|cosh|tanh|ln|log|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|exp"
COMMANDS: tuple[Rule, ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\\s*\[\s*-?[\d.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]", r"\\\\"),
        (rf"\\text\{{\s*(?:{_CURRENCIES})\.?\s*\}}", ""),
        (rf"(?<![A-Za-z])(?:{_CURRENCIES})\.?\s*(?=\\?\$?-?\.?\d)", ""),
        (r"(?<![A-Za-z])(?:US|AU?|CA?|NZ|HK|S|R|NT)\s*\\?\$\s*(?=\d)|\\textdollar(?![A-Za-z])", ""),
        (rf"(?<=\d)\s*(?:{_CURRENCIES})\s*$", ""),
        (r"(?<!\\)\\[()\[\]]|\\?\$", ""),
        (r"(?<![\\A-Za-z])([dt]?frac|sqrt)(?=\s*[{\[])", r"\\\1"),  # a backslash that was lost on the way
        (r"(?<=[\d)])!=", "! ="),  # a factorial
        (r"\\[hv]space\*?\s*\{[^{}]*\}|\\(?:tag|label)\*?\s*\{[^{}]*\}|\\(?:mathstrut|strut|null)(?![A-Za-z])", " "),
        (r"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|rm|it)(?![A-Za-z])", " "),
        (r"(?:\\(?:blacksquare|checkmark|square|Box|qed|diamond)(?![A-Za-z])|[✓✔✅☑■□🎉])\s*$", ""),
        (r"\\(?:underline|ensuremath|mathop|mathord)\s*(?=\{)", ""),
        (r"(?<![\\A-Za-z])sqrt\s*(\d+|[a-z](?![A-Za-z]))", r"\\sqrt{\1}"),
        (r"\(\s*(?:\\b)?mod\s*(\w+)\s*\)", r"\\pmod{\1}"),
        (r",\s*(?=&)", " "),  # in a function by cases
        (r"\\backslash(?![A-Za-z])", r"\\setminus"),
        (r"\\(Re|Im)(?![A-Za-z])|\\text\s*\{(Re|Im)\}\s*(?=\()", r"\\operatorname{\1\2}"),
        (r"\\cr(?![A-Za-z])", r"\\\\"),
        (r"\\var(epsilon|phi|theta|rho|kappa)(?![A-Za-z])", r"\\\1"),
        (r"(?<=\\begin\{)smallmatrix(?=\})|(?<=\\end\{)smallmatrix(?=\})", "pmatrix"),
        (r"\\([pbv]?matrix)\s*\{((?:[^{}]|\{[^{}]*\})*)\}", r"\\begin{\1}\2\\end{\1}"),
        (r"\{\s*:\s*\}", ":"),
        (r"^\s*'([^']*)'\s*$", r"\1"),
        (r"(?<=\d)'(?=\d{3}(?!\d))", ""),
        (r"百分之\s*(\d+(?:\.\d+)?)", r"\1\\%"),
        (r"(?<=[\d})\]])\s*(?:或者?|和|及|または|又は|と|및|또는|와|과)\s*(?=[-\\\d(]|[A-Za-z]\s*=)", ","),
        (r"\\text\s*\{\s*(?:et|y|und|и|ed?|e)\s*\}(?=\s*[-\\\d(]|\s*[A-Za-z]\s*=)", r"\\text{ and }"),
        (r"\\text\s*\{\s*(?:ou|oder|o|или)\s*\}(?=\s*[-\\\d(]|\s*[A-Za-z]\s*=)", r"\\text{ or }"),
        (
            r"(?<![\d.])(?P<many>\d+(?:\.\d+)?)\s*(?P<text>\\text\s*\{\s*)?(?P<scale>[万萬만亿億억])(?!\s*[\d千百十])(?P<end>\s*\})?",
            _in_ten_thousands,
        ),
        (r"^\s*第\s*(?=\d)", ""),
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?", ""),
        (rf"(?:(?<=^)|(?<=\\cup)|(?<=\\in)){GAP}\](?=[^\[\],;]{{0,99}}[,;][^\[\],;]{{0,99}}[\[\]])", r"("),  # "]0,1]"
        (rf"([(\[][^()\[\],;]{{0,99}}[,;][^()\[\],;]{{0,99}})\[(?={GAP}(?:$|\\cup))", r"\1)"),
        (r"(?:\{\})?\^\{?(\d+)\}?\s*/\s*_\{?(\d+)\}?", r"\\frac{\1}{\2}"),
        (r"\\(?:\||[lr]?Vert(?![A-Za-z]))", "|"),
        (r"\\[hv]?phantom(?![A-Za-z])\s*(?:\{[^{}]*\}|.)", " "),
        (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|nonumber)(?![A-Za-z])|\\color\s*\{[^{}]*\}", " "),
        (r"(?<![A-Za-z])\\(?:math[a-z]{2,4}|boldsymbol|bm|pmb)\s*(?:\{\s*(-?[\d.,/]+)\s*\}|\s(\d))", r"\1\2"),
        (r"\\[hv]fill?(?![A-Za-z])|\^\{\s*\}|\\tt(?![A-Za-z])", ""),
        (r"^\s*``([^`']*)''\s*$", r"\1"),
        (r"(?<=\d)\{\}(?=\s*\^)", ""),
        (r"\\(?:mathbf|boldsymbol|bm|pmb|textcolor\s*\{[^{}]*\})\s*(?=\{)", ""),
        (rf"\\(?:{_TEXT_FONTS})\s*(?=\{{)", r"\\text"),
        (r"\\text\s*(?=\{)", r"\\text"),
        (r"(\\text\{[^{}]*)\^\{(-\d)\}", r"\1\2"),
        (_DEGREES_OF_HEAT, _degrees),
        (_ABOUT, r" \\approx \1"),
        (_OR_ABOUT, r" \\approx \1"),
        (_SAID_AGAIN, r" = \1"),
        (_HOW_OFTEN, ""),
        (_FOR_ALL, _unless_alone),
        (_UNIT_CHAIN, _one_unit),
        (r"\\text\{([^{}]*[A-Za-z])\s*\^\s*\{?(\d)\s*\}", r"\\text{\1}^\2"),
        (r"\\text\{\s*([ei])\s*\}(?=\s*(?:[-+^})]|$))", r"\1"),
        (r"\\text\{\s*(and|or)\s+(-?[\d.]+)\s*\}", r"\\text{ \1 }\2"),
        (r"^\s*\\text\{\s*(-?[\d.,/]+)\s*\\?%\s*\}\s*$", r"\1\\%"),
        (r"^\s*\\text\{\s*(\d{1,2}(?::\d\d)?\s*[apAP]\.?[mM]\.?)\s*\}\s*$", r"\1"),
        (r"^\s*(\d+)\s*(?:\\text\{\s*to\s*\}|to)\s*(\d+)\s*$", r"\1:\2"),
        (r"(?<=\d)\s*\\text\{\s*[xX]\s*\}\s*(?=10\b)", r"\\times "),
        (r"(?<=\d)\s*\\text\{\s*[eE]\s*\}\s*(?=[-+]?\d)", "e"),
        (rf"\\text\{{\s*({_FUNCTIONS})\s*\}}", r"\\\1 "),
        (r"\\text\{\s*(gcd|lcm|max|min)\s*\}(?=\s*[({])", r"\\\1 "),
        (
            rf"\\text\{{[^{{}}]*\}}|(?<![\\A-Za-z{{])({_FUNCTIONS})(?!h(?![A-Za-z]))(?=\s*(?:[(\d\\^_{{]|[a-z](?![A-Za-z])))",
            _function,
        ),
        (
            r"(?<=\d)\s*\^?\s*\{?\s*\\text\{\s*(?:st|nd|rd|th)\s*\}\s*\}?"
            r"|(?<=\d)\s*\^\s*\{\s*(?:st|rd|th)\s*\}|(?<=^2)\^\{nd\}$|(?<=\d)(?:st|nd|rd|th)(?![A-Za-z])",
            "",
        ),
        (r"\\lg(?![A-Za-z])", r"\\log_{10}"),
        (r"\\(?:operatorname\*?\s*\{\s*)?(arc)?(c?)tg\s*\}?(?![A-Za-z])", _tangent),
        (r"\\text\{\s*(?:(?:positive )?infinity|infinite)\s*\}|^\s*infinity\s*$", r"\\infty "),
        (
            r"^\s*(?:\\text\{\s*)?(?:all|the|set of|\s)*"
            r"(?:(real|complex|rational|natural) numbers|(integers))\.?\s*\}?\s*$",
            lambda found: f"\\mathbb{{{'Z' if found[2] else 'Q' if found[1] == 'rational' else found[1][0].upper()}}}",
        ),
        (r"^\s*\\(?:overrightarrow|vec)\s*\{\s*([A-Z]{2})\s*\}\s*$", r"\\text{\1}"),  # from A to B
        (r"\\(?:overrightarrow|vec)\s*\{\s*([A-Z]{2})\s*\}", r"V_{\1}"),
        (r"(?<=[A-Za-z])\\vec(?![A-Za-z])\s*", r" \\vec "),  # `\cdot\vec{w}` is no `\cdotw`
        (r"\\vec\s*(?:\{\s*([A-Za-z])\s*\}|\s([A-Za-z])(?![A-Za-z]))", r"\1\2"),
        (r"\\(?:text|mathrm)\s*\{\s*m\s*\}\s*(?=\\angle(?![A-Za-z]))", "m"),  # the measure of an angle, no metres
        (r"\{?\}?_\{?(\d+)\}?\s*C_\{?(\d+)\}?|\{?\}?\^\{?(\d+)\}?\s*C_\{?(\d+)\}?", r"\\binom{\1\3}{\2\4}"),
        (r"(?<![A-Za-z\\])C_(?:\{(\w+)\}|(\w))\^(?:\{(\w+)\}|(\w))", r"\\binom{\1\2}{\3\4}"),
        (
            r",?\s*(?:\\text\{[^{}]*\}|\\q?quad|\\[,;: ]|~|where|for|\s)*\(?(?<![A-Za-z])[a-z]\s*\\in\s*"
            r"(?:\\mathbb\s*)?(?:\{\s*[ZNQR]\s*\}|[ZNQR](?![A-Za-z]))(?:[\^_]\{?[+*]\}?)?\)?\s*$",
            _if_more,
        ),
        (
            r",?\s*\(?\\text\{[\s,]*where\s*(?:\}\s*[a-z]\s*\\text\{|[a-z]\b)"
            r"\s*is an(?:y|\sarbitrary)?\s+integer[.\s]*\}\)?\s*$",
            _if_more,
        ),
        (r"\\surd\s*(\w)", r"\\sqrt{\1}"),
        (r"\\operatorname\*?\{\s*ar(?:c|g)?(sinh|cosh|tanh)\s*\}", r"\\arc\1 "),
        (
            r"\\operatorname\*?\{\s*(sinh|cosh|tanh|ln|log|sin|cos|tan|arcsin|arccos|arctan|exp|gcd|lcm|max|min)\s*\}",
            r"\\\1 ",
        ),
        (r"\\log_\{?e\}?(?![A-Za-z])", r"\\ln "),
        (r"\\(sin|cos|tan|sinh|cosh|tanh)\s*\^\s*\{\s*-\s*1\s*\}", r"\\arc\1 "),
        (r"\\mathbb\s+([A-Z])(?![A-Za-z])|\\mathbb([A-Z])(?![A-Za-z])", r"\\mathbb{\1\2}"),
        (r"\\mathbb\{Z\}\s*/\s*(?:\((\w+)\)|\{?(\w+)\s*\\mathbb\{Z\}\}?|(\d+))(?![A-Za-z])", r"\\mathbb{Z}_{\1\2\3}"),
        (r"\\mathfrak\s*\{?\s*c\s*\}?(?![A-Za-z])", r"2^{\\aleph_0}"),
        (r"\\(?:overline|overleftrightarrow|widehat|overarc)\s*\{\s*([A-Z]{2,3})\s*\}", r"\1"),
        (r"^\s*(?:\\angle|\\triangle|∠|△)(?![A-Za-z])\s*(?=[A-Z]{1,3}\s*$)", ""),
        (r"\^\s*\{?\s*\\prime(?![A-Za-z])\s*\}?|\\prime(?![A-Za-z])", "'"),
        (r"\^?\s*\{?\s*\\deg(?:ree)?(?![A-Za-z])\s*\}?", r"^\\circ "),
        (r"\{?\\(?:euro|pounds|yen|texteuro|rupee)(?![A-Za-z])(?:\{\})?\}?", ""),
        (r"\{\s*([^{}\\]+?)\s*\\choose\s+([^{}\\]+?)\s*\}", r"\\binom{\1}{\2}"),
        (r"\{\s*([^{}\\]+?)\s*\\over\s+([^{}\\]+?)\s*\}", r"\\frac{\1}{\2}"),
        (r"\\(?:nicefrac|sfrac)\s*(?=\{)", r"\\frac"),
        (r"(?<![\w}])(\w)!\s*\^", r"(\1!)^"),
        (r"(?<=\\in)\s*\{([^{}]*,[^{}]*)\}|(?<==)\s*\{([^{}]*,[^{}]*)\}", r" \\{\1\2\\}"),
        (r"\\text\{([\d\s.,:;()+/-]*|\s*[\d.]+[eE][+-]?\d+\s*)\}", r"\1"),
        (r"\\text\{(\d[0-9A-F]*|[A-F]+\d[0-9A-F]*)\}(?=\s*(?:_|$))|\\text\{([0-9A-F]+)\}(?=\s*_)", r"\1\2"),
        (r"[\"`€£¥₹₩₽₫₪฿₱]", ""),
        # Where all of it is in one font: "\text{42 apples}".
        (
            r"^\s*\\text\{\s*(-?[\d.,/]*\d)(?:\s|\\ )*(?![A-F]\s*\})"
            r"([^\W\d_]+(?:[ /][^\W\d_]+){0,3})\s*\}(\^[23])?\s*$",
            r"\1\\text{ \2}\3",
        ),
        (r"^\s*\\text\{\s*(\d+)\s*(\([a-z-]+\))\s*\}\s*$", r"\1\\text{ \2}"),
        (r"(\\text\{\s*[A-Za-z]{1,12}(?:\^?\d)?)\s+(and|or)\s*\}(?=\s*[-\d\\])", r"\1}\\text{ \2 }"),
        (r"(?<=[\d})])(?:\s|\\ )*\\&(?:\s|\\ )*(?=[-\d\\(])", r"\\text{ and }"),
        (r"\\(?:lor|vee)(?=\s*\(?[A-Za-z](?:_\w)?\s*=)", r"\\text{ or }"),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\(?:leqslant|le)(?![A-Za-z])|<=", r"\\leq "),
        (r"\\(?:geqslant|ge)(?![A-Za-z])|>=", r"\\geq "),
        (r"\\ne(?![A-Za-z])", r"\\neq "),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}", r"\\emptyset "),
        (r"\\[lr]vert(?![A-Za-z])", "|"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        # "9.8 m/s^2": not a quotient of letters, as "3m/s" without the blank may be.
        (rf"(?<=\d) +((?:{_UNITS})/(?:{_UNITS}))(\^\{{?\d\}}?)?(?=\s*$)", r"\\text{ \1}\2"),
        (r"\\text\{ *(?:percent(?:age)?|pct)\.? *\}|(?<=[\d}]) *(?:percent(?:age)?|pct)\b|(?<!\\)%", r"\\%"),
        (r"\\c?dots(?![A-Za-z])", r"\\ldots "),
        (r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi "),
        (r"(?<![\\A-Za-z])oo(?![A-Za-z])", r"\\infty "),
    )
)
SPACING: tuple[Rule, ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\\!\s*", ""),
        (r"(?<=\d)\s*(?<!\\)\{\s*,\s*\}\s*(?=\d)", ","),
        (r"(?<=\d)(?:\\[,;: ]|~)(?=\d{3}(?!\d))", ""),
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![A-Za-z])", " "),
        (r"\s+", " "),
    )
)
_TOKEN = r"[0-9A-Za-z]|\\(?:pi|theta|alpha|beta|gamma|lambda|mu|phi|omega)(?![A-Za-z])"  # what TeX takes without braces
SHORT_FORMS: tuple[Rule, ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (rf"\\frac\s*({_TOKEN})", r"\\frac{\1}"),
        (r"\\frac\s+(?=\{)", r"\\frac"),
        (rf"(\\frac\{{[^{{}}]*\}})\s*({_TOKEN})", r"\1{\2}"),
        (r"(\\frac\{[^{}]*\})\s+(?=\{)", r"\1"),
        (r"\\sqrt\s+(?=[\[{])", r"\\sqrt"),
        (rf"\\sqrt\s*(\[[^\[\]]*\])?\s*({_TOKEN})", r"\\sqrt\1{\2}"),
        (r"\\sqrt\s*(\[[^\[\]]*\])?\s*(\\frac\{[^{}]*\}\{[^{}]*\})", r"\\sqrt\1{\2}"),
        # What stands on the left is left out, or said before the box. "\sim p" may be "not p".
        (r"^\\(?:approx|therefore|implies|Rightarrow)(?![A-Za-z])\s*(?=\S)", ""),
        (r"^\\(?:sim|simeq|equiv)(?=\s*[-+]?\s*(?:\.?\d|\\(?:frac|sqrt|pi)(?![A-Za-z])))\s*", ""),
        (r"\*\*\s*(-?\w+)", r"^{\1}"),
        (r"\*\*", "^"),
        (r"\^\s*([+-]\d+)", r"^{\1}"),
        (r"([_^])\{(\w)\}(?!\w)", r"\1\2"),
    )
)

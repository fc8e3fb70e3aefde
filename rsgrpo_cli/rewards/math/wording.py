r"""Words around a value: which may be left out, which say another value, and what answers in words say.

Before a value only words that introduce it may stand ("the answer is"), or a label with a colon. Behind it stands what
is counted or measured, and that can be any noun; but words that make another value of it ("million", "squared", "or
9") are no noun. String work, linear in the text.
"""

from __future__ import annotations

import re

_TEXT_COMMAND = re.compile(r"\\text\{([^{}]*)\}")
_WORD = re.compile(r"[^\W\d_]+(?:['’][a-z]+)?")


def _said(text: str) -> list[str]:
    return text.split()


_NUMERALS = _said(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_TENS = ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMERALS = {word: value for value, word in enumerate(_NUMERALS)} | {word: 10 * n for n, word in enumerate(_TENS, 3)}
"""What one word says; "forty-two" is two."""
SCALES = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
"""Words that multiply the number before them."""

_INTRODUCES = frozenset(
    _said(
        "the a final correct answer answers is are be was total result results value values of for to equal "
        "equals equalling so therefore thus hence we get have obtain find there it in sum area length width "
        "height volume perimeter radius distance number amount cost price probability speed time age ratio "
        "angle maximum minimum smallest largest least greatest exactly simplified "
        "only simplest form solution solutions roots root option choice case usd eur gbp cny rmb inr jpy rs us hk "
        "fr k y x"
    )
)
"""Words that may stand before a value without a colon: they say that it comes, or what it is a value of."""
_STATES = frozenset(
    _said(
        "is are was equals equal gives be has have had gets makes takes costs weighs earns "
        "est es é è ist равен равна равно beträgt ergibt vale"
    )
)
"""Words that say of what stands before them what follows them, as a colon does."""
_ALTERS = (
    frozenset(
        _said(
            "minus plus negative times squared cubed factorial half halves third thirds quarter quarters fourth "
            "fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths "
            "hundredth hundredths thousandth thousandths point over divided multiplied by mod modulo power choose "
            "more less fewer greater than most twice double triple thrice except not never neither nor no without "
            "if unless or and but below under above between reciprocal inverse square cube squareroot log percent "
            "base times-ten raised exponent plus-minus short almost eleventh elevenths twelfth twelfths twentieth "
            "twentieths halved doubled tripled quadrupled pi k thousandth nearly hundreds thousands millions "
            "billions trillions dozens tens score until up increased decreased remainder unknown undefined "
            "impossible wrong incorrect false too cannot can't isn't aren't may might could maybe possibly perhaps "
            "about around approximately approx roughly guess ppm ppb ish gross bn lakh lakhs crore crores "
            # in other languages: numbers, halves and doubles, "about", "not", "more" and "less"
            "mil mille tausend millón millones million millionen milliards milliarden milliarde тысяч тысячи тысяча "
            "миллион миллиона миллионов миллиард миллиарда миллиардов ribu juta nghìn triệu "
            "doble double doppelte mitad moitié hälfte половина "
            "environ aproximadamente ungefähr etwa circa около примерно khoảng "
            "pas nicht non no не не больше меньше menos moins weniger más plus mehr mindestens höchstens"
        )
    )
    | NUMERALS.keys()
)
"""Words that make another value of a number beside them."""

_ALTERS_BEHIND = (_ALTERS | SCALES.keys()) - frozenset(("square", "cube", "base", "percent"))  # "square units"

_CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_CJK_FIRST = re.compile(
    rf"^(?:\\text\{{)?\s*(?P<said>[{_CJK}]{{0,12}}(?:是|为|有|要|答|共|约|等于|は|が|은|는)\s*[:：]?|[{_CJK}]{{1,12}}\s*[:：=])\s*\}}?\s*(?=[-\\\d(.])"
)
_CJK_LAST = re.compile(rf"(?<=[\d}})\]\w])\s*(?:\\text\{{)?\s*\(?([{_CJK}]{{1,12}})\)?\s*\}}?\s*$")
_CJK_UNITS = re.compile(r"小时|小數|最[大小]|최[대소]|千[克米卡瓦]|分钟?$|百分点|[最][大小]|等于|大小")
_CJK_ALTERS = re.compile(
    r"[万萬亿億千百十半约約负負不非或和到至以之减加乘除余多几折成超近大小약만억천백십배]|이상|이하|미만|초과|아닌|아니"
)

_SHORT = "is|of|to|we|so|by|in|it|be|at|or|no|if|up|an|as|So|We|It|In|An|If|By|At|So|No|Is"  # other pairs are products
_VALUE = (
    r"(?:\d|\.\d|\\(?!text|math(?:rm|bf)|q?quad|(?:in|cdot|times|cup|cap|approx|[lg]eq|neq|to)(?![A-Za-z]))[A-Za-z]+|[(\[]|\\\{"
    r"|(?![A-Z]{1,3}\s+(?:\\text\{\s*)?(?:is|are|equals|has)\b)[A-Za-z](?![a-zà-öø-ɏ]))"
)
_LETTER = r"[A-Za-zÀ-öø-ɏЀ-ӿ]"
_SMALL = r"[a-zà-öø-ɏа-ӿ']"
_ABROAD = r"(?:[éè]|es|(?:[LlDdE][aeo]s?|[Ee]l|[AOao](?=\s+[a-zà-ö]{4,}\s)))(?=\s)"  # articles, and "is"
_BEFORE = re.compile(
    rf"^\s*(?P<said>(?:\\text\{{[^{{}}]*\}}|(?<![\\A-Za-z])(?:{_LETTER}{_SMALL}{{2,}}+|(?:{_SHORT})(?![a-z])|{_ABROAD})(?![A-Za-z]*\{{)"
    r"|[A-Za-z](?=\s+(?:is|equals?|est?|ist|é|è)\s)|[A-Z]{2,3}(?![A-Za-z_^({]|\\(?!text)|\s*[-+*/])|US\$?|[ ,.])+?)"
    rf"(?:(?P<colon>\s*:\s*)(?=[-+]?\s*{_VALUE})|\s*(?={_VALUE}|[-+](?<=[\s}}:,.][-+]){_VALUE}))"
)
_LETTERED = re.compile(r"^\s*(?:\\text\{\s*\(?[A-J][).:]\)?\s*\}|\([A-J]\))\s*(?=[-\d\\(.])")  # "(B) 42" for 42
_SIGN_WORD = re.compile(
    r"(?:\\text\{\s*(?:minus|negative)\s*\}|(?<![A-Za-z])(?:minus|negative)(?![A-Za-z]))\s*(?=[\d\\.])"
)

_ARTICLE = re.compile(
    r"^(?:(?:the [a-z]+ is|(?:the|this) (?:series|sequence|integral|function|statement|limit)"
    r"|(?:the )?(?:final )?answer(?: is|:)|an?(?!\s+(?:and|or)\b)|the|on|in|at|to|by"
    r"|it (?:is|was|will be)|it's|they are|there (?:is|are)"
    r"|all(?: the)?)\s+)+"
)
_YES_AND_NO = {
    "yes": "是 对 是的 oui sí si ja да はい 예 네 sim sì",
    "no": "否 不是 不对 non nein нет いいえ 아니오 아니요 não",
    "true": "真 正确 vrai verdadero wahr верно richtig",
    "false": "假 错误 faux falso falsch неверно",
}
_NAMES = {said: name for name, words in _YES_AND_NO.items() for said in _said(words)}
_NAMES |= {
    "does not exist": "dne",
    "doesn't exist": "dne",
    "undefined": "dne",
    "convergent": "converges",
    "divergent": "diverges",
}
_NAMES |= dict.fromkeys(
    ("no solutions", "no real solution", "no real solutions", "none", "empty set", r"\emptyset"), "no solution"
)
_MONTH = (
    r"(?P<month>jan(?:uary|\.)?|feb(?:ruary|\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|may|june?|july?|aug(?:ust|\.)?"
    r"|sept?(?:ember|\.)?|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?)"
)
_DAY = r"(?:the )?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?:,? (?P<year>\d{4}))?"
_DATES = [re.compile(form, re.IGNORECASE) for form in (rf"{_MONTH} {_DAY}{_YEAR}", rf"{_DAY}(?: of)? {_MONTH}{_YEAR}")]
_COMPOUND = re.compile(r"(?<=[A-Za-z]{2})-(?=[A-Za-z]{2})|(?<=[A-Za-z]{2})\s*[–—]\s*(?=[A-Za-z]{2})")
_BLANK = re.compile(r"\s+")
_CHOICE = re.compile(
    r"^\s*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|case|answer is|answer:)\s*:?\s*)?"
    r"(?:\(([A-J])\)|\[([A-J])\]|([A-J])\s*(?:[.:)](?!\s*')|$))",
    re.IGNORECASE,
)
_CHOOSES = re.compile(r"(?:正确)?(?:答案|选项)\s*[:：]|(?:答案)?(?:选择?|是|为)|选?项")
_SECOND_CHOICE = re.compile(
    r"(?:\b(?:and|or|not|also)\b|[,/&])\s*(?:also\s+|or\s+)?(?:[A-J][.:)](?=\s|$)|\(?[A-J]\b\)?(?!\s*[.:]?\s*\w))|\([A-J]\)"
)
_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true"}
_REASON = re.compile(
    r"(?<=\S)\s*[,;(]?\s*(?:\\text\{\s*)?(?:[,;(]\s*)?\b(?:since|because)\b.*$"
    r"|\s*\\text\{\s*\((?:by|from|using|as)\s[^{}()]*\)\s*\}$"
)
_KINDS = frozenset(_said("triangle quadrilateral function number integer series sequence curve day"))
"""What a thing is besides what is said of it."""
_SPELT_OUT = re.compile(r"(?P<digits>(?<!\d)\d{1,2})\s*\\text\{\s*\((?P<words>[a-z]+(?:-[a-z]+)?)\)\s*\}$")
_MEANING = re.compile(r"(([A-Za-z])\s*=[^=]*?\d)\s*[,;]?\s*\\text\{[\s,]*where\s*(?:\}\s*\2|\2\b)[^=\d]*")
_CHOICES = re.compile(r"[A-H]{2,8}")
_SHORT_WORDS = frozenset(("no", "ok"))
_LONGEST_SYMBOL = 2


def without_words(text: str, *, introduced: bool = True) -> str:
    r"""A value without the words that introduce it: `\text{The answer is } 42`, "Answer: 42", `答案是7`, `12个`.

    Args:
        text: Normalised.
        introduced: Whether words may only introduce the value; False drops any in `\text{}` that do not alter it, as in
            a gold.
    """
    if found := _MEANING.fullmatch(text):  # "x = 5, where x is the number of hens"
        text = found[1]
    if (found := _SPELT_OUT.search(text)) and _numeral(found["words"]) == int(found["digits"]):
        text = text[: found.end("digits")]  # "6 (six)"
    text = _SIGN_WORD.sub("-", _LETTERED.sub("", _REASON.sub("", text)))
    if (found := _CJK_FIRST.match(text)) and not _CJK_ALTERS.search(_CJK_UNITS.sub("", found["said"])):
        text = text[found.end() :]
    if (found := _CJK_LAST.search(text)) and not _CJK_ALTERS.search(_CJK_UNITS.sub("", found[1])):
        text = text[: found.start()]
    if not (found := _BEFORE.match(text)):
        return text
    said = {word.casefold() for word in _WORD.findall(_TEXT_COMMAND.sub(r" \1 ", found["said"]))}
    last = _WORD.findall(_TEXT_COMMAND.sub(r" \1 ", found["said"]))[-1:]
    stated = (
        bool(found["colon"]) or found["said"].rstrip(" }").endswith(":") or (last[:1] and last[0].casefold() in _STATES)
    )
    if text[found.end() :].startswith(("(", "\\begin")):
        said -= {"point"}  # "the point is (4, 6)"
    altered = bool(said & _ALTERS) or any(char.isdigit() for char in found["said"])
    any_words = stated or (not introduced and r"\text" in found["said"])
    dropped = not altered and (any_words or said <= _INTRODUCES)
    return text[found.end() :] if said and dropped else text


def _numeral(words: str) -> int | None:
    """The number that "six" or "forty-two" says; None for anything else."""
    tens, _, ones = words.partition("-")
    values = [NUMERALS.get(word) for word in ([tens, ones] if ones else [tens])]
    return None if None in values else sum(value or 0 for value in values)


def begins_with_words(text: str) -> bool:
    """Whether words stand before a value that are not known to introduce it."""
    return bool((found := _BEFORE.match(text)) and _WORD.search(_TEXT_COMMAND.sub(r" \1 ", found["said"])))


def cardinal(text: str) -> str | None:
    r"""The digits of a number in words up to ninety-nine, `\text{forty-two}`; None for anything else."""
    said = _TEXT_COMMAND.sub(r"\1", text).strip(" .").casefold()
    found = [NUMERALS.get(word) for word in re.split(r"[- ]", said)]
    match found:
        case [int(value)]:
            return str(value)
        case [int(tens), int(ones)] if tens in range(20, 100, 10) and ones in range(1, 10):
            return str(tens + ones)
        case _:
            return None


def alter(words: str) -> bool:
    """Whether words behind a number make another value of it: "million", "squared", "or 9"."""
    said = words.casefold()
    return any(char.isdigit() for char in said) or bool(set(_WORD.findall(said)) & _ALTERS_BEHIND)


def scale(words: str) -> int | None:
    """What a number before these words is multiplied by: a million for "million dollars"; None where by nothing."""
    first, _, rest = words.casefold().partition(" ")
    factor = SCALES.get(first) or SCALES.get(first.removesuffix("s"))
    return factor if factor and not alter(rest) else None


def date(text: str) -> tuple[str, int, str] | None:
    """The month, day and year ("" where it has none) of "March 14" or "14th of March, 2024"; None for anything else."""
    said = _BLANK.sub(" ", _TEXT_COMMAND.sub(r" \1 ", text)).strip(" .")
    found = next((found for form in _DATES if (found := form.fullmatch(said))), None)
    return (found["month"][:3].casefold(), int(found["day"]), found["year"] or "") if found else None


def spoken(text: str) -> str:
    r"""What an answer in words says: `\text{(C)}` is "c", "An ellipse." is "ellipse". Signs stay: "p-q" is no "p+q"."""
    said = _TEXT_COMMAND.sub(r"\1", text).strip().rstrip(".,;").strip()
    while said[:1] in ("(", "[") and said[-1:] in (")", "]"):
        said = said[1:-1].strip()
    said = _BLANK.sub(" ", _COMPOUND.sub(" ", said.replace("\\ ", " ")))
    said = re.sub(r"\s*([-+=<>*/^!|,])\s*", r"\1", said).strip('"“”`')
    said = _ARTICLE.sub("", said.casefold()).removesuffix(" only").replace(" angled ", " ")  # "a right-angled triangle"
    return _NAMES.get(said, said)


def is_symbol_like(gold: str) -> bool:
    r"""Whether a gold in letters alone may be a symbol or a product of two, whose sign and case count."""
    return len(gold) <= _LONGEST_SYMBOL and gold.isalpha() and gold.isascii() and gold.casefold() not in _SHORT_WORDS


def same_words(gold: str, answer: str) -> bool:
    """Whether two answers in words are the same; of a list, in any order."""
    letters = sorted(re.split(r"[\s,;]+(?:and\s+)?", _TEXT_COMMAND.sub(r"\1", answer).strip(" .")))
    if _CHOICES.fullmatch(gold) and letters == list(gold):  # "AC": several choices, in any order
        return True
    if is_symbol_like(gold) and not _is_choice(gold):
        plain = _TEXT_COMMAND.sub(r"\1", answer).strip(" .")
        return plain in (gold, f"({gold})")
    wanted, said = _without_noun(spoken(gold)), _without_noun(spoken(answer))
    if wanted == "neither" and said.startswith("neither ") and " nor " in said:
        return True
    return bool(wanted) and (
        said.replace(" ", "") == wanted.replace(" ", "") or _parts(said) == _parts(wanted) is not None
    )


def _without_noun(said: str) -> str:
    """What is said of a thing without its kind: "isosceles triangle" is "isosceles"."""
    first, _, last = said.rpartition(" ")
    return first if first and last in _KINDS else said


def choice(answer: str) -> str | None:
    """The letter that an answer chooses: `(C) 42`, "C. 42", "Option C"; None where it chooses none, "" for several."""
    plain = _REASON.sub("", _CHOOSES.sub(" ", _TEXT_COMMAND.sub(r" \1 ", answer)).strip()).removesuffix(" only")
    if not (found := _CHOICE.match(plain)):
        return None
    return "" if _SECOND_CHOICE.search(plain, found.end()) else (found[1] or found[2] or found[3]).casefold()


def agrees(gold: str, answer: str) -> bool:
    """Whether an answer begins with the yes, no, true or false that is the gold, and does not take it back."""
    wanted = spoken(gold)
    plain = _TEXT_COMMAND.sub(r" \1 ", answer).strip().casefold()
    if (first := _WORD.match(plain)) and first[0] in _NAMES:
        plain = _NAMES[first[0]] + plain[first.end() :]
    return (
        wanted in _OPPOSITES
        and re.match(rf"{wanted}\b\s*(?:[,，.;:!(—–-]|\\quad|$|because|since)", plain) is not None
        and re.search(rf"\b{_OPPOSITES[wanted]}\b", plain) is None
    )


def _is_choice(gold: str) -> bool:
    return len(gold) == 1 and "A" <= gold <= "J"


def _parts(said: str) -> list[str] | None:
    """The words of a list, sorted; None where it is none."""
    parts = [part.strip() for part in re.split(r",(?:\s*and\b)?|;|\s+and\s+", said)]
    return sorted(part.removeprefix("and ") for part in parts) if len(parts) > 1 and all(parts) else None

"""`MathReward`: 1.0 for a completion whose boxed answer equals the reference answer, else 0.0."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from rsgrpo_cli.rewards.extraction import Extraction, extract, extract_lenient
from rsgrpo_cli.rewards.math.answer import (
    GRADING_RULES_VERSION,
    MAX_ANSWER_CHARS,
    compare_cheaply,
    gold_beside,
    has_several_values,
    is_readable_unparsed,
    normalise_answer,
    normalise_gold,
    spelt_alike,
)
from rsgrpo_cli.rewards.math.domains import contradict
from rsgrpo_cli.rewards.math.form import decimal, key, rational, values
from rsgrpo_cli.rewards.math.gold import complaint_about, read_gold
from rsgrpo_cli.rewards.math.notation import with_same_index
from rsgrpo_cli.rewards.math.text import normalise
from rsgrpo_cli.rewards.types import Sample, Status, Verdict
from rsgrpo_cli.wording import raised
from rsgrpo_cli.workers.pool import DEFAULT_MEMORY_LIMIT_BYTES, Died, Done, Outcome, Raised, TimedOut, WorkerPool

VERIFIER = "rsgrpo_cli.rewards.math.verifier:verify_pair"
_MEMO_ENTRIES = 50_000
_MOST_DIGITS = 40
_NO_VERDICT = (Status.TIMEOUT, Status.ERROR)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An answer to judge: the pair of gold and answer, and its status where that is known without a worker."""

    pair: Pair | None
    status: Status | None


class MathReward:
    """Verifies mathematical answers by the policy of `math.answer`.

    Equal pairs of gold and normalised answer are verified once, within a call and across calls: of the samples of one
    prompt most give one of a few answers. A pair that timed out or killed its worker may have met a busy machine: it
    is tried again when it next comes up, and not after that.

    Args:
        workers: Processes for the pairs that need algebra; they start with the first such pair.
        deadline: Seconds for one pair, after which its worker is killed. math-verify's own limits (2 to parse, 3 to
            compare) come first, except where only a kill helps.
        lenient: Whether the breakdown also says what an answer without a box would earn. For evaluation.
    """

    def __init__(self, *, workers: int, deadline: float, lenient: bool = False) -> None:
        packages = ("math-verify", "latex2sympy2_extended", "sympy")
        engine = " ".join(f"{package}-{version(package)}" for package in packages)
        self.identity = f"math policy-{GRADING_RULES_VERSION} {engine}"
        self._lenient = lenient
        self._memo: OrderedDict[Pair, Status] = OrderedDict()
        self._failed: OrderedDict[Pair, None] = OrderedDict()  # once so far
        self._pool = WorkerPool(
            VERIFIER, workers=workers, deadline=deadline, memory_limit_bytes=DEFAULT_MEMORY_LIMIT_BYTES
        )

    def __call__(self, samples: Sequence[Sample]) -> list[Verdict]:
        """Judge `samples`.

        The answer of a verdict is the normalised one, so that equal answers are equal text; cut to 2,000 characters.
        """
        strict = [_strict_attempt(sample) for sample in samples]
        lenient = [_lenient_attempt(sample) for sample in samples] if self._lenient else []
        known = self._verify([*strict, *lenient])
        verdicts = []
        for index, attempt in enumerate(strict):
            status = _status(attempt, known)
            reward = float(status is Status.OK)
            breakdown = {"strict": reward} if self._lenient else {}
            if self._lenient:
                breakdown["lenient"] = float(_status(lenient[index], known) is Status.OK)
            answer = attempt.pair[1][:MAX_ANSWER_CHARS] if attempt.pair else None
            verdicts.append(Verdict(reward, status, answer, breakdown))
        return verdicts

    def check_ground_truth(self, ground_truths: Sequence[str]) -> list[str | None]:
        """For each reference answer None, or why it cannot be verified against itself, or is none that one writes."""
        texts = [read_gold(gold) for gold in ground_truths]
        plain = [complaint_about(text) for text in texts]
        golds = [normalise_gold(gold) for gold in ground_truths]
        in_question = (gold for gold, complaint in zip(golds, plain, strict=True) if not complaint)
        read = sorted({gold for gold in in_question if not is_readable_unparsed(gold)})
        outcomes = dict(zip(read, self._pool.map([(gold, gold, False) for gold in read]), strict=True))
        compared = [_complaint(gold, outcomes.get(gold, Done(True))) for gold in golds]
        found = zip(texts, plain, compared, strict=True)
        return [one or other or _own_complaint(text) for text, one, other in found]

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def _verify(self, attempts: Iterable[_Attempt]) -> dict[Pair, Status]:
        """The status of every pair that only algebra can judge, from the memo or from the workers."""
        wanted = dict.fromkeys(attempt.pair for attempt in attempts if attempt.pair and attempt.status is None)
        known = {pair: self._memo[pair] for pair in wanted if pair in self._memo}
        new = [pair for pair in wanted if pair not in known]
        known |= zip(new, map(judgement, self._pool.map(new)), strict=True)
        for pair, status in known.items():
            if status in _NO_VERDICT and pair not in self._failed and pair not in self._memo:
                self._failed[pair] = None
                continue
            self._memo[pair] = status
            self._memo.move_to_end(pair)
        stores: tuple[OrderedDict[Pair, Any], ...] = (self._memo, self._failed)
        for store in stores:
            while len(store) > _MEMO_ENTRIES:
                store.popitem(last=False)
        return known


def _strict_attempt(sample: Sample) -> _Attempt:
    found = extract(sample.completion, finish_reason=sample.finish_reason, in_thought=sample.in_thought)
    if found.answer is None:
        return _Attempt(None, found.status)
    answer = found.formula or found.answer
    if found.scale and (scaled := _attempt(sample, f"{answer}\\text{{ {found.scale}}}", found)).status is Status.OK:
        return scaled
    return _attempt(sample, answer, found)


def _lenient_attempt(sample: Sample) -> _Attempt:
    answer = extract_lenient(sample.completion, in_thought=sample.in_thought)
    if answer is None:
        return _Attempt(None, Status.NO_BOX)
    return _attempt(sample, answer, extract(sample.completion, in_thought=sample.in_thought))


def _attempt(sample: Sample, answer: str, found: Extraction) -> _Attempt:
    # What a group repeats is read once; of what is enormous no copy is kept.
    read = _read if sum(map(len, found.line)) + len(answer) > MAX_ANSWER_CHARS else _read_once
    return read(sample.ground_truth, answer, found.line, found.either)


def _read(ground_truth: str, answer: str, line: tuple[str, ...], either: tuple[str, ...]) -> _Attempt:
    gold = gold_beside(ground_truth, answer)
    if len(either) > 1 and not has_several_values(gold) and not _say_the_same(either):
        answer = _joined(gold, either)
    if contradict(ground_truth, answer):
        return _Attempt((gold, normalise(answer)), Status.WRONG)
    if spelt_alike(ground_truth, answer):
        return _Attempt((gold, gold), compare_cheaply(gold, gold))
    text = normalise_answer(with_same_index(ground_truth, answer), gold)
    if len(line) > 1 and has_several_values(gold) and len(values(text)) == 1:
        text = normalise_answer(", ".join(line), gold)
    return _Attempt((gold, text), compare_cheaply(gold, text))


def _joined(gold: str, boxes: tuple[str, ...]) -> str:
    """Several boxes as values of which each has to be right, where algebra could find them equal; else as a list."""
    either = r" \text{ or } ".join(boxes)
    return either if compare_cheaply(gold, normalise_answer(either, gold)) is None else ", ".join(boxes)


def _say_the_same(boxes: tuple[str, ...]) -> bool:
    r"""Whether several boxes hold one text, or one number as `\frac{1}{2}` and `0.5` do."""
    texts = {key(normalise(text)) for text in boxes}
    numbers = {decimal(text) if (exact := rational(text)) is None else exact for text in texts}
    return len(texts) == 1 or (None not in numbers and len(numbers) == 1)


_read_once = lru_cache(maxsize=8192)(_read)


def _status(attempt: _Attempt, known: dict[Pair, Status]) -> Status:
    if attempt.status is not None:
        return attempt.status
    assert attempt.pair is not None  # one of the two is given
    return known[attempt.pair]


def judgement(outcome: Outcome) -> Status:
    """What comparing two answers in a worker process came to."""
    match outcome:
        case Done(value):
            return Status.OK if value else Status.WRONG
        case TimedOut() | Raised("TimeoutException"):
            return Status.TIMEOUT
        case _:
            return Status.ERROR


def _own_complaint(gold: str) -> str | None:
    """Why a completion that boxes the reference answer itself, or the number that it is, earns nothing."""
    if not normalise_gold(gold):
        return None  # that it is empty is said elsewhere
    for spelling in (gold, *_in_digits(gold)):
        found = extract(f"\\boxed{{{spelling}}}")
        attempt = _Attempt(None, found.status) if found.answer is None else _read(gold, found.answer, found.line, ())
        if attempt.status not in (None, Status.OK):
            return f"a completion with \\boxed{{{spelling[:80]}}} would be judged {attempt.status}"
    return None


def _in_digits(gold: str) -> list[str]:
    """The number that Python reads in a reference answer, in digits."""
    if "_" in gold:  # of a base to us
        return []
    try:
        return [format(Decimal(gold), "f")] if abs(Decimal(gold).adjusted()) < _MOST_DIGITS else []
    except (InvalidOperation, ValueError):
        return []


def _complaint(gold: str, outcome: Outcome) -> str | None:
    if not gold:
        return "it is empty"
    match outcome:
        case Done(True):
            return None
        case Done():
            return "math-verify cannot read it, so that only the identical spelling could be right"
        case TimedOut() | Raised("TimeoutException"):
            return "comparing it with itself takes too long"
        case Raised(kind, message):
            return f"comparing it with itself raises {raised(kind, message)}"
        case Died(exit_code):
            return f"comparing it with itself ends the verifier with code {exit_code}"

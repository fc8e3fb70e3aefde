"""Our math reward against math-verify in a plain loop, on answers of the kinds that models give.

    python benchmarks/scoring.py [--problems FILE.jsonl] [--distinct 2000] [--groups 32] [--group-size 16]

Three workloads: distinct (gold, answer) pairs, half of them right, so that no cache helps; the groups of a training
step, where most samples of a prompt give one of a few answers; and the second step on the same prompts, where most of
that has been seen. The problems' answers are made up here, or come from a file with the column "answer".

The loop is `verify(parse(gold), parse(response))` with math-verify's defaults in one process, the gold in a box (bare,
a fifth of the golds are misread). Ours gets the time from the first call on: its workers start, and import SymPy, in
it. Before `warm` they have scored a step on other prompts, as they have from the second step of a run on.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import show

from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample

WORDS = (
    "so then",
    "we have",
    "the sum of",
    "both sides",
    "which gives us",
    "and hence",
    "by the factor theorem",
    "it follows that",
)
Pair = tuple[str, str]


def made_up_golds(count: int, rng: random.Random) -> list[str]:
    """Answers in LaTeX: the kinds and shares of MATH-500's (62% are integers)."""
    kinds: dict[Callable[[], str], float] = {
        lambda: str(rng.randint(-50, 2000)): 62,
        lambda: rf"\frac{{{rng.randint(1, 99)}}}{{{rng.randint(2, 99)}}}": 11,
        lambda: rf"{rng.randint(2, 30)}\sqrt{{{rng.choice([2, 3, 5, 7, 13])}}}": 5,
        lambda: rf"\frac{{{rng.randint(1, 9)}\sqrt{{{rng.choice([2, 3, 5])}}}}}{{{rng.randint(2, 9)}}}": 3,
        lambda: rf"\left( {rng.randint(1, 20)}, \frac{{\pi}}{{{rng.randint(2, 9)}}} \right)": 4,
        lambda: rf"{rng.randint(2, 9)}x^2 - {rng.randint(2, 9)}x + {rng.randint(1, 50)}": 4,
        lambda: rf"[{rng.randint(-9, 0)}, {rng.randint(1, 30)})": 3,
        lambda: rf"{rng.randint(1, 9)} + {rng.randint(2, 30)}i": 2,
        lambda: rf"{rng.randint(2, 99)}\pi": 2,
        lambda: f"{rng.randint(0, 99)}.{rng.randint(10, 99)}": 2,
        lambda: rf"\text{{{rng.choice(['even', 'odd', 'Evelyn', '(C)'])}}}": 2,
    }
    return [maker() for maker in rng.choices(list(kinds), list(kinds.values()), k=count)]


def respelled(gold: str, rng: random.Random) -> str:
    """A right answer in another spelling."""
    ways = (
        lambda text: text,
        lambda text: text.replace(r"\frac", r"\dfrac"),
        lambda text: text.replace(r"\left", "").replace(r"\right", ""),
        lambda text: f"{text}.",
        lambda text: rf"{{{text}}}",
        lambda text: f"x = {text}" if text.lstrip("-").isdigit() else text,
    )
    return rng.choice(ways)(gold)


def spoilt(gold: str, rng: random.Random) -> str:
    """A wrong answer of the same kind: one number in it is another."""
    digits = [index for index, char in enumerate(gold) if char.isdigit()]
    if not digits:
        return str(rng.randint(2, 99))
    at = rng.choice(digits)
    return gold[:at] + rng.choice([digit for digit in "23456789" if digit != gold[at]]) + gold[at + 1 :]


def response(answer: str, rng: random.Random) -> str:
    """A worked solution of some 1,500 characters with steps in LaTeX, and the answer in a box."""
    steps = []
    for _ in range(12):
        prose = " ".join(rng.choices(WORDS, k=5))
        steps.append(f"{prose} ${rng.randint(2, 99)}x + {rng.randint(2, 99)} = \\frac{{{rng.randint(2, 99)}}}{{7}}$.")
    return "\n".join([*steps, f"The answer is $\\boxed{{{answer}}}$."])


def distinct(golds: Sequence[str], count: int, rng: random.Random) -> list[Sample]:
    """Pairs of which no two are equal, half of them right."""
    found: dict[Pair, Sample] = {}
    while len(found) < count:
        gold = rng.choice(golds)
        answer = respelled(gold, rng) if rng.random() < 0.5 else spoilt(gold, rng)
        found.setdefault((gold, answer), Sample(response(answer, rng), gold))
    return list(found.values())


def groups(golds: Sequence[str], count: int, size: int, rng: random.Random) -> list[Sample]:
    """A step's groups: of each, some share is right, and the rest gives one of three wrong answers."""
    samples = []
    for gold in rng.sample(list(golds), count):
        rate, wrong = rng.betavariate(0.6, 0.8), [spoilt(gold, rng) for _ in range(3)]
        for _ in range(size):
            answer = gold if rng.random() < rate else rng.choices(wrong, [6, 3, 1])[0]
            samples.append(Sample(response(answer, rng), gold))
    return samples


def loop(samples: Sequence[Sample]) -> list[bool]:
    """math-verify as it comes, in this process."""
    from math_verify import parse, verify

    return [bool(verify(parse(rf"\boxed{{{each.ground_truth}}}"), parse(each.completion))) for each in samples]


def timed(
    function: Callable[[Sequence[Sample]], Sequence[object]], samples: Sequence[Sample]
) -> tuple[float, list[Any]]:
    """Seconds, and what came out."""
    started = time.perf_counter()
    returned = list(function(samples))
    return time.perf_counter() - started, returned


def compare(
    name: str, samples: Sequence[Sample], reward: MathReward, theirs: tuple[float, list[Any]], goal: str
) -> list[str]:
    """One row of the table."""
    seconds, verdicts = timed(reward, samples)
    right = [verdict.reward == 1.0 for verdict in verdicts]
    agreement = sum(one == other for one, other in zip(right, theirs[1], strict=True)) / len(samples)
    rates = [f"{len(samples) / each:,.0f}/s" for each in (theirs[0], seconds)]
    return [name, f"{len(samples):,}", *rates, f"{theirs[0] / seconds:.1f} x", goal, f"{agreement:.1%}"]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, help='a JSONL file with the column "answer"')
    parser.add_argument("--distinct", type=int, default=2000, help="distinct pairs")
    parser.add_argument("--groups", type=int, default=32, help="prompts of a step")
    parser.add_argument("--group-size", type=int, default=16, help="completions of each")
    parser.add_argument("--workers", type=int, default=2, help="our processes")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    args, rng = options(), random.Random(0)
    if args.problems:
        golds = [str(json.loads(line)["answer"]) for line in args.problems.read_text(encoding="utf-8").splitlines()]
    else:
        golds = made_up_golds(500, rng)
    loop([Sample(r"\boxed{\frac{1}{2}}", "0.5")])  # its imports are not what is measured
    pairs, step = distinct(golds, args.distinct, rng), groups(golds, args.groups, args.group_size, rng)
    before = groups(golds, args.groups, args.group_size, random.Random(1))
    slow_pairs, slow_step = timed(loop, pairs), timed(loop, step)
    rows = []
    for state in ("cold", "warm"):
        reward = MathReward(workers=args.workers, deadline=10.0)
        other = MathReward(workers=args.workers, deadline=10.0)
        for each in (reward, other) if state == "warm" else ():
            each(before)
        rows.append(compare(f"distinct pairs, {state}", pairs, reward, slow_pairs, "1.8 x"))
        goal = "10 x" if state == "warm" else ""
        rows.append(compare(f"groups of {args.group_size}, {state}", step, other, slow_step, goal))
        if state == "warm":
            rows.append(compare(f"groups of {args.group_size}, seen", step, other, slow_step, ""))
        reward.close()
        other.close()
    title = f"verdicts per second: math-verify in a loop, and ours with {args.workers} workers"
    show(title, ["workload", "answers", "loop", "ours", "faster by", "goal", "same verdict"], rows)


if __name__ == "__main__":
    main()

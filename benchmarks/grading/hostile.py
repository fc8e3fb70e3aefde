r"""10,000 completions through the math reward, 5% of them hostile: nothing may be lost, late, run or rewarded.

    python benchmarks/grading/hostile.py [--pairs 10000] [--hostile 0.05] [--workers 2] [--seed 0]

Hostile are bombs (towers of powers, factorials, sums, expansions, deep nesting, megabytes of boxes) and injections
(Python, shell and TeX commands, terminal controls, null bytes), each with random numbers so that no memory helps. They
are graded among the others, as a step of training is; then each hostile one alone, for the slowest. The command fails
where a completion has no verdict, a hostile one is rewarded, an ordinary one is misjudged, or anything in one was run.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rsgrpo_cli.console import Output, table
from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample, Verdict

MARK = "was-run"
Maker = Callable[[random.Random], str]

BOMBS: tuple[Maker, ...] = (
    lambda rng: rf"\boxed{{{rng.randint(3, 99)}^{{{rng.randint(3, 99)}^{{{rng.randint(3, 99)}^9}}}}}}",
    lambda rng: rf"\boxed{{{rng.randint(3, 99)}^{{{rng.randint(10**5, 10**9)}}}}}",
    lambda rng: rf"\boxed{{({rng.randint(10**6, 10**9)})!}}",
    lambda rng: rf"\boxed{{{rng.randint(3, 99)}!!!}}",
    lambda rng: rf"\boxed{{\binom{{{rng.randint(10**8, 10**9)}}}{{{rng.randint(10**7, 10**8)}}}}}",
    lambda rng: rf"\boxed{{\sum_{{k=1}}^{{{rng.randint(10**8, 10**9)}}} \frac{{1}}{{k}}}}",
    lambda rng: rf"\boxed{{\int_0^{{{rng.randint(2, 99)}}} e^{{x^2\sin x}}\,dx}}",
    lambda rng: rf"\boxed{{(x+y+z+w)^{{{rng.randint(150, 300)}}}}}",
    lambda rng: "\\boxed{" + r"\sin" * 60 + f" {rng.randint(1, 99)}" + "}",
    lambda rng: "\\boxed{" + r"\frac{1}{1+" * 40 + str(rng.randint(1, 99)) + "}" * 40 + "}",
    lambda rng: "\\boxed{" + r"\sqrt{2+" * 19 + str(rng.randint(1, 99)) + "}" * 19 + "}",
    lambda rng: "\\boxed{" + "(" * rng.randint(1000, 5000) + "1" + "}",
    lambda rng: "\\boxed{" + "9" * rng.randint(5_000, 100_000) + "}",
    lambda rng: "\\boxed{" * rng.randint(10_000, 50_000),
    lambda rng: f"\\boxed{{{rng.randint(1, 9)}}}x" * 60_000 + r"\boxed{",
    lambda rng: "\\boxed{" + ",".join(str(rng.randint(1, 9)) for _ in range(900)) + "}",
    lambda rng: "\\boxed{" + "+".join(rf"\sqrt{{{rng.randint(2, 99)}}}" for _ in range(90)) + "}",
    lambda rng: "{" * rng.randint(100_000, 300_000) + r"\boxed{a}",
    lambda rng: " " * rng.randint(100_000, 1_000_000) + "\\boxed{ " + " " * 9_000 + "}",
    lambda rng: rf"\boxed{{\prod_{{p}} (1-p^{{-{rng.randint(2, 99)}}})^{{-1}}}}",
)
INJECTIONS: tuple[Maker, ...] = (
    lambda rng: rf"\boxed{{__import__('os').system('touch {MARK}{rng.randint(0, 9)}')}}",
    lambda rng: rf"\boxed{{open('{MARK}{rng.randint(0, 9)}', 'w')}}",
    lambda rng: rf"\boxed{{\text{{'; touch {MARK}{rng.randint(0, 9)}; #}}}}",
    lambda rng: rf"\boxed{{$(touch {MARK}{rng.randint(0, 9)})}}",
    lambda rng: rf"\boxed{{\write18{{touch {MARK}{rng.randint(0, 9)}}}}}",
    lambda rng: r"\boxed{\input{/etc/passwd}}",
    lambda rng: r"\boxed{().__class__.__bases__[0].__subclasses__()}",
    lambda rng: rf"\boxed{{lambda: {rng.randint(0, 99)}}}",
    lambda rng: f"\\boxed{{\x1b]0;{rng.randint(0, 99)}\x07\x1b[2J}}",
    lambda rng: f"\\boxed{{\x00{rng.randint(0, 99)}\ud800}}".encode("utf-8", "replace").decode(),
    lambda rng: r"\boxed{Symbol.__init__.__globals__}",
    lambda rng: rf"\boxed{{exec(chr({rng.randint(32, 99)}))}}",
    lambda rng: r"\boxed{True == 1 or exit()}",
)


def ordinary(rng: random.Random) -> tuple[Sample, bool]:
    """A completion as models write it, and whether it is right."""
    one, two = rng.randint(2, 40), rng.randint(2, 40)
    golds = [str(one * two), rf"\frac{{{one}}}{{{one + two}}}", rf"{one}\sqrt{{{two}}}", f"({one}, -{two})"]
    golds += [rf"{one}\pi + {two}", rf"x^2 + {one}x - {two}", rf"[{one}, {one + two})"]
    gold, right = rng.choice(golds), rng.random() < 0.5
    answer = gold if right else gold.replace(str(one), str(one + 97), 1)
    answer = str(one * two + 1) if not right and answer == gold else answer
    return Sample(f"So it is ${'x = ' if gold.isdigit() else ''}\\boxed{{{answer}}}$.", gold), right


def hostile(rng: random.Random) -> Sample:
    """A bomb or an injection, against a gold that may need algebra."""
    gold = rng.choice(["42", r"\frac{1}{2}", r"2\sqrt{3}", r"\pi", "(1, 2)", "x^2 + 1", r"\text{Yes}", "1, 2"])
    return Sample(rng.choice(BOMBS if rng.random() < 0.7 else INJECTIONS)(rng), gold)


def graded(samples: list[Sample], workers: int) -> tuple[list[Verdict], float]:
    """Verdicts in steps of 512, and the seconds that they took."""
    reward, started, found = MathReward(workers=workers, deadline=10.0), time.perf_counter(), []
    for start in range(0, len(samples), 512):
        found += reward(samples[start : start + 512])
    reward.close()
    return found, time.perf_counter() - started


def slowest(samples: list[Sample]) -> tuple[float, str]:
    """The seconds of the slowest completion, graded alone, and its beginning."""
    reward, took = MathReward(workers=1, deadline=10.0), []
    reward([Sample(r"\boxed{\sqrt{12}}", r"2\sqrt{3}")])  # a worker has started
    for sample in samples:
        started = time.perf_counter()
        reward([sample])
        took.append((time.perf_counter() - started, sample.completion[:60].strip()))
    reward.close()
    return max(took)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--hostile", type=float, default=0.05, help="their share")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    """Make, grade, print."""
    args = options()
    rng = random.Random(args.seed)
    bad = [hostile(rng) for _ in range(round(args.pairs * args.hostile))]
    good = [ordinary(rng) for _ in range(args.pairs - len(bad))]
    mixed: list[tuple[Sample, bool | None]] = [*good, *((sample, None) for sample in bad)]
    rng.shuffle(mixed)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        verdicts, seconds = graded([sample for sample, _ in mixed], args.workers)
        longest, which = slowest(bad)
        ran = len(list(Path(folder).glob(f"{MARK}*")))
        os.chdir("/")
    both = list(zip(mixed, verdicts, strict=True))
    statuses = Counter(verdict.status.value for (_, right), verdict in both if right is None)
    counts = {
        "lost": sum(verdict.reward is None for verdict in verdicts) + len(mixed) - len(verdicts),
        "hostile rewarded": sum(bool(verdict.reward) for (_, right), verdict in both if right is None),
        "ordinary misjudged": sum(bool(verdict.reward) != right for (_, right), verdict in both if right is not None),
        "run": ran,
    }
    shown = table("pairs", "hostile", "seconds", "slowest", *counts, title="hostile completions among others")
    shown.add_row(str(len(mixed)), str(len(bad)), f"{seconds:.1f}", f"{longest:.2f} s", *map(str, counts.values()))
    told = ", ".join(f"{count} {name}" for name, count in statuses.most_common())
    Output().result(counts, shown, lines=[f"hostile: {told}", f"slowest: {which}"])
    raise SystemExit(any(counts.values()))


if __name__ == "__main__":
    main()

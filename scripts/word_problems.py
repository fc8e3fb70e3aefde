"""Write easy arithmetic word problems in the manner of GSM8K, made up here, for trying a small model on.

    python scripts/word_problems.py OUT_DIR [TRAIN [TEST]]

Writes OUT_DIR/train.jsonl and OUT_DIR/test.jsonl with the columns `messages` and `answer`. One step each, numbers up to
20, no problem in both files. Two solved examples go before each, as a chat: a model of 135 M parameters does not put
its answer in a box for being told so. The same call writes the same files.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

NAMES = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Max", "Emma", "Leo", "Ella")
THINGS = ("apples", "books", "marbles", "stickers", "pencils", "cookies", "coins", "cards", "shells", "balloons")
MORE = (
    "{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?",
    "{name} picks {a} {things} in the morning and {b} in the evening. How many {things} is that in all?",
    "There are {a} {things} on the table and {b} on the chair. How many {things} are there together?",
)
LESS = (
    "{name} has {a} {things} and gives {b} of them away. How many {things} are left?",
    "There are {a} {things} in a box. {name} takes {b} out. How many {things} are still in the box?",
    "{name} had {a} {things} and lost {b}. How many {things} does {name} have now?",
)
TIMES = (
    "{name} has {a} bags with {b} {things} in each. How many {things} does {name} have?",
    "One box holds {b} {things}. How many {things} do {a} boxes hold?",
)
SYSTEM = "Solve the problem."
EXAMPLES = (
    ("Kim has 6 pens and gets 5 more. How many pens does Kim have now?", "6 + 5 = \\boxed{11}"),
    ("There are 9 eggs in a bowl. Jo eats 2. How many eggs are left?", "9 - 2 = \\boxed{7}"),
)


def problem(rng: random.Random) -> tuple[str, str]:
    """One problem and its answer."""
    kind = rng.choice((MORE, LESS, TIMES))
    if kind is TIMES:
        a, b = rng.randint(2, 5), rng.randint(2, 6)
        answer = a * b
    else:
        a, b = rng.randint(4, 20), rng.randint(2, 12)
        a, b = max(a, b), min(a, b)
        answer = a + b if kind is MORE else a - b
    text = rng.choice(kind).format(name=rng.choice(NAMES), things=rng.choice(THINGS), a=a, b=b)
    return text, str(answer)


def row(text: str, answer: str) -> str:
    """A line of the file."""
    turns = [turn for question, told in EXAMPLES for turn in (("user", question), ("assistant", told))]
    messages = [{"role": role, "content": content} for role, content in (("system", SYSTEM), *turns, ("user", text))]
    return json.dumps({"messages": messages, "answer": answer}) + "\n"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, metavar="OUT_DIR")
    parser.add_argument("train", nargs="?", type=int, default=1000, metavar="TRAIN", help="how many to train on")
    parser.add_argument("test", nargs="?", type=int, default=50, metavar="TEST", help="how many to test on")
    asked = parser.parse_args()
    target, train, test = asked.target, asked.train, asked.test
    rng = random.Random(0)
    made: dict[str, str] = {}
    while len(made) < train + test:
        text, answer = problem(rng)
        made.setdefault(text, answer)
    rows = [row(text, answer) for text, answer in made.items()]
    target.mkdir(parents=True, exist_ok=True)
    for name, part in (("test", rows[:test]), ("train", rows[test:])):
        (target / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
        print(f"{target / name}.jsonl: {len(part)} problems")


if __name__ == "__main__":
    main()

r"""Builds the bundled models and problems, all from fixed seeds: `python data/toy/build.py` (8 minutes on 2 cores).

Two tasks in one vocabulary of characters:

* puzzles: "Make 24 from 3 5 7 2." is answered with an expression that uses each number once, "\boxed{3*7+5-2}".
  Many expressions are right, and finding one takes search: the exploration that RL sharpens away.
* sums: "Compute 3*(7-2)+4." is answered with a number.

There are two tiers. In the first a puzzle has four numbers, and the model solves nearly all of them in 256 attempts. In
the second, "hard", it has five, and the model was taught for a tenth of the time: there is much left to find.

A model learns puzzles from solutions whose operators are drawn + - * at 5:5:1, or 12:12:1 in the second tier, and is
tested on puzzles whose are drawn at 1:1:1: it is fluent, and peaked on sums where a product is needed. Puzzles for
supervised learning, for RL (train), for choosing settings (validation) and for evaluation (test) are disjoint.

A third model, of 4.0 M parameters and as peaked, is there to ask whether a result holds at another size. It is not
bundled; `python data/toy/build.py --larger FOLDER` makes it from the second tier's puzzles (half an hour on one core).
A fourth, of the small size, has learned from solutions whose operators are drawn at 1:1:1: it solves as much in one
attempt and far more in many, since it is less peaked. `python data/toy/build.py --spread FOLDER` makes it (2 minutes).
A fifth, of 25 M parameters, is for a GPU: `python data/toy/build.py --largest FOLDER` (half a minute on one).

`python data/toy/build.py --data-only` writes the problems without training; `build.json` ties it all together.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SEED = 2509
BATCH, SUMS_PER_BATCH = 192, 32
OPERATORS = "+-*"
EVEN = (1, 1, 1)
LARGEST_TARGET = 99
WORDS = ["Make", "from", "Compute", "\\boxed{"]
SPECIAL = ["<pad>", "<eos>", "<unk>", "<|system|>", "<|user|>", "<|assistant|>"]
CHARACTERS = list("0123456789+-*().}")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + message['role']) }}{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
Example = tuple[str, str]
"""A problem and an answer to it."""


class Tier(NamedTuple):
    """How hard the puzzles are, and the model that was taught to solve such."""

    files: str
    """What the names of its files of puzzles start with."""
    model: str
    """The folder of its model."""
    numbers: int
    taught: tuple[int, int, int]
    """At which weights the operators of the solutions that it learns from are drawn."""
    steps: int
    """Steps of supervised learning."""
    hidden: int = 96
    layers: int = 3
    peak_learning_rate: float = 3e-3


FIRST = Tier("puzzles", "model", numbers=4, taught=(5, 5, 1), steps=2500)
HARD = Tier("hard", "hard", numbers=5, taught=(12, 12, 1), steps=400)
TIERS = (FIRST, HARD)
LARGER = HARD._replace(steps=300, hidden=288, layers=4, peak_learning_rate=1e-3)
LARGEST = HARD._replace(steps=300, hidden=512, layers=8, peak_learning_rate=5e-4)
SPREAD = HARD._replace(taught=EVEN, steps=600)


# -- problems -------------------------------------------------------------------------------------------------------


def random_expression(rng: random.Random, numbers: list[int], weights: tuple[int, ...]) -> tuple[str, int]:
    """An expression over the numbers in their order, with no needless parentheses, and its value."""
    nodes = [(str(number), number, 3) for number in numbers]  # text, value, how tightly its operator binds
    while len(nodes) > 1:
        at = rng.randrange(len(nodes) - 1)
        (left, a, binds_left), (right, b, binds_right) = nodes[at : at + 2]
        operator = rng.choices(OPERATORS, weights)[0]
        binds = 2 if operator == "*" else 1
        left = left if binds_left >= binds else f"({left})"
        # a-(b+c) and a-(b-c) need their parentheses, a+(b+c) does not.
        right = right if binds_right > binds or (binds_right == binds and operator != "-") else f"({right})"
        value = {"+": a + b, "-": a - b, "*": a * b}[operator]
        nodes[at : at + 2] = [(f"{left}{operator}{right}", value, binds)]
    return nodes[0][0], nodes[0][1]


def puzzle(rng: random.Random, weights: tuple[int, ...], count: int) -> tuple[list[int], int, str]:
    """So many digits in random order, a target they can make, and one way to make it."""
    while True:
        numbers = [rng.randint(1, 9) for _ in range(count)]
        expression, target = random_expression(rng, numbers, weights)
        if 1 <= target <= LARGEST_TARGET:
            rng.shuffle(numbers)
            return numbers, target, expression


def sum_problem(rng: random.Random) -> tuple[str, int]:
    """An expression of three digits and its value."""
    while True:
        expression, value = random_expression(rng, [rng.randint(1, 9) for _ in range(3)], EVEN)
        if abs(value) <= LARGEST_TARGET:
            return expression, value


def part_of(key: str) -> str:
    """Which use a problem is kept for: 10% test, 30% train (by RL), 60% supervised."""
    bucket = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10
    return "test" if bucket < 1 else "train" if bucket < 4 else "supervised"


def puzzle_key(numbers: list[int], target: int) -> str:
    """Equal for puzzles that differ in the order of their numbers only."""
    return f"{sorted(numbers)} {target}"


def puzzles(tier: Tier, part: str, count: int, stream: str, seen: set[str]) -> Iterator[dict[str, str]]:
    """Puzzles drawn at even weights from one random stream; their keys go into `seen`, and none there is drawn."""
    rng, wanted = random.Random(f"{SEED} puzzles {stream}"), len(seen) + count
    while len(seen) < wanted:
        numbers, target, _ = puzzle(rng, EVEN, tier.numbers)
        key = puzzle_key(numbers, target)
        if part_of(key) == part and key not in seen:
            seen.add(key)
            digits = " ".join(map(str, numbers))
            yield {"problem": f"Make {target} from {digits}.", "answer": f"{digits} -> {target}"}


def validation_rows(tier: Tier, tested: int, count: int) -> Iterator[dict[str, str]]:
    """Puzzles to choose settings by, of the test part and none of the `tested` ones: nothing is trained on them.

    They are somewhat harder than those, since easy puzzles are drawn first.
    """
    seen: set[str] = set()
    deque(puzzles(tier, "test", tested, "test", seen), maxlen=0)
    return puzzles(tier, "test", count, "validation", seen)


def sum_rows(part: str, count: int) -> Iterator[dict[str, str]]:
    """Sums, each once."""
    rng, seen = random.Random(f"{SEED} sums {part}"), set()
    while len(seen) < count:
        expression, value = sum_problem(rng)
        if part_of(expression) == part and expression not in seen:
            seen.add(expression)
            yield {"problem": f"Compute {expression}.", "answer": str(value)}


def supervised_batch(rng: random.Random, tier: Tier) -> list[Example]:
    """Fresh puzzles and sums, each with one right answer."""
    examples: list[Example] = []
    while len(examples) < BATCH - SUMS_PER_BATCH:
        numbers, target, expression = puzzle(rng, tier.taught, tier.numbers)
        if part_of(puzzle_key(numbers, target)) == "supervised":
            examples.append((f"Make {target} from {' '.join(map(str, numbers))}.", f"\\boxed{{{expression}}}"))
    while len(examples) < BATCH:
        expression, value = sum_problem(rng)
        if part_of(expression) == "supervised":
            examples.append((f"Compute {expression}.", f"\\boxed{{{value}}}"))
    return examples


def write_data(folder: Path) -> None:
    """The problem files."""
    files: dict[str, Iterator[dict[str, str]]] = {
        "sums_train": sum_rows("train", 384),
        "sums_test": sum_rows("test", 128),
    }
    for tier in TIERS:
        # Three times the problems from three times the share: as hard on average, since easy puzzles are drawn first.
        files[f"{tier.files}_train"] = puzzles(tier, "train", 768, "train", set())
        files[f"{tier.files}_test"] = puzzles(tier, "test", 256, "test", set())
        files[f"{tier.files}_validation"] = validation_rows(tier, 256, 128)
    for name, rows in files.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


# -- model ----------------------------------------------------------------------------------------------------------


def build_tokenizer() -> "PreTrainedTokenizerFast":  # noqa: F821, UP037
    """One token a character, a few whole words, no spaces."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(SPECIAL + WORDS + CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(r"\\boxed\{|[A-Za-z]+|."), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        extra_special_tokens=SPECIAL[3:],
        padding_side="left",
        model_max_length=128,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(tokenizer: "PreTrainedTokenizerFast", tier: Tier = FIRST) -> "LlamaForCausalLM":  # noqa: F821, UP037
    """A Llama, of 0.34 M parameters when bundled; the head size of 32 is one that vLLM has kernels for.

    Not a Qwen2: AutoTokenizer replaces the tokenizer of any Qwen2 by Qwen's own.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=tier.hidden,
            intermediate_size=8 * tier.hidden // 3,
            num_hidden_layers=tier.layers,
            num_attention_heads=tier.hidden // 32,
            num_key_value_heads=tier.hidden // 32,
            max_position_embeddings=128,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", tier: Tier) -> None:  # noqa: F821, UP037
    """Supervised learning on fresh examples, with warm-up and cosine decay; the loss is on the answers."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    rng = random.Random(f"{SEED} supervised")
    optimizer = torch.optim.AdamW(model.parameters(), lr=tier.peak_learning_rate, weight_decay=0.01)
    started = time.time()
    for step in range(tier.steps):
        decay = 0.5 * (1 + math.cos(math.pi * step / tier.steps))
        rate = tier.peak_learning_rate * min(1.0, (step + 1) / 100) * decay
        for group in optimizer.param_groups:
            group["lr"] = rate
        input_ids, labels = tensors(tokenizer, supervised_batch(rng, tier))
        loss = model(input_ids=input_ids.to(device), labels=labels.to(device)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 250 == 0 or step == tier.steps - 1:
            print(f"step {step}  loss {loss.item():.4f}  {time.time() - started:.0f} s", flush=True)


def tensors(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> tuple[Tensor, Tensor]:  # noqa: F821
    """Right-padded input ids, and labels that are -100 outside the answer."""
    import torch

    rows = []
    for problem, answer in examples:
        chat = [{"role": "user", "content": problem}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        rows.append((prompt, [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]))
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    input_ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    labels = torch.full((len(rows), longest), -100)
    for row, (prompt, answer) in enumerate(rows):
        input_ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return input_ids, labels


def write_model(folder: Path, tier: Tier) -> None:
    """Train a tier's model and save it as a Hugging Face directory."""
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, tier)
    train(model, tokenizer, tier)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_receipt() -> None:
    """build.json: which script made which files, checked by tests/test_bundled.py."""
    import torch
    import transformers

    kinds = (".jsonl", ".safetensors", ".json", ".jinja")
    files = sorted(path for path in HERE.rglob("*") if path.suffix in kinds and path != HERE / "build.json")
    receipt = {
        "made_with": {"torch": torch.__version__, "transformers": transformers.__version__},
        "sha256": {
            path.relative_to(HERE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in [HERE / "build.py", *files]
        },
    }
    (HERE / "build.json").write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Build everything, or what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-only", action="store_true", help="write the problems, leave the models as they are")
    parser.add_argument("--hard-only", action="store_true", help="leave the first tier's model as it is")
    parser.add_argument("--larger", metavar="FOLDER", type=Path, help="only the larger model, into this folder")
    parser.add_argument("--largest", metavar="FOLDER", type=Path, help="only the model for a GPU, into this folder")
    parser.add_argument("--spread", metavar="FOLDER", type=Path, help="only the less peaked model, into this folder")
    arguments = parser.parse_args()
    asked = {LARGER: arguments.larger, LARGEST: arguments.largest, SPREAD: arguments.spread}
    for tier, folder in asked.items():
        if folder:
            write_model(folder, tier)
    if any(asked.values()):
        return
    write_data(HERE)
    tiers = () if arguments.data_only else (HARD,) if arguments.hard_only else TIERS
    for tier in tiers:
        write_model(HERE / tier.model, tier)
    write_receipt()


if __name__ == "__main__":
    main()

"""Our grading against bare math-verify on the tests that other projects wrote for their graders.

    python benchmarks/grading/suites.py SNAPSHOTS [--json FILE] [--show]

SNAPSHOTS is a folder with a bare git repository, or a checkout, of each project, `owner+name/`, `owner+name/repo/` or
`owner+name/.git`. Their tests are read out of it (`reading.py`) and not run; nothing of them is part of this project.
A project that is not there is named and left out.

"bare" is `verify(parse(gold), parse(completion))` with the gold in a box and math-verify's defaults. An answer that
its test has without a box gets one, for both; `$...$` around all of it is taken off first. A sentence without a box is
no answer in our sense, and is left out; so is a gold that `prepare` refuses, and a pair that a suite labels both ways.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reading import Graders, Pair, pairs, rows

from rsgrpo_cli.console import Output, table
from rsgrpo_cli.rewards.math.gold import complaint_about, read_gold
from rsgrpo_cli.rewards.math.reward import MathReward
from rsgrpo_cli.rewards.types import Sample

Reader = Callable[[str], list[Pair]]


def _tests(**graders: tuple[int | str, int | str]) -> Reader:
    """A reader of a file of tests; each grader with the place of its gold and of its answer."""
    named: Graders = graders
    return lambda source: pairs(source, named)


def _rows(gold: str, answer: str, right: str | None = None) -> Reader:
    """A reader of the parameters of tests, by their names."""
    return lambda source: rows(source, gold, answer, right)


def _records(source: str) -> list[Pair]:
    return [Pair(each["target"], each["output"], each["expected"] == "C") for each in json.loads(source)]


def _boxed_only(reader: Reader) -> Reader:
    return lambda source: [pair for pair in reader(source) if "boxed" in pair.answer or "boxed" in pair.gold]


def _sympy_written(source: str) -> list[Pair]:
    """`assert_equal(latex, expression)` and its parameters: the expression, written by SymPy in LaTeX, is the gold."""
    import sympy  # type: ignore[import-untyped]

    found = []
    for node in ast.walk(ast.parse(source)):
        args = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
        if len(args) < 2 or not isinstance(args[0], ast.Constant) or not isinstance(args[0].value, str):
            continue
        value = _expression(args[1], sympy)
        # The library makes small letters of capitals, and its tests expect that.
        if value is not None and not any(char.isupper() for char in _TEXT.sub("", args[0].value)):
            found.append(Pair(sympy.latex(value), args[0].value, True))
    return found


def _expression(node: ast.expr, sympy: Any) -> Any:
    """What an expression of SymPy's names and calls stands for; None where it holds anything else."""
    match node:
        case ast.Constant(value):
            return value
        case ast.UnaryOp(ast.USub(), inner):
            value = _expression(inner, sympy)
            return None if value is None else -value
        case ast.Attribute(ast.Name("S"), name):
            return getattr(sympy.S, name, None)
        case ast.Name(name):
            return sympy.Symbol(name) if len(name) == 1 and name.islower() else None
        case ast.Call(ast.Name(name), args, keywords):
            name = name.lstrip("_")
            made = getattr(sympy, name, None) if name[:1].isupper() else None
            parts = [_expression(each, sympy) for each in args]
            options = {str(each.arg): _expression(each.value, sympy) for each in keywords}
            if made is None or any(part is None for part in parts):
                return None
            return made(*parts, **options)
    return None


def _noted(labels: str) -> Reader:
    """The pairs in the notes of Qwen2.5-Math's and LIMO's grader, which say no outcome: ours, in their order."""

    def read(source: str) -> list[Pair]:
        tail = source[source.rindex("def _test_math_equal") :]
        found: list[tuple[str, str]] = []
        gold = answer = None
        for line in tail.splitlines():
            said = dict(re.findall(r"\b(pred|gt)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", line))
            if call := re.search(r"math_equal\((\"(?:[^\"\\]|\\.)*\"), (\"(?:[^\"\\]|\\.)*\")", line):
                found.append((ast.literal_eval(call[2]), ast.literal_eval(call[1])))
            answer = ast.literal_eval(said["pred"]) if "pred" in said else answer
            gold = ast.literal_eval(said["gt"]) if "gt" in said else gold
            if gold is not None and answer is not None:
                found.append((gold, answer))
                gold = answer = None
        return [Pair(*each, label == "1") for each, label in zip(found, labels, strict=False)]

    return read


def _lists(answers: str, golds: str, labels: str) -> Reader:
    """The pairs of two lists of a file of tests, and which of them are right, in their order."""

    def read(source: str) -> list[Pair]:
        said: dict[str, list[str]] = {}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
                named = ast.unparse(node.targets[0]).removeprefix("self.")
                said.setdefault(named, [str(each.value) for each in node.value.elts if isinstance(each, ast.Constant)])
        both = zip(said[golds], said[answers], labels, strict=True)
        return [Pair(gold, answer, label == "1") for gold, answer, label in both]

    return read


def _chats(*functions: str) -> Reader:
    """The last messages of the chats and the "ground_truth" in some functions, in their order, all of them right."""

    def read(source: str) -> list[Pair]:
        found = []
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name in functions:
                texts: dict[str, list[str]] = {"content": [], "ground_truth": []}
                for each in ast.walk(node):
                    if isinstance(each, ast.Dict):
                        said = {
                            getattr(key, "value", None): getattr(value, "value", None)
                            for key, value in zip(each.keys, each.values, strict=True)
                        }
                        if said.get("role") != "user":
                            for name in texts:
                                texts[name] += [str(said[name])] if isinstance(said.get(name), str) else []
                found += [Pair(*both, True) for both in zip(texts["ground_truth"], texts["content"], strict=True)]
        return found

    return read


@dataclass(frozen=True)
class Source:
    """A file of a project's tests.

    Args:
        repository: Owner and name on GitHub.
        path: Path of the file in it.
        read: Takes the pairs out of its text.
    """

    repository: str
    path: str
    read: Reader


_COMPARED = _tests(compare_strings=(0, 1), verify=(0, 1))
_MATH_VERIFY = ("test_all", "test_boxed", "test_numina_cases", "test_open_thoughts", "test_yujianll")
SUITES: dict[str, list[Source]] = {
    "Math-Verify": [Source("huggingface/Math-Verify", f"tests/{name}.py", _COMPARED) for name in _MATH_VERIFY],
    "MARIO_EVAL": [
        Source(
            "MARIO-Math-Reasoning/MARIO_EVAL",
            "math_evaluation/tests/test_is_equiv.py",
            _tests(is_equiv=(1, 0), _test_is_equiv=(1, 0), _test_is_not_equiv=(1, 0), are_equal_under_sympy=(1, 0)),
        )
    ],
    "inspect_ai": [
        Source("UKGovernmentBEIS/inspect_ai", "tests/scorer/math_cases.json", _records),
        Source("UKGovernmentBEIS/inspect_ai", "tests/scorer/test_math.py", _tests(_score_answer=(1, 0))),
    ],
    "NeMo-Skills": [Source("NVIDIA/NeMo-Skills", "tests/test_math_equal.py", _tests(math_equal=(0, 1)))],
    "AReaL": [
        Source(
            "inclusionAI/AReaL",
            "tests/test_math_verify_reward.py",
            _tests(
                gsm8k_reward_fn=("answer", "completions"), geometry3k_reward_fn=("answer", "completions"), verify=(1, 0)
            ),
        )
    ],
    "latex2sympy2_extended": [
        Source("huggingface/latex2sympy2_extended", f"tests/{name}.py", _sympy_written)
        for name in ("set_test", "mixed_fraction_test", "boxed_test")
    ],
    "hendrycks/math": [
        Source("hendrycks/math", "modeling/math_equivalence_test.py", _tests(is_equiv=(1, 0))),
    ],
    "lighteval": [
        Source("huggingface/lighteval", "tests/unit/metrics/test_extractive_match.py", _boxed_only(_COMPARED))
    ],
    "slime": [
        Source(
            "THUDM/slime",
            "tests/test_rm_math.py",
            _tests(grade_answer_mathd=(1, 0), grade_answer_sympy=(1, 0), grade_answer_verl=(1, 0)),
        ),
        Source(
            "THUDM/slime",
            "tests/test_rm_math_dapo.py",
            _tests(verify=(1, 0), compute_score=(1, 0), is_correct_minerva=(1, 0), is_correct_strict_box=(1, 0)),
        ),
    ],
    "Qwen2.5-Math, LIMO": [
        Source("QwenLM/Qwen2.5-Math", "evaluation/grader.py", _noted("11111111110010")),
        Source("GAIR-NLP/LIMO", "eval/utils/grader.py", _noted("11111")),
    ],
    "tinker-cookbook": [
        Source(
            "thinking-machines-lab/tinker-cookbook",
            "tinker_cookbook/recipes/math_rl/math_env_test.py",
            _tests(grade_answer=(1, 0)),
        )
    ],
    "rllm": [Source("rllm-org/rllm", "tests/rewards/test_math_reward.py", _tests(reward=(0, 1)))],
    "SkyRL": [
        Source("NovaSky-AI/SkyRL", "skyrl-gym/tests/test_aime.py", _rows("ground_truth", "output", "expected")),
    ],
    "open-instruct": [
        Source("allenai/open-instruct", "open_instruct/test_math_utils.py", _rows("expected_output", "input_string")),
    ],
    "OpenCompass": [
        Source(
            "open-compass/opencompass",
            "tests/datasets/test_aime2025_eval.py",
            _lists("test_predictions", "test_references", "11100"),
        )
    ],
    "verifiers": [Source("PrimeIntellect-ai/verifiers", "tests/test_math_rubric.py", _rows("answer", "completion"))],
    "open-r1, TRL": [
        Source("huggingface/open-r1", "tests/test_rewards.py", _tests(accuracy_reward=(1, 0))),
        Source("huggingface/trl", "tests/test_rewards.py", _tests(accuracy_reward=(1, 0))),
    ],
    "NeMo-RL": [
        Source(
            "NVIDIA-NeMo/RL",
            "tests/unit/environments/test_math_environment.py",
            _chats("basic_test_data", "test_math_env_various_batches"),
        )
    ],
}
"""The suites, as `scoring-2` of the project's notes counts them: 18 with 23 files."""

_WORD = re.compile(r"[A-Za-z]{3,}")
_MATHS = re.compile(r"\$+([^$]+)\$+|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\]")
_NUMBER_FIRST = re.compile(r"\s*[-+\d.\\(\[{]|[A-Za-z]+\W*$|[A-Za-z]+:")
_TEXT = re.compile(r"\\text\w*\s*\{[^{}]*\}|\\[A-Za-z]+")


def as_completion(answer: str) -> str | None:
    """A completion with the answer in a box; None for a sentence without one, which is no answer to us."""
    if re.search(r"boxed|fbox", answer):
        return answer.replace(r"\\boxed", r"\boxed")
    spans = [next(part for part in found.groups() if part is not None) for found in _MATHS.finditer(answer)]
    outside = _MATHS.sub(" ", answer)
    said = [word for word in _WORD.findall(_TEXT.sub(" ", outside)) if word not in ("and", "or")]
    if len(said) > 1 or (said and ("$" in answer or not _NUMBER_FIRST.match(answer))):
        return None
    whole = ", ".join(spans) if spans and not outside.strip(" ,.and") else answer
    return rf"\boxed{{{whole} }}" if whole.endswith("\\") else rf"\boxed{{{whole}}}"


def bare(gold: str, completion: str) -> bool:
    """math-verify as it comes, the gold in a box."""
    from math_verify import parse, verify

    boxed = gold if "boxed" in gold else rf"\boxed{{{gold}}}"
    return bool(verify(parse(boxed), parse(completion)))


def text_of(snapshots: Path, source: Source) -> str | None:
    """A project's file, out of its newest commit or its checkout; None where it is not there."""
    folder = snapshots / source.repository.replace("/", "+")
    for git in (folder / "repo", folder / "repo" / ".git", folder / ".git", folder):
        if (git / "HEAD").is_file():
            shown = ["git", f"--git-dir={git}", "show", f"HEAD:{source.path}"]
            done = subprocess.run(shown, capture_output=True, text=True, check=False)
            return done.stdout if done.returncode == 0 else None
    checkout = folder / source.path
    return checkout.read_text(encoding="utf-8") if checkout.is_file() else None


def graded(found: list[Pair], reward: MathReward) -> list[dict[str, Any]]:
    """Each pair once, with what bare math-verify and we say of it."""
    made: list[dict[str, Any]] = []
    for pair in _agreed(found):
        gold, completion = (
            _MATHS.sub(lambda one: next(filter(None, one.groups()), ""), pair.gold),
            as_completion(pair.answer),
        )
        if completion is not None and gold.strip() and not complaint_about(read_gold(gold)):
            made.append({"gold": gold, "completion": completion, "right": pair.right})
    verdicts = reward([Sample(each["completion"], read_gold(each["gold"])) for each in made])
    for each, verdict in zip(made, verdicts, strict=True):
        each |= {"ours": verdict.reward == 1.0, "status": verdict.status.value}
        each["bare"] = bare(each["gold"], each["completion"])
    return made


def _agreed(found: list[Pair]) -> list[Pair]:
    """Each pair once, but those that a project labels both ways: they test an option of its grader."""
    once = dict.fromkeys(found)
    return [pair for pair in once if Pair(pair.gold, pair.answer, not pair.right) not in once]


def row(name: str, cases: list[dict[str, Any]]) -> list[str]:
    """One line of the table."""
    good = {who: [case[who] == case["right"] for case in cases] for who in ("bare", "ours")}
    both = list(zip(good["bare"], good["ours"], strict=True))
    false = {who: sum(case[who] and not case["right"] for case in cases) for who in ("bare", "ours")}
    counts = [len(cases), sum(good["bare"]), sum(good["ours"]), both.count((False, True)), both.count((True, False))]
    return [name, *map(str, counts), str(false["bare"]), str(false["ours"])]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshots", type=Path, help="folder of the projects' repositories")
    parser.add_argument("--json", type=Path, help="write every pair and verdict here")
    parser.add_argument("--show", action="store_true", help="print the pairs that we grade otherwise than their test")
    return parser.parse_args()


def main() -> None:
    """Read, grade and print."""
    args, reward = options(), MathReward(workers=1, deadline=15.0)
    results: dict[str, list[dict[str, Any]]] = {}
    for name, sources in SUITES.items():
        texts = [(source, text_of(args.snapshots, source)) for source in sources]
        for source, text in texts:
            if text is None:
                Output().note(f"not there: {source.repository}, {source.path}")
        results[name] = graded([pair for source, text in texts if text for pair in source.read(text)], reward)
    reward.close()
    shown = table(
        "suite", "pairs", "bare", "ours", "ours better", "ours worse", "bare FP", "ours FP", title="right verdicts"
    )
    for name, cases in results.items():
        shown.add_row(*row(name, cases))
    shown.add_row(*row("all", [case for cases in results.values() for case in cases]))
    Output().result({}, shown)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    for name, cases in results.items() if args.show else ():
        for case in cases:
            if case["ours"] != case["right"]:
                print(name, "| bare right |" if case["bare"] == case["right"] else "| both wrong |", json.dumps(case))


if __name__ == "__main__":
    main()

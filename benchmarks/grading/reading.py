"""Reads the pairs that a project's own tests compare out of their source, without running any of it.

A test says that a grader accepts an answer for a gold, or refuses it. `pairs` follows the assignments, the parameters
and the assertions of a file of tests, and knows of the grader only its name and which of its arguments is which.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RIGHT = ("CORRECT", "correct", "C", True, 1, 1.0)
WRONG = ("INCORRECT", "incorrect", "I", False, 0, 0.0, -1, -1.0)


@dataclass(frozen=True)
class Call:
    """A call of a grader.

    Args:
        gold: The reference answer.
        answer: What is graded.
    """

    gold: str
    answer: str


@dataclass(frozen=True)
class Pair:
    """A call whose outcome a test demands.

    Args:
        gold: The reference answer.
        answer: What is graded.
        right: Whether the grader has to accept it.
    """

    gold: str
    answer: str
    right: bool


Graders = Mapping[str, tuple[int | str, int | str]]
"""Of each grader's function, the place or keyword of the gold and of the answer."""


class _Unknown(Exception):
    """An expression that reading alone does not settle."""


def rows(source: str, gold: str, answer: str, right: str | None) -> list[Pair]:
    """The parameters of a file's tests that have these names; None for `right` where every pair is to be accepted."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for names in _parameters(node):
                names = next((each for each in names.values() if isinstance(each, dict)), names)
                if isinstance(names.get(gold), str) and isinstance(names.get(answer), str):
                    said = names.get(right) in RIGHT if right else "invalid" not in node.name
                    found.append(Pair(names[gold], names[answer], said))
    return found


def pairs(source: str, graders: Graders) -> list[Pair]:
    """All pairs that the tests in a file assert."""
    found: list[Pair] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            for names in _parameters(node):
                _follow(node.body, dict(names), graders, found)
    return found


def _parameters(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[dict[str, Any]]:
    """The names that each set of parameters gives a test; one empty set where it has none."""
    arguments = [argument.arg for argument in test.args.args if argument.arg != "self"]
    for decorator in test.decorator_list:
        if not isinstance(decorator, ast.Call):
            continue
        *names, values = decorator.args[:2] if decorator.args else [None]
        if not isinstance(values, ast.List):
            continue
        given = _names(names[0]) if names and names[0] is not None else arguments
        for each in values.elts:
            parts = each.elts if len(given) > 1 and isinstance(each, ast.Tuple | ast.List) else [each]
            yield {name: _settled(part) for name, part in zip(given, parts, strict=False)}
        return
    yield {}


def _names(node: ast.expr) -> list[str]:
    said = ast.literal_eval(node)
    return [name.strip() for name in (said.split(",") if isinstance(said, str) else said)]


def _settled(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _follow(body: list[ast.stmt], names: dict[str, Any], graders: Graders, found: list[Pair]) -> None:
    for statement in body:
        if isinstance(statement, ast.With | ast.AsyncWith | ast.Try):
            _follow(statement.body, names, graders, found)
            continue
        try:
            if isinstance(statement, ast.Assign):
                target = statement.targets[0]
                target = target.elts[0] if isinstance(target, ast.Tuple) else target
                if isinstance(target, ast.Name):
                    names[target.id] = _value(statement.value, names, graders)
            elif (said := _assertion(statement, names, graders)) is not None:
                found.append(said)
        except _Unknown:
            continue


def _assertion(statement: ast.stmt, names: dict[str, Any], graders: Graders) -> Pair | None:
    """The pair that an `assert` or `self.assertTrue` demands; None where it is about something else."""
    call = statement.value if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) else None
    if isinstance(statement, ast.Assert):
        compared = statement.test if isinstance(statement.test, ast.Compare) else None
        denied = isinstance(statement.test, ast.UnaryOp) and isinstance(statement.test.op, ast.Not)
        tested = statement.test.operand if isinstance(statement.test, ast.UnaryOp) else statement.test
        one = _value(compared.left if compared else tested, names, graders)
        wanted = _value(compared.comparators[0], names, graders) if compared else not denied
    elif call and isinstance(call.func, ast.Attribute) and call.func.attr in ("assertTrue", "assertFalse"):
        one, wanted = _value(call.args[0], names, graders), call.func.attr == "assertTrue"
    elif call and isinstance(call.func, ast.Attribute) and call.func.attr.startswith("assertEqual"):
        one, wanted = (_value(each, names, graders) for each in call.args[:2])
    else:
        return None
    if not isinstance(one, Call) or wanted not in (*RIGHT, *WRONG):
        return None
    return Pair(one.gold, one.answer, wanted in RIGHT)


def _value(node: ast.expr, names: dict[str, Any], graders: Graders) -> Any:
    match node:
        case ast.Name(id):
            return names.get(id, id)
        case ast.Await(inner) | ast.Attribute(value=inner):
            return _value(inner, names, graders)
        case ast.Subscript(value, place):
            return _part(_value(value, names, graders), _value(place, names, graders))
        case ast.Tuple(elts) | ast.List(elts):
            return [_value(each, names, graders) for each in elts]
        case ast.Dict(keys, values):
            said = {_settled(one) if one else None: other for one, other in zip(keys, values, strict=True)}
            return {name: _value(said[name], names, graders) for name in said if name in ("ground_truth", "content")}
        case ast.Call(func, args, keywords):
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if name in ("int", "bool", "float") and args:
                return _value(args[0], names, graders)
            if name not in graders:
                raise _Unknown
            given: dict[int | str, ast.expr] = dict(enumerate(args))
            given |= {str(each.arg): each.value for each in keywords}
            gold, answer = (_texts(given.get(place), names, graders) for place in graders[name])
            calls = [Call(one, other) for one, other in zip(gold, answer, strict=False)]
            return calls[0] if len(calls) == 1 else calls
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _Unknown from None


def _part(whole: Any, place: Any) -> Any:
    if isinstance(whole, Call):
        return whole  # of a record that a grader returned
    try:
        return whole[place]
    except (TypeError, IndexError, KeyError):
        raise _Unknown from None


def _texts(node: ast.expr | None, names: dict[str, Any], graders: Graders) -> list[str]:
    found = _leaves(_value(node, names, graders)) if node is not None else []
    if not found:
        raise _Unknown
    return found


def _leaves(said: Any) -> list[str]:
    """The golds or answers in an argument: a text, a number, a list of them, chat messages, a task's record."""
    if isinstance(said, dict):
        return _leaves(said.get("ground_truth", said.get("content")))[:1]
    if isinstance(said, list | tuple):
        return [leaf for each in said for leaf in _leaves(each)]
    return [str(said)] if isinstance(said, str | int | float) and not isinstance(said, bool) else []

"""Expressions in model files: ``${width * 2}`` is replaced by its value."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from fwcompare.errors import RequestError, choices, unknown

_EXPRESSION = re.compile(r"\$\{([^{}]*)\}")
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}
_COMPARISONS: dict[type[ast.AST], Callable[..., bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

#: Numbers in a power beyond this are refused: a model file is not to keep a machine busy.
_LARGEST_POWER = 1000

#: Digits of a whole number beyond which it is refused: Python itself writes out no more than 4300.
_MOST_DIGITS = 1000


def put_in(value: Any, params: Mapping[str, Any], depth: int = 0) -> Any:
    """Plain data with every expression in its words replaced.

    A word that is one expression becomes its value, whatever its type; within a longer word the
    value is spelled out.

    Raises:
        RequestError: an expression is wrong, or the data is nested too deeply.
    """
    if depth > 20:
        raise RequestError("The model file is nested too deeply.")
    if isinstance(value, Mapping):
        return {key: put_in(item, params, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [put_in(item, params, depth + 1) for item in value]
    if not isinstance(value, str):
        return value
    if whole := _EXPRESSION.fullmatch(value):
        return evaluate(whole[1], params)
    return _EXPRESSION.sub(lambda match: str(evaluate(match[1], params)), value)


def evaluate(expression: str, params: Mapping[str, Any]) -> Any:
    """The value of ``width * 2`` and the like: names, numbers, an entry of a list, six operators,
    one comparison such as ``depth >= 4``, and nothing else."""
    text = expression.strip()
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise RequestError(f"'${{{text}}}' is not an expression.") from error
    return _value(tree.body, text, params)


def _value(node: ast.expr, text: str, params: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float()):
            return node.value
        case ast.Name():
            if node.id not in params:
                error = unknown("param", node.id, params)
                raise RequestError(f"'${{{text}}}': {error.message}", error.hint)
            return params[node.id]
        case ast.Subscript():
            entries = _value(node.value, text, params)
            return _entry(entries, _value(node.slice, text, params), text)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            left, right = _value(node.left, text, params), _value(node.right, text, params)
            return _apply(type(node.op), text, left, right)
        case ast.UnaryOp() if type(node.op) in _OPERATORS:
            return _apply(type(node.op), text, _value(node.operand, text, params))
        case ast.Compare(ops=[comparison]) if type(comparison) in _COMPARISONS:
            left = _value(node.left, text, params)
            right = _value(node.comparators[0], text, params)
            _check_numbers(text, left, right)
            return _COMPARISONS[type(comparison)](left, right)
    raise RequestError(
        f"'${{{text}}}' may hold names, numbers, entries of a list, + - * / // ** and one "
        "comparison only.",
        f"Names here: {choices(params)}.",
    )


def _entry(entries: Any, position: Any, text: str) -> Any:
    if not isinstance(entries, list | tuple):
        raise RequestError(f"'${{{text}}}' looks into something that is no list.")
    if not isinstance(position, int) or not 0 <= position < len(entries):
        raise RequestError(
            f"'${{{text}}}' looks at place {position} of a list of {len(entries)}.",
            "Places are counted from 0.",
        )
    return entries[position]


def _check_numbers(text: str, *values: Any) -> None:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise RequestError(f"'${{{text}}}' computes with something that is no number.")


def _apply(kind: type[ast.AST], text: str, *values: Any) -> Any:
    _check_numbers(text, *values)
    if kind is ast.Pow and max(map(abs, values)) > _LARGEST_POWER:
        raise RequestError(f"'${{{text}}}': a power takes numbers up to {_LARGEST_POWER}.")
    try:
        found = _OPERATORS[kind](*values)
    except (ZeroDivisionError, OverflowError) as error:
        raise RequestError(f"'${{{text}}}': {error}.") from error
    if isinstance(found, complex):
        raise RequestError(f"'${{{text}}}' is no real number.")
    if isinstance(found, int) and abs(found) > 10**_MOST_DIGITS:
        raise RequestError(f"'${{{text}}}' has more than {_MOST_DIGITS} digits.")
    return found

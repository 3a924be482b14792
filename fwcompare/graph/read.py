"""Reading a model file: a YAML list of layers, with the model's params put in."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph.model import Graph

#: A model file larger than this is refused: layers are data, not weights.
LARGEST_FILE_BYTES = 1_000_000

_EXPRESSION = re.compile(r"\$\{([^{}]*)\}")
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.USub: operator.neg,
}


def read(path: Path, params: Mapping[str, Any], input_shape: tuple[int, ...]) -> Graph:
    """Read a layer list, put ``params`` in, and check it.

    ``${width}`` or ``${width * 2}`` in the file is replaced by the value: names from ``params``,
    numbers, and ``+ - * / //``.

    Raises:
        RequestError: the file is missing, not YAML, too large, or does not fit.
    """
    import yaml

    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise RequestError(f"The model file {path} is larger than {LARGEST_FILE_BYTES} bytes.")
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"The model file {path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The model file {path} is not valid YAML: {error}") from error
    layers = loaded.get("layers") if isinstance(loaded, Mapping) else loaded
    if not isinstance(layers, list):
        raise RequestError(
            f"The model file {path} must hold a list under 'layers:'.",
            "Each entry needs a name and a kind; see `fwcompare show cnn`.",
        )
    try:
        return Graph.from_layers(input_shape, _put_in(layers, params, depth=0))
    except RequestError as error:
        raise RequestError(f"{path.name}: {error.message}", error.hint) from error


def _put_in(value: Any, params: Mapping[str, Any], depth: int) -> Any:
    if depth > 20:
        raise RequestError("The model file is nested too deeply.")
    if isinstance(value, Mapping):
        return {key: _put_in(item, params, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_in(item, params, depth + 1) for item in value]
    if not isinstance(value, str):
        return value
    if whole := _EXPRESSION.fullmatch(value):
        return evaluate(whole[1], params)
    return _EXPRESSION.sub(lambda match: str(evaluate(match[1], params)), value)


def evaluate(expression: str, params: Mapping[str, Any]) -> Any:
    """The value of ``width * 2`` and the like: names, numbers and five operators, nothing else."""
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
        case ast.BinOp() if type(node.op) in _OPERATORS:
            left, right = _value(node.left, text, params), _value(node.right, text, params)
            return _apply(type(node.op), text, left, right)
        case ast.UnaryOp() if type(node.op) in _OPERATORS:
            return _apply(type(node.op), text, _value(node.operand, text, params))
    raise RequestError(
        f"'${{{text}}}' may hold names, numbers and + - * / // only.",
        f"Names here: {choices(params)}.",
    )


def _apply(kind: type[ast.AST], text: str, *values: Any) -> Any:
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise RequestError(f"'${{{text}}}' computes with something that is no number.")
    try:
        return _OPERATORS[kind](*values)
    except (ZeroDivisionError, OverflowError) as error:
        raise RequestError(f"'${{{text}}}': {error}.") from error

"""Plain data into typed values, with errors that name the place and the wanted type."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from fwcompare.errors import RequestError, choices, shown, unknown

T = TypeVar("T")

_LABELS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def build(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Make a dataclass from a mapping of its fields.

    Raises:
        RequestError: a key is unknown or missing, or a value has the wrong type; the message names
            it as ``where.key``.
    """
    if not isinstance(data, Mapping):
        raise RequestError(
            f"{where or 'The top level'} must be a mapping, got {shown(repr(data))}."
        )
    declared = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in data:
        if key not in declared:
            raise unknown("option", f"{prefix}{key}", [f"{prefix}{name}" for name in declared])
    hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
    values = {}
    for name, field in declared.items():
        if name in data:
            values[name] = convert(hints[name], data[name], f"{prefix}{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise RequestError(
                f"Option '{prefix}{name}' is missing.", f"Options here: {choices(declared)}."
            )
    return cls(**values)


@cache
def _hints(cls: type) -> dict[str, Any]:
    """The types of its fields, which are compiled from text: a thousand specs ask for them."""
    return typing.get_type_hints(cls)


def convert(hint: Any, value: Any, where: str) -> Any:
    """A value as its type hint says: scalars, optionals, tuples, mappings, nested dataclasses.

    A whole number stands for a tuple of it (``3`` for ``(3, 3)``), and a word such as ``1e-5``,
    which YAML 1.1 does not read as a number, for the number it spells.

    Raises:
        RequestError: naming ``where``.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return convert(next(a for a in arguments if a is not type(None)), value, where)
    if is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        return build(typing.cast(type, hint), value, where)
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise RequestError(f"{where} must be a mapping, got {shown(repr(value))}.")
        if is_dataclass(arguments[1]):
            return {
                key: convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()
            }
        return dict(value)
    if hint in _LABELS:
        return _scalar(hint, value, where)
    return value


def fits(hint: Any, value: Any) -> bool:
    """Whether a value read from JSON is what a type hint says, all the way down; a whole number is
    a number too, and a list stands for a tuple."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is list:
        return isinstance(value, list) and all(fits(arguments[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(arguments[0], key) and fits(arguments[1], item) for key, item in value.items()
        )
    if origin is tuple:
        return (
            isinstance(value, list | tuple)
            and len(value) == len(arguments)
            and all(map(fits, arguments, value))
        )
    return isinstance(value, hint)


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    variadic = arguments[-1] is Ellipsis
    if isinstance(value, int) and not isinstance(value, bool) and not variadic:
        value = [value] * len(arguments)
    if not isinstance(value, list | tuple) or (not variadic and len(value) != len(arguments)):
        count = "a list" if variadic else f"a list of {len(arguments)}"
        raise RequestError(f"{where} must be {count}, got {shown(repr(value))}.")
    return tuple(convert(arguments[0], item, where) for item in value)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = str(value)
    is_bool = isinstance(value, bool)
    holds = {
        bool: is_bool,
        int: isinstance(value, int) and not is_bool,
        float: isinstance(value, int | float) and not is_bool,
        str: isinstance(value, str),
    }[hint]
    if not holds:
        raise RequestError(f"{where} must be {_LABELS[hint]}, got {shown(repr(value))}.")
    if hint is float and not _finite(value):
        raise RequestError(f"{where} must be finite, got {shown(repr(value))}.")
    return hint(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float reaches
        return False

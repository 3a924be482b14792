"""In the worker: the user's function is loaded from its file, and called."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fwcompare.errors import RunError, choices
from fwcompare.spec import NativeCode, RunSpec


def build(spec: RunSpec, **more: Any) -> Any:
    """The model that the user's code builds; its arguments are chosen by name from the model's
    params, ``input_shape`` and ``outputs``, and what the engine gives besides.

    Raises:
        RunError: the file has changed or raises, the function is not there, or it wants what there
            is not.
    """
    code = spec.framework.code
    assert code is not None
    function = load(code)
    shape = spec.model.graph.output_shape
    given = {
        **spec.model.params,
        "input_shape": spec.model.input_shape,
        "outputs": shape[-1],
        **more,
    }
    arguments = _arguments(function, given, code)
    try:
        return function(**arguments)
    except Exception as error:
        said = _said(error, code.file)
        raise RunError(f"{code.shown} raises: {said}.") from _within(error, code.file)


def load(code: NativeCode) -> Callable[..., Any]:
    """The function. Raises ``RunError``."""
    path = Path(code.file)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise RunError(f"The native file {path} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(source).hexdigest() != code.sha256:
        raise RunError(f"The native file {path} has changed since this run was asked for.")
    name = f"fwcompare_native_{code.sha256[:16]}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickles look there
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # behind all that is installed
    try:
        found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        said = _said(error, code.file)
        raise RunError(f"The native file {path} raises on import: {said}.") from _within(
            error, code.file
        )
    function = getattr(module, code.function, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise RunError(
            f"The native file {path} has no function '{code.function}'. It has: {choices(own)}."
        )
    loaded: Callable[..., Any] = function
    return loaded


def _arguments(
    function: Callable[..., Any], given: Mapping[str, Any], code: NativeCode
) -> dict[str, Any]:
    chosen = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in given:
            chosen[name] = given[name]
        elif parameter.default is parameter.empty:
            raise RunError(
                f"{code.shown} wants '{name}', which is no param of the model. "
                f"It may take: {choices(given)}."
            )
    return chosen


def _within(error: Exception, file: str) -> Exception:
    """An exception with its trace from the user's file on: what called that is none of theirs."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return error.with_traceback(trace) if trace else error


def _said(error: Exception, file: str) -> str:
    """An exception in a line, with the line of the user's file that it comes from."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    first = (str(error).strip() or repr(error)).splitlines()[0]
    place = f" (line {line})" if line else ""
    return f"{type(error).__name__}: {first}{place}"

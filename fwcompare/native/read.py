"""In the parent: which code stands for which engine, and its weight map. Nothing of it is run."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph import Graph
from fwcompare.limits import read_text, user_path
from fwcompare.native.mapping import WeightMap
from fwcompare.plugin import front, installed, native_keys
from fwcompare.safe_yaml import read_yaml
from fwcompare.spec import NativeCode

#: Bytes of a file of code.
LARGEST_CODE = 1_000_000

#: The option that names the weight map.
MAP = "map"


def declared(section: Any, places: Sequence[Path], graph: Graph) -> dict[str, NativeCode]:
    """What ``model.native`` asks for, by key; files are looked for in ``places``.

    ``section`` is as a configuration has it: a mapping, or what is none.

    Raises:
        RequestError: a file or function that is not there, an engine that takes no code, or a map
            that does not fit the graph.
    """
    if not isinstance(section or {}, Mapping):
        raise RequestError(
            f"model.native must name code by engine, got {section!r}.",
            "Give model.native.pytorch=FILE.py:FUNCTION, or that of another engine.",
        )
    asked = {str(key): value for key, value in (section or {}).items() if value is not None}
    file = asked.pop(MAP, None)
    if not asked:
        if file is not None:
            raise RequestError(
                "model.native.map belongs to code, and none is given.",
                "Give model.native.pytorch=FILE.py:FUNCTION, or that of another engine.",
            )
        return {}
    maps = _maps(_found(str(file), "map", places)) if file is not None else None
    found = {}
    for key, given in asked.items():
        _check_key(key)
        path, function = _code(key, str(given), places)
        beside = path.with_suffix(".yml")
        if maps is None and not beside.is_file():
            raise RequestError(
                f"model.native.{key}={given}: there is no weight map.",
                f"Give model.native.map=FILE.yml, or put one at {beside}. "
                "`fwcompare native template` writes one to begin with.",
            )
        own = maps if maps is not None else _maps(beside)
        part = _part(own, key)
        try:
            missing = WeightMap.of(part, graph).missing(graph)
        except RequestError as error:
            raise RequestError(f"The weight map, {key}: {error.message}", error.hint) from error
        if missing:  # what it lacks of the code's model, only the code can tell
            raise RequestError(
                f"The weight map, {key}, has gaps: it does not name {', '.join(missing)}.",
                "`fwcompare native template` writes what can be matched.",
            )
        found[key] = code(path, function, part)
    return found


def _part(maps: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The part for a key, or for the widest that an engine of this key reads too."""
    sides = [native_keys(front(engine)) for engine in installed()]
    for name in (key, *(keys[-1] for keys in sides if key in keys)):
        if name in maps:
            return maps[name] or {}
    raise RequestError(
        f"The weight map has no part for '{key}'.", f"It has: {choices(map(str, maps))}."
    )


def code(path: Path, function: str, part: Mapping[str, Any]) -> NativeCode:
    """The code of a file as it is now."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return NativeCode(str(path), function, digest, dict(part))


def located(given: str, places: Sequence[Path]) -> tuple[Path, str]:
    """File and function of ``FILE.py:FUNCTION``. Raises ``RequestError``."""
    return _code("code", given, places)


def _check_key(key: str) -> None:
    """Raise ``RequestError`` for a key that no installed engine reads."""
    known = {name for engine in installed() for name in native_keys(front(engine))}
    if key in known:
        return
    if key in installed():
        raise RequestError(
            f"model.native.{key}: the engine '{key}' takes no code of one's own.",
            f"These do: {', '.join(sorted(known))}.",
        )
    raise unknown("option", f"model.native.{key}", [f"model.native.{name}" for name in known])


def _code(key: str, given: str, places: Sequence[Path]) -> tuple[Path, str]:
    file, colon, function = given.rpartition(":")
    if not colon or not function.isidentifier():
        raise RequestError(
            f"model.native.{key}={given} does not name a function.",
            "Give FILE.py:FUNCTION, such as net.py:build.",
        )
    path = _found(file, key, places)
    try:
        tree = ast.parse(read_text(path, LARGEST_CODE, "The native file"), file)
    except (SyntaxError, ValueError) as error:
        line, said = "", str(error)
        if isinstance(error, SyntaxError):
            line, said = f", line {error.lineno}", error.msg
        raise RequestError(f"The native file {path} is no Python{line}: {said}.") from error
    names, open_ended = _bound(tree.body)
    if function not in names and not open_ended:
        raise RequestError(
            f"The native file {path} has no function '{function}'.",
            f"It has: {', '.join(sorted(names)) or 'none'}.",
        )
    return path, function


def _bound(body: Iterable[ast.stmt]) -> tuple[set[str], bool]:
    """Names of functions and of what is imported, and whether there may be others."""
    names: set[str] = set()
    open_ended = False
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
                open_ended |= any(alias.name == "*" for alias in aliases)
            case ast.Expr() | ast.Import():
                pass
            case _:  # an assignment, a condition: only running it tells
                open_ended = True
    return names, open_ended


def _found(file: str, key: str, places: Sequence[Path]) -> Path:
    path = user_path(file)
    tried = [path] if path.is_absolute() else [place / path for place in places]
    for each in tried:
        if each.is_file():
            return each.absolute()
    raise RequestError(
        f"model.native.{key}: the file {file} was not found.",
        "Looked for: " + ", ".join(map(str, tried)),
    )


def _maps(path: Path) -> Mapping[str, Any]:
    """A weight map file: a part by engine. Raises ``RequestError``."""
    loaded = read_yaml(path, "The weight map")
    if not isinstance(loaded, Mapping) or not all(
        part is None or isinstance(part, Mapping) for part in loaded.values()
    ):
        raise RequestError(
            f"The weight map {path} must hold a part for each engine: 'pytorch:', 'keras:'."
        )
    return loaded

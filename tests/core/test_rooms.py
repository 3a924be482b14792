"""What travels to another interpreter holds all of the core that plugins import."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

import fwcompare
from fwcompare.launch import WORKER_ROOMS
from fwcompare.plugin import front, installed

CORE = Path(fwcompare.__file__).parent
PACKAGES = sorted({package for name in installed() for package in front(name).packages})


def of_core(module: str) -> str:
    """The file of a module of the core, as the rooms are told; empty for a name in a module."""
    path = module.replace(".", "/")
    for file in (f"{path}.py", f"{path}/__init__.py"):
        if (CORE / file).is_file():
            return file
    return ""


def imported(file: Path) -> set[str]:
    """Files of the core that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level or node.module is None:
            continue
        top, _, rest = node.module.partition(".")
        if top == "fwcompare":
            names = (".".join(filter(None, (rest, alias.name))) for alias in node.names)
            found |= {of_core(name) or of_core(rest) for name in names}
    return found - {""}


def travels(file: str) -> bool:
    return any(file == room or file.startswith(f"{room}/") for room in WORKER_ROOMS)


def test_every_room_is_there():
    assert not [room for room in WORKER_ROOMS if not (CORE / room).exists()]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_plugin_imports_travels(package):
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    files = [
        file
        for file in Path(spec.origin).parent.rglob("*.py")
        if file.name != "mutations.py"  # deliberate errors, which stay in this interpreter
    ]
    assert files
    missing = {
        f"{file.name}: {core}" for file in files for core in imported(file) if not travels(core)
    }
    assert not missing

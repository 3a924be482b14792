"""The verbs of the command line: one module a verb, found by its name.

A module holds ``SUMMARY`` (one line), ``configure(parser)`` and ``run(arguments) -> int``.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Sequence


def names() -> list[str]:
    """Every verb, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def call(verb: str, given: Sequence[str]) -> int:
    """Run a verb with its arguments. Returns the exit code."""
    module = importlib.import_module(f"{__name__}.{verb}")
    parser = argparse.ArgumentParser(
        prog=f"fwcompare {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    code: int = module.run(parser.parse_intermixed_args(given))  # options between options too
    return code

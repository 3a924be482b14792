"""List the engines that are installed, and those that could be.

fwcompare plugins
"""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare.config import published_engines
from fwcompare.plugin import distribution, front, installed, missing, versions

SUMMARY = "the engines that are installed, and those that could be"


def configure(parser: argparse.ArgumentParser) -> None:
    """This verb takes no arguments."""


def run(arguments: argparse.Namespace) -> int:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("engine", "plugin", "state", "versions"):
        table.add_column(heading)
    present = installed()
    for name in sorted(present):
        engine = front(name)
        absent = missing(engine)
        found = versions(engine.requirements)
        state = f"needs: pip install {' '.join(absent)}" if absent else "ready"
        table.add_row(
            Text(name, style=engine.colour),
            distribution(name),
            Text(state, style="red" if absent else "green"),
            ", ".join(f"{key} {value}" for key, value in found.items()),
        )
    providers = {distribution(name) for name in present}
    for name, provider in published_engines().items():
        if name not in present and provider not in providers:
            table.add_row(name, provider, Text(f"pip install {provider}", style="yellow"), "")
    Console().print(table)
    return 0

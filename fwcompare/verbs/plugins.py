"""List the engines that are installed, and those that could be.

fwcompare plugins
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from fwcompare.config import published_engines
from fwcompare.errors import RequestError, unknown
from fwcompare.plugin import distribution, front, installed, missing, versions
from fwcompare.report import stdout

SUMMARY = "the engines that are installed, and those that could be"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("list", "check"), default="list")
    parser.add_argument("engine", nargs="?", help="engine to check")
    parser.add_argument("--reference", default="pytorch", help="engine to check against")
    parser.add_argument("--only", default="", help="only cases whose name holds this")


def run(arguments: argparse.Namespace) -> int:
    if arguments.what == "check":
        return check(arguments.engine, arguments.reference, arguments.only)
    return show()


def check(engine: str | None, reference: str, only: str) -> int:
    """Run the conformance suite on one engine. Returns the exit code."""
    from fwcompare.launch import WarmPool
    from fwcompare.parity.cases import all_cases
    from fwcompare.testing import check_engine

    for name in (engine, reference):
        if name is None or name not in installed():
            raise unknown("framework", name, installed())
    assert engine is not None
    cases = [case for case in all_cases() if only in case.name]
    if not cases:
        raise RequestError(f"No case has '{only}' in its name.")
    console = Console()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="fwcompare-check-") as root, WarmPool() as pool:
        checked = check_engine(engine, reference, cases, Path(root), pool)
        for case, verdict in track(
            checked, "Checking", len(cases), console=Console(stderr=True), transient=True
        ):
            if not verdict.proven:
                bad += 1
                console.print(Text(f"{case.name}: {verdict.state}: {verdict.reason}", style="red"))
    console.print(f"{engine}: {len(cases) - bad} of {len(cases)} cases hold against {reference}.")
    return 1 if bad else 0


def show() -> int:
    """List engines. Returns the exit code."""
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
    stdout().print(table)
    return 0

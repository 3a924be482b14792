"""List the engines that are installed, and those that could be; check one of them.

  fwcompare plugins
  fwcompare plugins check jax
  fwcompare plugins check jax --only dropout
  fwcompare plugins check jax --device cuda

A check holds an engine against the whole contract: every layer kind and every optimizer with every
schedule against the reference in float64, weights that leave and come back, the rules of the probe,
dropout's statistics, and a front that imports no framework. Exits with 1 if a check does not hold.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from fwcompare import gpu
from fwcompare.config import no_gpu, published_engines, require_ready
from fwcompare.errors import RequestError
from fwcompare.plugin import distribution, front, installed, missing, versions
from fwcompare.spec import DEVICES
from fwcompare.terminal import stderr, stdout

if TYPE_CHECKING:
    from fwcompare.conformance.suite import Check

SUMMARY = "the engines that are installed, and those that could be"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", choices=("list", "check"), default="list")
    parser.add_argument("engine", nargs="?", help="engine to check")
    parser.add_argument("--reference", default="pytorch", help="engine to check against")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only checks whose part or name holds this"
    )
    parser.add_argument("--device", choices=DEVICES, default="cpu", help="device to check it on")


def run(arguments: argparse.Namespace) -> int:
    if arguments.what == "check":
        return check(arguments.engine, arguments.reference, arguments.only, arguments.device)
    return show()


def check(engine: str | None, reference: str, only: str, device: str) -> int:
    """Run the conformance suite on one engine. Returns the exit code."""
    from fwcompare.conformance.suite import all_checks

    if engine is None:
        raise RequestError(
            "Which engine is to be checked?", f"One of: {', '.join(sorted(installed()))}."
        )
    for name in (engine, reference):
        require_ready(name)
    if device == "cuda" and not gpu.present():
        raise no_gpu("--device cuda")
    checks = [check for check in all_checks(engine, reference) if only in str(check)]
    if not checks:
        raise RequestError(
            f"No check has '{only}' in its part or name.",
            f"Parts: {', '.join(dict.fromkeys(c.part for c in all_checks(engine, reference)))}.",
        )
    wrong = _attempt(checks, engine, reference, device)
    console = stdout()
    for failed, reason in wrong:
        console.print(Text(f"{failed}: ", style="bold red") + Text(reason), soft_wrap=True)
    console.print(_summary(checks, wrong))
    held = len(checks) - len(wrong)
    against = "as the reference" if engine == reference else f"against {reference}"
    on = " on the GPU" if device == "cuda" else ""
    console.print(f"{engine}: {held} of {len(checks)} checks hold {against}{on}.", soft_wrap=True)
    return 1 if wrong else 0


def _attempt(
    checks: Sequence[Check], engine: str, reference: str, device: str
) -> list[tuple[Check, str]]:
    """Run checks with progress on the terminal; those that do not hold, each with what is wrong."""
    from fwcompare.conformance.suite import Place
    from fwcompare.launch import WarmPool

    wrong = []
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", style="dim"),
        console=stderr(),
        transient=True,
    )
    with (
        tempfile.TemporaryDirectory(prefix="fwcompare-check-") as root,
        WarmPool() as pool,
        progress,
    ):
        place = Place(engine, reference, Path(root), pool, device)
        task = progress.add_task(engine, total=len(checks), now="")
        for each in checks:
            progress.update(task, now=str(each))
            if reason := each.attempt(place):
                wrong.append((each, reason))
            progress.advance(task)
    return wrong


def _summary(checks: Sequence[Check], wrong: Sequence[tuple[Check, str]]) -> Table:
    """How many checks of each part hold."""
    from fwcompare.conformance.suite import PARTS

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("part")
    table.add_column("hold", justify="right")
    table.add_column("of", justify="right")
    table.add_column("what is checked")
    for part, what in PARTS.items():
        asked = sum(check.part == part for check in checks)
        held = asked - sum(check.part == part for check, _ in wrong)
        if asked:
            style = "green" if held == asked else "bold red"
            table.add_row(part, Text(str(held), style=style), str(asked), what)
    return table


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

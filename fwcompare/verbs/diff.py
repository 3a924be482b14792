"""Show what two runs do not have in common: configuration, versions, metrics, weights.

fwcompare diff RUN_A RUN_B
fwcompare diff outputs/runs/RUN_A outputs/sweeps/SWEEP/RUN_B --all
fwcompare diff RUN_A RUN_B --format json

A run is named by its folder, its name, or the end of its name; `fwcompare runs` lists them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare.compose import compose
from fwcompare.difference import Entry, Side, difference, to_json
from fwcompare.folders import find_run
from fwcompare.grid import score
from fwcompare.limits import user_path
from fwcompare.terminal import stdout

SUMMARY = "what two runs do not have in common"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", help="name or folder of a run")
    parser.add_argument("second", help="name or folder of another")
    parser.add_argument("--all", action="store_true", help="what they have in common, too")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.add_argument("--outputs", help="folder of the runs (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    outputs = user_path(arguments.outputs) if arguments.outputs else compose([]).outputs
    sides = [Side.read(find_run(name, outputs)) for name in (arguments.first, arguments.second)]
    entries = difference(*sides)
    if not arguments.all:
        entries = [entry for entry in entries if entry.differs]
    if arguments.format == "json":
        sys.stdout.write(to_json(entries))
    else:
        show(entries, sides, stdout())
    return 0


def show(entries: Sequence[Entry], sides: Sequence[Side], console: Console) -> None:
    """A table a section; weights by their relative distance alone."""
    for position, side in enumerate(sides):
        state = side.record.status if side.record else "no record"
        console.print(Text(f"{'AB'[position]}: ", style="bold") + f"{side.folder.name} ({state})")
    if not entries:
        console.print("They have everything in common.")
        return
    for section in dict.fromkeys(entry.section for entry in entries):
        own = [entry for entry in entries if entry.section == section]
        console.print(_weights(own) if section == "weights" else _table(section, own))


def _table(section: str, entries: Sequence[Entry]) -> Table:
    table = Table(
        title=section, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("")
    table.add_column("A", overflow="fold")
    table.add_column("B", overflow="fold")
    ratios = any(entry.ratio is not None for entry in entries)
    if ratios:
        table.add_column("B / A", justify="right")
    for entry in entries:
        cells = [entry.name, *(_shown(entry.name, v) for v in (entry.first, entry.second))]
        if ratios:
            cells.append(f"{entry.ratio:.3g}" if entry.ratio is not None else "")
        table.add_row(*cells)
    return table


def _weights(entries: Sequence[Entry]) -> Table:
    table = Table(
        title="weights", title_style="bold", title_justify="left", box=box.SIMPLE_HEAD,
        pad_edge=False,
    )  # fmt: skip
    table.add_column("")
    table.add_column("relative distance, L2", justify="right")
    for entry in entries:
        table.add_row(entry.name, f"{entry.second:.2e}" if entry.second else "0")
    return table


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return score(name, value)
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else text

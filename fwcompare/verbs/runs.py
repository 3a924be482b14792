"""List runs, newest first.

fwcompare runs
fwcompare runs --framework jax --status failed
"""

from __future__ import annotations

import argparse
import time

from rich.table import Table
from rich.text import Text

from fwcompare.arms import Run, load_run
from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.folders import all_runs
from fwcompare.grid import number, score
from fwcompare.limits import user_path
from fwcompare.metrics import METRICS
from fwcompare.record import STATUSES, RunRecord
from fwcompare.report import colour
from fwcompare.terminal import plain, stdout

SUMMARY = "runs, newest first, with filters"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--framework", help="only this engine")
    parser.add_argument("--model", help="only this model")
    parser.add_argument("--status", choices=STATUSES, help="only runs that ended so")
    parser.add_argument("--sweep", help="only runs of this sweep")
    parser.add_argument("--limit", type=int, default=20, help="at most so many rows (20)")
    parser.add_argument("--outputs", help="folder of the runs (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    if arguments.limit < 1:
        raise RequestError(f"--limit must be at least 1, got {arguments.limit}.")
    outputs = user_path(arguments.outputs) if arguments.outputs else compose([]).outputs
    folders = sorted(all_runs(outputs, arguments.sweep), key=lambda path: path.name, reverse=True)
    rows: list[dict[str, Text]] = []
    for folder in folders:
        record = RunRecord.read(folder)
        if record is None:
            continue
        found = load_run(folder, record)
        if not _wanted(found, arguments):
            continue
        if len(rows) == arguments.limit:
            break
        rows.append(_row(folder.name, found))
    console = stdout()
    if not rows:
        console.print(f"No such runs in {outputs}.", soft_wrap=True)
        console.print("Make one: fwcompare framework=pytorch", style="dim")
        return 0
    console.print(_fitting(rows, console.width))
    return 0


def _wanted(found: Run, arguments: argparse.Namespace) -> bool:
    model = found.spec.model.name if found.spec else None
    return (
        arguments.framework in (None, found.engine)
        and arguments.model in (None, model)
        and arguments.status in (None, found.record.status)
    )


def _row(name: str, found: Run) -> dict[str, Text]:
    record, metrics = found.record, found.record.metrics
    keys = (f"test/{metric}" for metric in METRICS)
    scores = [score(key, metrics[key]) for key in keys if key in metrics]
    speed = metrics.get("perf/samples_per_s")
    return {
        "run": Text(name),
        "engine": Text(found.engine, style=colour(found.engine)),
        "model": Text(found.spec.model.name if found.spec else "–"),
        "seed": Text(str(found.seed)),
        "status": Text(record.status, style="green" if record.ok else "red"),
        "when": Text(time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started_ms / 1e3))),
        "score": Text(scores[0] if scores else "–"),
        "samples/s": Text(number(speed) if speed else "–"),
    }


#: What a narrow terminal leaves out first: a run's name has the most of it.
_LEFT_OUT = ("seed", "model", "engine", "when", "samples/s", "score")


def _fitting(rows: list[dict[str, Text]], width: int) -> Table:
    """The rows as a table. Names are never cut, for they are what other commands are given."""
    headings = list(rows[0])
    for left_out in ("", *_LEFT_OUT):
        headings = [heading for heading in headings if heading != left_out]
        table = Table(box=None, pad_edge=False)
        for heading in headings:
            table.add_column(heading, no_wrap=heading != "run", overflow="fold")
        for row in rows:
            table.add_row(*(row[heading] for heading in headings))
        if plain(width=10_000).measure(table).maximum <= width:
            break
    return table

"""List runs, newest first.

fwcompare runs
fwcompare runs --framework jax --status failed
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.table import Table
from rich.text import Text

from fwcompare.arms import Run, load_run
from fwcompare.compose import compose
from fwcompare.folders import all_runs
from fwcompare.record import STATUSES, RunRecord
from fwcompare.report import colour, number, score, stdout

SUMMARY = "runs, newest first, with filters"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--framework", help="only this engine")
    parser.add_argument("--model", help="only this model")
    parser.add_argument("--status", choices=STATUSES, help="only runs that ended so")
    parser.add_argument("--sweep", help="only runs of this sweep")
    parser.add_argument("--limit", type=int, default=20, help="at most so many rows (20)")
    parser.add_argument("--outputs", help="folder of the runs (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    outputs = Path(arguments.outputs) if arguments.outputs else compose([]).outputs
    folders = sorted(all_runs(outputs, arguments.sweep), key=lambda path: path.name, reverse=True)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("run", "engine", "model", "seed", "status", "when", "score", "samples/s"):
        table.add_column(heading, no_wrap=heading in ("status", "when"))
    shown = 0
    for folder in folders:
        record = RunRecord.read(folder)
        if record is None:
            continue
        found = load_run(folder, record)
        if not _wanted(found, arguments):
            continue
        if shown == arguments.limit:
            break
        _add(table, folder.name, found)
        shown += 1
    console = stdout()
    if not shown:
        console.print(f"No such runs in {outputs}.", soft_wrap=True)
        console.print("Make one: fwcompare framework=pytorch", style="dim")
        return 0
    console.print(table)
    return 0


def _wanted(found: Run, arguments: argparse.Namespace) -> bool:
    model = found.spec.model.name if found.spec else None
    return (
        arguments.framework in (None, found.engine)
        and arguments.model in (None, model)
        and arguments.status in (None, found.record.status)
    )


def _add(table: Table, name: str, found: Run) -> None:
    record, metrics = found.record, found.record.metrics
    scores = [score(key, metrics[key]) for key in ("test/accuracy", "test/mae") if key in metrics]
    speed = metrics.get("perf/samples_per_s")
    table.add_row(
        name,
        Text(found.engine, style=colour(found.engine)),
        found.spec.model.name if found.spec else "–",
        str(found.seed),
        Text(record.status, style="green" if record.ok else "red"),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started_ms / 1e3)),
        scores[0] if scores else "–",
        number(speed) if speed else "–",
    )

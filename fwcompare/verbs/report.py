"""Compare the runs of a sweep again, from its folders, without training.

fwcompare report                        the newest sweep
fwcompare report quickstart-20260101-120000 --baseline jax
fwcompare report --format markdown > comparison.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fwcompare import report
from fwcompare.compare import SWEEP_FILE, compare, load_runs
from fwcompare.compose import compose
from fwcompare.errors import RequestError, unknown
from fwcompare.parity.standing import kept_standings

SUMMARY = "the comparison of a sweep, redone from its folders"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", help="name or folder of a sweep (the newest)")
    parser.add_argument("--baseline", help="engine that others are measured against")
    parser.add_argument("--format", choices=report.FORMATS, default="table")
    parser.add_argument("--outputs", help="folder of the sweeps (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    outputs = Path(arguments.outputs) if arguments.outputs else compose([]).outputs
    folder = find_sweep(outputs, arguments.sweep)
    runs = load_runs(folder)
    if not runs:
        raise RequestError(f"No run of the sweep {folder.name} has ended yet.")
    listing = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
    baseline = arguments.baseline
    if baseline is None and listing.get("baseline") in {r.engine for r in runs if r.record.ok}:
        baseline = listing["baseline"]
    comparisons = compare(runs, folder.name, baseline, kept_standings(folder))
    if arguments.format == "markdown":
        sys.stdout.write(report.markdown(comparisons))
    elif arguments.format == "json":
        sys.stdout.write(report.as_json(comparisons))
    else:
        console = report.stdout()
        report.show(comparisons, console)
        missing = len(listing["cells"]) - len(runs)
        if missing:
            console.print(f"{missing} of {len(listing['cells'])} runs have not ended yet.")
    return 0


def find_sweep(outputs: Path, name: str | None) -> Path:
    """The folder of a sweep by name or path; the newest for None."""
    sweeps = {path.parent.name: path.parent for path in outputs.glob(f"sweeps/*/{SWEEP_FILE}")}
    if name is None:
        if not sweeps:
            raise RequestError(
                f"There is no sweep in {outputs}.", "Make one: fwcompare experiment=quickstart"
            )
        return max(sweeps.values(), key=lambda path: (path / SWEEP_FILE).stat().st_mtime)
    if (Path(name) / SWEEP_FILE).is_file():
        return Path(name)
    if name not in sweeps:
        raise unknown("sweep", name, sweeps)
    return sweeps[name]

"""Compare the runs of a sweep again, from its folders, without training.

fwcompare report                               the newest sweep
fwcompare report quickstart-20260101-120000 --baseline jax
fwcompare report --against LAST_RELEASE        exits 1 where something became slower or worse
fwcompare report --plan 0.02                   how many seeds a ratio within 2 % needs
fwcompare report --target 0.95                 time until the validation metric is 0.95
fwcompare report --format markdown > comparison.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fwcompare import report
from fwcompare.arms import SWEEP_FILE, Run, by_group, load_runs, read_listing
from fwcompare.compare import Comparison, compare
from fwcompare.compose import compose
from fwcompare.errors import RequestError, unknown
from fwcompare.parity.standing import kept_standings
from fwcompare.plan import plans
from fwcompare.regression import Change, changes
from fwcompare.roofline import read_peaks
from fwcompare.stats.criteria import Criteria
from fwcompare.trust import weighed, with_peak_shares
from fwcompare.typed import build

SUMMARY = "the comparison of a sweep, redone from its folders"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", help="name or folder of a sweep (the newest)")
    parser.add_argument("--baseline", help="engine or arm that others are measured against")
    parser.add_argument(
        "--against", metavar="BASELINE", help="an earlier sweep: exit 1 on a regression"
    )
    parser.add_argument(
        "--plan", type=float, metavar="PRECISION", help="seeds for a ratio this precise (0.02)"
    )
    parser.add_argument(
        "--target", type=float, help="validation metric to reach (compare.target of the sweep)"
    )
    parser.add_argument("--format", choices=report.FORMATS, default="table")
    parser.add_argument("--outputs", help="folder of the sweeps (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    outputs = Path(arguments.outputs) if arguments.outputs else compose([]).outputs
    folder = find_sweep(outputs, arguments.sweep)
    peaks = read_peaks(folder / SWEEP_FILE)
    runs, listing = with_peak_shares(_ended_runs(folder), peaks), read_listing(folder)
    criteria = _criteria(listing, arguments.target)
    baseline = arguments.baseline
    if baseline is None and listing.get("baseline") in {r.engine for r in runs if r.record.ok}:
        baseline = listing["baseline"]
    comparisons = compare(runs, folder.name, baseline, kept_standings(folder), criteria)
    comparisons = weighed(comparisons, runs, peaks)
    planned = plans(comparisons, arguments.plan) if arguments.plan is not None else ()
    changed: tuple[Change, ...] = ()
    if arguments.against is not None:
        before = _ended_runs(find_sweep(outputs, arguments.against))
        changed = changes(runs, before, _titles(runs, comparisons), criteria)
    if arguments.format == "markdown":
        sys.stdout.write(report.markdown(comparisons, planned, changed))
    elif arguments.format == "json":
        sys.stdout.write(report.as_json(comparisons, planned, changed))
    else:
        console = report.stdout()
        report.show(comparisons, console, planned, changed)
        missing = len(listing["cells"]) - len(runs)
        if missing:
            console.print(f"{missing} of {len(listing['cells'])} runs have not ended yet.")
    return 1 if any(change.regression for change in changed) else 0


def _ended_runs(folder: Path) -> list[Run]:
    runs = load_runs(folder)
    if not runs:
        raise RequestError(f"No run of the sweep {folder.name} has ended yet.")
    return runs


def _criteria(listing: Mapping[str, Any], target: float | None) -> Criteria:
    """Those that the sweep was begun with; defaults for a sweep of an older release."""
    criteria = build(Criteria, listing.get("compare", {}), "compare")
    return criteria if target is None else replace(criteria, target=target)


def _titles(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> dict[str, str]:
    """The title of each group; comparisons are in the order of the groups."""
    pairs = zip(by_group(runs), comparisons, strict=True)
    return {group: comparison.title for group, comparison in pairs}


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

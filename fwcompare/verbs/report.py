"""Compare the runs of a sweep again, from its folders, without training.

fwcompare report                               the newest sweep
fwcompare report quickstart-20260101-120000 --baseline jax
fwcompare report --against LAST_RELEASE        exits 1 where something became slower or worse
fwcompare report --plan 0.02                   how many seeds a ratio within 2 % needs
fwcompare report --target 0.95                 time until the validation metric is 0.95
fwcompare report --format html                 all of it as one page, in the sweep's folder
fwcompare report --format markdown > comparison.md
fwcompare report --format csv --output arms.csv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO

from fwcompare import report
from fwcompare.compare import Comparison
from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.folders import find_sweep
from fwcompare.limits import user_path
from fwcompare.outcome import ended_runs, outcome
from fwcompare.plan import Plan, plans
from fwcompare.regression import Change, changes
from fwcompare.terminal import PIPE_WIDTH, plain, stdout

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
    parser.add_argument("--format", choices=(*report.FORMATS, "html"), default="table")
    parser.add_argument(
        "--output", type=user_path, metavar="FILE", help="where to write (html: the sweep's folder)"
    )
    parser.add_argument("--outputs", help="folder of the sweeps (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    outputs = user_path(arguments.outputs) if arguments.outputs else compose([]).outputs
    folder = find_sweep(arguments.sweep, outputs)
    found = outcome(folder, arguments.baseline, arguments.target)
    planned = plans(found.comparisons, arguments.plan) if arguments.plan is not None else ()
    changed: tuple[Change, ...] = ()
    if arguments.against is not None:
        if found.searched:
            raise RequestError(
                f"{folder.name} is a search: its points are no experiment that could be repeated.",
                "Run the best point as a sweep of its own, and compare that.",
            )
        before = ended_runs(find_sweep(arguments.against, outputs))
        changed = changes(found.runs, before, found.titles, found.criteria)
    if arguments.format == "table" and arguments.output is None:
        console = stdout()
        report.show(found.comparisons, console, planned, changed)
        if found.missing:
            cells = found.missing + len(found.runs)
            console.print(f"{found.missing} of {cells} runs have not ended yet.")
    elif arguments.format == "html":
        from fwcompare.page import evidence, html  # Plotly takes long to import

        material = evidence.gather(folder, found.runs, found.comparisons, planned, changed)
        with _writing():
            path = html.write(material, arguments.output or folder / html.PAGE_FILE)
        sys.stdout.write(f"{path}\n")
    else:
        text = _text(arguments.format, found.comparisons, planned, changed)
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            with _writing():
                arguments.output.write_text(text, encoding="utf-8")
    return 1 if any(change.regression for change in changed) else 0


def _text(
    format: str,
    comparisons: Sequence[Comparison],
    planned: Sequence[Plan],
    changed: Sequence[Change],
) -> str:
    if format == "markdown":
        return report.markdown(comparisons, planned, changed)
    if format == "csv":
        return report.as_csv(comparisons)
    if format == "json":
        return report.as_json(comparisons, planned, changed)
    written = StringIO()
    report.show(comparisons, plain(file=written, width=PIPE_WIDTH), planned, changed)
    return written.getvalue()


@contextmanager
def _writing() -> Iterator[None]:
    """Says in one sentence that a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise RequestError(
            f"The report cannot be written: {error}.", "Choose another place: --output FILE"
        ) from error

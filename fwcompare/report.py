"""A ``Comparison`` as a table for the terminal, Markdown or JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from fwcompare.compare import THROUGHPUT, Comparison, Row, Spread
from fwcompare.plugin import front, installed

#: Formats of a report, with what each is for.
FORMATS = ("table", "markdown", "json")


#: Columns of a pipe: nobody folds it.
PIPE_WIDTH = 240

_STANDING_STYLES = {"proven": "green", "not comparable": "bold red", "unproven": "dim"}


@dataclass(frozen=True)
class Column:
    """One column: a heading, and the cell of a row."""

    heading: str
    cell: Callable[[Row], str]
    #: Narrow terminals leave out columns of a higher rank first.
    rank: int = 0


def number(value: float) -> str:
    """Three significant figures, thousands grouped."""
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:,.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if magnitude >= 0.1 else f"{value:.3g}"


def score(metric: str, value: float) -> str:
    """An accuracy with four decimals; anything else like any number."""
    return f"{value:.4f}" if metric.endswith("accuracy") else number(value)


def _median(key: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        spread = row.metrics.get(key)
        return number(spread.median) if spread else "–"

    return cell


def _score(metric: str, ranges: bool) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        spread = row.metrics.get(metric)
        if spread is None:
            return "–"
        middle = score(metric, spread.median)
        if spread.count == 1 or not ranges:
            return middle
        return f"{middle} [{score(metric, spread.low)}, {score(metric, spread.high)}]"

    return cell


def _ratio(baseline: str | None, ranges: bool) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if row.label == baseline:
            return "baseline"
        return ratio(row.ratio, ranges) if row.ratio else "–"

    return cell


def ratio(spread: Spread, ranges: bool = True) -> str:
    """A ratio, with its range over seeds where there are several."""
    middle = f"{spread.median:.2f}x"
    if spread.count == 1 or not ranges:
        return middle
    return f"{middle} [{spread.low:.2f}, {spread.high:.2f}]"


def _status(row: Row) -> str:
    return ", ".join(
        status if count == 1 and len(row.statuses) == 1 else f"{count} {status}"
        for status, count in sorted(row.statuses.items(), key=lambda item: item[0] != "ok")
    )


def columns(comparison: Comparison, ranges: bool = True) -> list[Column]:
    """The columns of a comparison's table, with or without the ranges over seeds."""
    return [
        Column("engine", lambda row: row.label),
        Column(comparison.metric.replace("/", " "), _score(comparison.metric, ranges)),
        Column("samples/s", _median(THROUGHPUT), 0),
        Column("vs baseline", _ratio(comparison.baseline, ranges), 0),
        Column("first step s", _median("time/first_step_s"), 2),
        Column("total s", _median("time/total_s"), 1),
        Column("predict/s", _median("perf/predict_samples_per_s"), 3),
        Column("batch-1 ms", _median("perf/predict_ms_batch1_p50"), 3),
        Column("peak MiB", _median("memory/peak_rss_mib"), 2),
        Column("proof", lambda row: row.standing.state),
        Column("status", _status),
    ]


def table(comparison: Comparison, width: int) -> Table:
    """The table for a terminal of ``width`` columns.

    The least needed columns are left out first, then the ranges.
    """
    for ranges in (True, False):
        for rank in (3, 2, 1, 0):
            chosen = [column for column in columns(comparison, ranges) if column.rank <= rank]
            made = _table(comparison, chosen)
            if Console(width=10_000).measure(made).maximum <= width:
                return made
    return made


def _table(comparison: Comparison, chosen: Sequence[Column]) -> Table:
    made = Table(
        title=comparison.title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for position, column in enumerate(chosen):
        made.add_column(column.heading, justify="left" if position == 0 else "right", no_wrap=True)
    for row in comparison.rows:
        cells: list[RenderableType] = [column.cell(row) for column in chosen]
        cells[0] = Text(row.label, style=colour(row.engine))
        cells[-2] = Text(row.standing.state, style=_STANDING_STYLES.get(row.standing.state, ""))
        if set(row.statuses) != {"ok"}:
            cells[-1] = Text(_status(row), style="yellow" if "ok" in row.statuses else "red")
        made.add_row(*cells)
    return made


def stdout() -> Console:
    """Standard output; a pipe gets tables as wide as they are, unless COLUMNS says otherwise."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return Console()
    return Console(width=PIPE_WIDTH)


def colour(engine: str) -> str:
    """The colour of an engine, the same in every figure; none for an unknown one."""
    return front(engine).colour if engine in installed() else ""


def show(comparisons: Sequence[Comparison], console: Console) -> None:
    """Print comparisons to a terminal, with what must be known to read them."""
    for comparison in comparisons:
        console.print()
        console.print(table(comparison, console.width))
        for line in footnotes(comparison):
            console.print(Text(line, style="dim"))


def footnotes(comparison: Comparison) -> list[str]:
    """Reasons, warnings and notes, a line each."""
    rows = comparison.rows
    said = [(row.label, reason) for row in rows for reason in row.reasons]
    said += [
        (row.label, f"{row.standing.state}: {row.standing.reason}")
        for row in rows
        if row.standing.reason
    ]
    said += [(row.label, warning) for row in rows for warning in row.warnings]
    lines = _together(said, len(rows))
    lines += comparison.notes
    if any(row.metrics for row in comparison.rows):
        lines.append(
            "Medians over seeds, ranges in brackets; ratios of throughput paired by seed. "
            "Samples/s counts steady training steps; compilation is in the first step."
        )
    return lines


def _together(said: Sequence[tuple[str, str]], rows: int) -> list[str]:
    """One line a remark, with the labels that it holds for; "all" where it holds for every row."""
    labels: dict[str, list[str]] = {}
    for label, remark in said:
        labels.setdefault(remark, []).append(label)
    return [
        f"{'all' if len(own) == rows > 1 else ', '.join(own)}: {remark}"
        for remark, own in labels.items()
    ]


def markdown(comparisons: Sequence[Comparison]) -> str:
    """The same tables in Markdown."""
    parts = []
    for comparison in comparisons:
        chosen = columns(comparison)
        lines = [f"### {_escape(comparison.title)}", ""]
        lines.append("| " + " | ".join(column.heading for column in chosen) + " |")
        lines.append("|" + "|".join(["---"] + ["---:"] * (len(chosen) - 1)) + "|")
        for row in comparison.rows:
            cells = [_escape(column.cell(row)) for column in chosen]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", *(f"- {_escape(line)}" for line in footnotes(comparison))]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _escape(text: str) -> str:
    for mark in "\\|<>":
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")


def as_json(comparisons: Sequence[Comparison]) -> str:
    """Everything, for programs."""
    return json.dumps([comparison.to_json() for comparison in comparisons], indent=1) + "\n"

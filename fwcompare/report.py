"""A ``Comparison`` as a table for the terminal, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from fwcompare.compare import BreakEven, Comparison, Row, jsonable, profile
from fwcompare.grid import Grid, number, score
from fwcompare.plan import Plan
from fwcompare.plugin import front, installed
from fwcompare.regression import Change
from fwcompare.stats.planner import ASSURANCE, MOST, POWER
from fwcompare.terminal import plain
from fwcompare.trust import PEAK_SHARE
from fwcompare.verdict import BASELINE, NO_RESULT, NOT_COMPARABLE, THROUGHPUT, Finding

#: Formats of a report that are text.
FORMATS = ("table", "markdown", "csv", "json")

#: Rank of the column that compares scores: without it a line below the table does.
_SCORE_RANK = 2

#: The highest rank of a column.
_MOST_RANK = 5

_DEVICE_MEMORY = "memory/peak_device_mib"

_STANDING_STYLES = {
    "proven": "green",
    "tuned": "yellow",
    "not comparable": "bold red",
    "unproven": "dim",
}
_FINDING_STYLES = {"faster": "green", "slower": "yellow", "not comparable": "bold red"}


@dataclass(frozen=True)
class Column:
    """One column: a heading, and the cell of a row."""

    heading: str
    cell: Callable[[Row], str]
    #: Narrow terminals leave out columns of a higher rank first.
    rank: int = 0
    style: Callable[[Row], str] = lambda row: ""


def _median(key: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        spread = row.metrics.get(key)
        return number(spread.median) if spread else "–"

    return cell


def _peak_share(row: Row) -> str:
    share = row.metrics.get(PEAK_SHARE)
    return f"{share.median:.1%}" if share else "–"


def _where(comparison: Comparison, metric: str, column: Column) -> list[Column]:
    """The column, where any row has the metric that it shows."""
    return [column] if any(metric in row.metrics for row in comparison.rows) else []


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


def _finding(finding: Finding, folded: bool) -> str:
    """The words of a finding; its interval beside them, or below."""
    return f"{finding.words}\n{finding.interval}".rstrip() if folded else str(finding)


def _status(row: Row) -> str:
    return ", ".join(
        status if count == 1 and len(row.statuses) == 1 else f"{count} {status}"
        for status, count in sorted(row.statuses.items(), key=lambda item: item[0] != "ok")
    )


def _status_style(row: Row) -> str:
    if set(row.statuses) == {"ok"}:
        return ""
    return "yellow" if "ok" in row.statuses else "red"


def columns(comparison: Comparison, ranges: bool = True, folded: bool = False) -> list[Column]:
    """The columns of a comparison's table.

    Args:
        ranges: with the range over seeds beside the median of the task's metric.
        folded: labels, headings and intervals on two lines, and no status where every run is ok.
    """
    metric = comparison.metric
    fold = "\n" if folded else " "
    shown = [
        Column(
            "engine",
            lambda row: row.label.replace(" ", fold, 1),
            style=lambda row: colour(row.engine),
        ),
        Column(metric.replace("/", fold), _score(metric, ranges)),
        Column("samples/s", _median(THROUGHPUT), rank=1),
        Column(
            f"speed vs{fold}baseline",
            lambda row: _finding(row.speed, folded),
            style=lambda row: _FINDING_STYLES.get(row.speed.kind, ""),
        ),
        Column(
            f"{metric.split('/')[-1]} vs{fold}baseline",
            lambda row: _finding(row.score, folded),
            rank=_SCORE_RANK,
        ),
        Column(f"first{fold}step s", _median("time/first_step_s"), rank=4),
        Column("total s", _median("time/total_s"), rank=3),
        Column("predict/s", _median("perf/predict_samples_per_s"), rank=5),
        Column(f"batch-1{fold}ms", _median("perf/predict_ms_batch1_p50"), rank=5),
        *_where(comparison, PEAK_SHARE, Column(f"of peak{fold}FLOP/s", _peak_share, rank=5)),
        Column(f"peak{fold}MiB", _median("memory/peak_rss_mib"), rank=4),
        *_where(
            comparison, _DEVICE_MEMORY, Column(f"GPU{fold}MiB", _median(_DEVICE_MEMORY), rank=4)
        ),
        Column(
            "proof",
            lambda row: row.standing.state.replace(" ", fold),
            style=lambda row: _STANDING_STYLES.get(row.standing.state, ""),
        ),
        Column("status", lambda row: _status(row).replace(", ", f",{fold}"), style=_status_style),
    ]
    if folded and all(set(row.statuses) == {"ok"} for row in comparison.rows):
        shown.pop()
    return shown


def _fitting(comparison: Comparison, width: int) -> list[Column]:
    """The columns for a terminal of ``width`` characters.

    The least needed columns are left out first; then cells are folded, and ranges left out.
    """
    for ranges, folded, ranks in (
        (True, False, (5, 4, 3, 2)),
        (False, False, (2,)),
        (True, True, (3, 2)),
        (False, True, (2, 1, 0)),
    ):
        for rank in ranks:
            shown = columns(comparison, ranges, folded)
            chosen = [column for column in shown if column.rank <= rank]
            if plain(width=10_000).measure(_table(comparison, chosen)).maximum <= width:
                return chosen
    return chosen


def _table(comparison: Comparison, chosen: Sequence[Column]) -> Table:
    made = _empty(comparison.title, [column.heading for column in chosen])
    for row in comparison.rows:
        cells: list[RenderableType] = [
            Text(column.cell(row), style=column.style(row)) for column in chosen
        ]
        made.add_row(*cells)
    return made


def _empty(title: str, headings: Sequence[str]) -> Table:
    made = Table(
        title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for position, heading in enumerate(headings):
        made.add_column(heading, justify="left" if position == 0 else "right", no_wrap=True)
    return made


def colour(engine: str) -> str:
    """The colour of an engine, the same in every figure; none for an unknown one."""
    return front(engine).colour if engine in installed() else ""


def show(
    comparisons: Sequence[Comparison],
    console: Console,
    plans: Sequence[Plan] = (),
    changes: Sequence[Change] = (),
) -> None:
    """Print comparisons to a terminal, with what must be known to read them."""
    for comparison in comparisons:
        console.print()
        chosen = _fitting(comparison, console.width)
        console.print(_table(comparison, chosen))
        scored = any(column.rank == _SCORE_RANK for column in chosen)
        for line in footnotes(comparison, scored):
            console.print(Text(line, style="dim"))
        for grid in beside(comparison):
            _show_grid(grid, console)
    for grid in over_all(comparisons, plans, changes):
        _show_grid(grid, console)


def _show_grid(grid: Grid, console: Console) -> None:
    made = _empty(grid.title, grid.headings)
    if plain(width=10_000).measure(_filled(made, grid)).maximum > console.width:
        made = _filled(
            _empty(grid.title, [h.replace(" ", "\n") for h in grid.headings]), grid, True
        )
    console.print()
    console.print(made)
    for line in grid.notes:
        console.print(Text(line, style="dim"))


def _filled(made: Table, grid: Grid, folded: bool = False) -> Table:
    for row in grid.rows:
        made.add_row(*(Text(cell.replace(" [", "\n[") if folded else cell) for cell in row))
    return made


def footnotes(comparison: Comparison, scored: bool = True) -> list[str]:
    """Reasons, warnings and notes, a line each; what was found of the scores unless ``scored``
    says that the table tells it."""
    rows = comparison.rows
    metric = comparison.metric.replace("/", " ")
    said = [
        (row.label, f"{metric} {row.score}")
        for row in rows
        if not scored and row.score.kind not in (BASELINE, NO_RESULT, NOT_COMPARABLE)
    ]
    said += [(row.label, reason) for row in rows for reason in row.reasons]
    said += [
        (row.label, f"{row.standing.state}: {row.standing.reason}")
        for row in rows
        if row.standing.reason
    ]
    said += [(row.label, remark) for row in rows for remark in row.remarks]
    said += [(row.label, warning) for row in rows for warning in row.warnings]
    lines = _together(said, len(rows))
    lines += map(break_even, comparison.break_even)
    lines += comparison.notes
    if any(row.metrics for row in rows):
        criteria = comparison.criteria
        lines.append(
            f"Medians over seeds, ranges in brackets. Ratios are paired by seed, with "
            f"{100 * criteria.confidence:g} % intervals; verdicts hold for all rows of a column at "
            "once (Holm). Samples/s counts steady training steps; compilation is in the first step."
        )
    return lines


def break_even(entry: BreakEven) -> str:
    """When a compiled execution has caught up, in words."""
    steps = entry.steps
    if steps.median == float("inf"):
        said = "never repays its compilation"
    else:
        said = f"has repaid its compilation after {number(steps.median)} steps"
    ranged = f" [{number(steps.low)}, {number(steps.high)}]" if steps.count > 1 else ""
    return f"{entry.label} against {entry.plain}: {said}{ranged}"


def _together(said: Sequence[tuple[str, str]], rows: int) -> list[str]:
    """One line a remark, with the labels that it holds for; "all" where it holds for every row."""
    labels: dict[str, list[str]] = {}
    for label, remark in said:
        labels.setdefault(remark, []).append(label)
    return [
        f"{'all' if len(own) == rows > 1 else ', '.join(own)}: {remark}"
        for remark, own in labels.items()
    ]


def beside(comparison: Comparison) -> Iterator[Grid]:
    """What goes with one comparison."""
    rows = [(row.label, row.reached) for row in comparison.rows if row.reached is not None]
    if rows:
        metric = comparison.metric.split("/")[-1]
        yield Grid(
            f"Training until val {metric} is {comparison.criteria.target:g}",
            ("engine", "reached", "epochs", "train s", "time vs baseline"),
            tuple(
                (
                    label,
                    f"{own.reached} of {own.runs}",
                    number(own.epochs_median),
                    number(own.train_seconds_median),
                    str(own.finding),
                )
                for label, own in rows
            ),
            ("Medians over seeds; a run that failed or never got there counts as never.",),
        )
    yield from comparison.tables


def over_all(
    comparisons: Sequence[Comparison], plans: Sequence[Plan], changes: Sequence[Change]
) -> Iterator[Grid]:
    """What goes with all comparisons together."""
    profiled = profile(comparisons)
    if profiled is not None and profiled.workloads:
        yield Grid(
            f"Performance profile over {profiled.workloads} workloads",
            ("engine", *(f"≤ {factor:g}x" for factor in profiled.factors)),
            tuple(
                (label, *(f"{100 * share:.0f} %" for share in shares))
                for label, shares in sorted(profiled.shares.items())
            ),
            (
                "Share of workloads on which an arm's step takes at most so many times that of the "
                "fastest. No overall winner is named: who leads depends on the workload.",
            ),
        )
    for title, own in groupby(plans, key=lambda plan: plan.title):
        yield _plan_grid(title, list(own))
    for title, changed in groupby(changes, key=lambda change: change.title):
        yield _change_grid(title, list(changed))


def _plan_grid(title: str, plans: Sequence[Plan]) -> Grid:
    size = f"{100 * plans[0].precision:g}\N{NO-BREAK SPACE}%"
    over = ", and that exceeds the noise floor of an A/A control" if plans[0].controlled else ""
    return Grid(
        f"Seeds to plan: {title}",
        ("engine", "pairs", "spread", "planned with", f"ratio ±{size}", f"find {size}"),
        tuple(
            (
                plan.label,
                str(plan.pairs),
                f"{100 * plan.spread:.2g} %",
                f"{100 * plan.upper_spread:.2g} %",
                *(
                    f"{seeds:,}" if seeds is not None else f"> {MOST:,}"
                    for seeds in (plan.for_interval, plan.for_detection)
                ),
            )
            for plan in plans
        ),
        (
            f"Seeds for an interval of ±{size}, and to find a true difference of {size} in "
            f"{100 * POWER:g} % of sweeps with as many arms{over}. The spread is that of one "
            f"pair's ratio; planned with is its upper {100 * ASSURANCE:g} % limit, as few pairs "
            "tell it badly.",
        ),
    )


def _change_grid(title: str, changes: Sequence[Change]) -> Grid:
    metric = changes[0].metric.replace("/", " ")
    said = [(c.label, remark) for c in changes for remark in c.remarks]
    said += [(c.label, ", ".join(c.versions)) for c in changes if c.versions]
    said += [(c.label, f"REGRESSION: {c.regression}") for c in changes if c.regression]
    return Grid(
        f"Against the earlier sweep: {title}",
        ("engine", "samples/s before", "now", "speed", metric),
        tuple(
            (
                change.label,
                *(
                    number(spread.median) if spread else "–"
                    for spread in (change.speed_before, change.speed_now)
                ),
                str(change.speed),
                str(change.score),
            )
            for change in changes
        ),
        tuple(_together(said, len(changes))),
    )


def markdown(
    comparisons: Sequence[Comparison],
    plans: Sequence[Plan] = (),
    changes: Sequence[Change] = (),
    most_rank: int = _MOST_RANK,
) -> str:
    """The same tables in Markdown, without columns of a rank above ``most_rank``."""
    parts = []
    for comparison in comparisons:
        chosen = [column for column in columns(comparison) if column.rank <= most_rank]
        parts.append(
            _markdown(
                Grid(
                    comparison.title,
                    tuple(column.heading for column in chosen),
                    tuple(tuple(column.cell(row) for column in chosen) for row in comparison.rows),
                    tuple(footnotes(comparison)),
                )
            )
        )
        parts += map(_markdown, beside(comparison))
    parts += map(_markdown, over_all(comparisons, plans, changes))
    return "\n\n".join(parts) + "\n"


def _markdown(grid: Grid) -> str:
    lines = [f"### {_escape(grid.title)}", ""]
    lines.append("| " + " | ".join(map(_escape, grid.headings)) + " |")
    lines.append("|" + "|".join(["---"] + ["---:"] * (len(grid.headings) - 1)) + "|")
    lines += ["| " + " | ".join(map(_escape, row)) + " |" for row in grid.rows]
    lines += ["", *(f"- {_escape(line)}" for line in grid.notes)]
    return "\n".join(lines).rstrip()


def _escape(text: str) -> str:
    for mark in "\\|<>":
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")


#: Columns of the CSV before those of the metrics.
_CSV_HEADINGS = (
    "sweep", "experiment", "arm", "engine", "baseline", "control", "proof", "status", "runs",
    "speed_verdict", "speed_ratio", "speed_low", "speed_high", "speed_p_adjusted",
    "score_metric", "score_verdict", "score_estimate", "score_low", "score_high",
    "score_p_adjusted",
)  # fmt: skip

#: A cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(comparisons: Sequence[Comparison]) -> str:
    """A row an arm: verdicts, and median, low and high of every metric.

    A cell is empty where there is no value. Text that a spreadsheet would take for a formula has an
    apostrophe before it.
    """
    metrics = sorted({key for c in comparisons for row in c.rows for key in row.metrics})
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    spread = [f"{key}{end}" for key in metrics for end in ("", " low", " high")]
    lines.writerow([*_CSV_HEADINGS, *spread])
    for comparison in comparisons:
        for row in comparison.rows:
            lines.writerow(map(_csv_cell, _csv_row(comparison, row, metrics)))
    return written.getvalue()


def _csv_row(comparison: Comparison, row: Row, metrics: Sequence[str]) -> Iterator[object]:
    yield from (comparison.name, comparison.title, row.label, row.engine, comparison.baseline)
    yield from (row.control, row.standing.state, _status(row), sum(row.statuses.values()))
    yield from _csv_finding(row.speed)
    yield comparison.metric
    yield from _csv_finding(row.score)
    for key in metrics:
        spread = row.metrics.get(key)
        yield from (spread.median, spread.low, spread.high) if spread else (None, None, None)


def _csv_finding(finding: Finding) -> Iterable[object]:
    own = finding.estimate
    figures = (own.value, own.low, own.high, own.p_adjusted) if own else (None,) * 4
    return (finding.kind, *figures)


def _csv_cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def as_json(
    comparisons: Sequence[Comparison], plans: Sequence[Plan] = (), changes: Sequence[Change] = ()
) -> str:
    """Everything, for programs. An infinite number is the word "inf"."""
    profiled = profile(comparisons)
    whole = {
        "comparisons": [comparison.to_json() for comparison in comparisons],
        "profile": asdict(profiled) if profiled else None,
        "plans": [asdict(plan) for plan in plans],
        "changes": [change.to_json() for change in changes],
    }
    return json.dumps(jsonable(whole), indent=1, allow_nan=False) + "\n"

"""Intervals of the differences from the baseline: which verdicts rest on what."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from fwcompare.compare import Comparison, Row
from fwcompare.grid import Grid
from fwcompare.page.figure import (
    Figure,
    axis,
    drawn,
    escaped,
    log_axis,
    rounded,
    rows_axis,
    rows_height,
)
from fwcompare.page.palette import Mark, variable
from fwcompare.verdict import Estimate, Finding, Question, score, speed

#: Ratios between these ends read as well on a linear axis, whose ticks are finer.
_LINEAR = (0.5, 2.0)


def of_speed(comparison: Comparison, marks: Mapping[str, Mark]) -> Figure | None:
    """The ratios of throughput; None where no arm was compared."""
    question = speed(comparison.criteria)
    margin = question.margin
    return _figure(
        comparison, marks, question, lambda row: row.speed,
        shown=lambda value: value, none=1.0, band=(1 / (1 + margin), 1 + margin),
        title="Training speed against the baseline",
        axis_title="times as fast",
    )  # fmt: skip


def of_score(comparison: Comparison, marks: Mapping[str, Mark]) -> Figure | None:
    """The differences of the task's metric; None where no arm was compared."""
    question = score(comparison.metric, comparison.criteria)
    zero = 1.0 if question.logarithmic else 0.0
    margin = 100 * question.margin
    metric = comparison.metric.replace("/", " ")
    return _figure(
        comparison, marks, question, lambda row: row.score,
        shown=lambda value: 100 * (value - zero), none=0.0, band=(-margin, margin),
        title=f"Difference in {metric} from the baseline",
        axis_title=question.unit,
    )  # fmt: skip


def _figure(
    comparison: Comparison,
    marks: Mapping[str, Mark],
    question: Question,
    finding: Callable[[Row], Finding],
    shown: Callable[[float], float],
    none: float,
    band: tuple[float, float],
    title: str,
    axis_title: str,
) -> Figure | None:
    estimates = [
        (row, estimate)
        for row in comparison.rows
        if (estimate := finding(row).estimate) is not None and math.isfinite(estimate.value)
    ]
    if not estimates:
        return None
    traces = [
        _trace(position, row, estimate, shown, marks[row.label])
        for position, (row, estimate) in enumerate(estimates)
    ]
    drawn_values = [
        shown(value)
        for _, estimate in estimates
        for value in (estimate.value, estimate.low, estimate.high)
        if value is not None and math.isfinite(value)
    ]
    confidence = 100 * comparison.criteria.confidence
    return Figure(
        title=title,
        caption=(
            f"Each bar is a {confidence:g} % interval, paired by seed; the line is the baseline, "
            f"{comparison.baseline}; the shade is what counts as equivalent "
            f"({question.margin_words}). A bar that crosses the line shows no difference; a point "
            "without a bar has no interval."
        ),
        says=f"{title}. " + " ".join(f"{row.label}: {finding(row)}." for row, _ in estimates),
        plot=drawn(
            traces,
            rows_height(len(estimates)),
            xaxis=_across(axis_title, [*drawn_values, none, *band], none),
            yaxis=rows_axis([row.label for row, _ in estimates]),
            shapes=[
                _shape("rect", band, variable("line"), 0.45),
                _shape("line", (none, none), variable("muted"), 1.0),
            ],
        ),
        table=Grid(
            title,
            ("engine", "verdict", "estimate", "low", "high", "pairs"),
            tuple(
                (
                    row.label,
                    finding(row).words,
                    *(_cell(value, shown) for value in (own.value, own.low, own.high)),
                    str(own.pairs),
                )
                for row, own in estimates
            ),
        ),
        wide=True,
    )


def _cell(value: float | None, shown: Callable[[float], float]) -> str:
    return "–" if value is None else f"{shown(value):.4g}"


def _trace(
    position: int, row: Row, estimate: Estimate, shown: Callable[[float], float], mark: Mark
) -> go.Scatter:
    middle = shown(estimate.value)
    known = estimate.low is not None and estimate.high is not None
    ends = {}
    if estimate.low is not None and estimate.high is not None:
        ends = {
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [rounded(shown(estimate.high) - middle)],
                "arrayminus": [rounded(middle - shown(estimate.low))],
                "color": mark.colour,
                "thickness": 2.5,
                "width": 5,
            }
        }
    return go.Scatter(
        x=[rounded(middle)],
        y=[position],
        name=escaped(row.label),
        mode="markers",
        marker={
            "color": mark.colour,
            "symbol": mark.symbol if known else f"{mark.symbol}-open",
            "size": 11,
            "line": {"width": 0 if known else 2, "color": mark.colour},
        },
        hovertemplate="%{x}",
        **ends,
    )


def _across(title: str, values: Sequence[float], none: float) -> dict[str, Any]:
    """A logarithmic axis for ratios that are far from 1, a linear one for all else."""
    low, high = min(values), max(values)
    if none == 1.0 and not _LINEAR[0] <= low <= high <= _LINEAR[1]:
        return log_axis(title, low, high)
    return axis(title, nticks=5, tickangle=0)


def _shape(kind: str, ends: tuple[float, float], colour: str, opacity: float) -> dict[str, object]:
    """A band or a line over the whole height, below the points."""
    return {
        "type": kind, "x0": ends[0], "x1": ends[1], "y0": 0, "y1": 1, "yref": "paper",
        "layer": "below", "opacity": opacity, "fillcolor": colour,
        "line": {"color": colour, "width": 1.5 if kind == "line" else 0},
    }  # fmt: skip

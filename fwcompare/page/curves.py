"""Learning curves with their spread over seeds, against epochs and against seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from fwcompare.arms import Run
from fwcompare.compare import Spread
from fwcompare.grid import Grid, number, score
from fwcompare.page.figure import Figure, axis, drawn, escaped, log_axis, rounded, widths
from fwcompare.page.palette import Mark

#: Points that a curve is drawn with at most, and all the curves of a page together, which are half
#: a kilobyte each with their figures and tables.
_MOST_POINTS = 100
_MOST_TOGETHER = 4000
_FEWEST_POINTS = 5

_HEIGHT_PIXELS = 300

#: Values that span more than this factor are drawn on a logarithmic axis.
_WIDE = 10.0

#: So many ticks fit on a phone.
_FEWEST_TICKS = 8

#: Curves with fewer points show each of them.
_FEW_POINTS = 25


@dataclass(frozen=True)
class _Point:
    """An epoch of one arm, over its seeds."""

    epoch: int
    value: Spread
    #: Seconds of training until its end; None where they are not known.
    seconds: Spread | None


def points_each(arms: int) -> int:
    """Points of a curve on a page with the curves of so many arms."""
    return min(_MOST_POINTS, max(_FEWEST_POINTS, _MOST_TOGETHER // max(arms, 1)))


def figures(
    arms: Mapping[str, Sequence[Run]], metric: str, marks: Mapping[str, Mark], most: int
) -> Iterator[Figure]:
    """The curves of the losses and of the validation ``metric``, such as ``accuracy``.

    A curve is thinned to ``most`` points.
    """
    for name in ("train/loss", "val/loss", f"val/{metric}"):
        curves = {
            label: points for label, runs in arms.items() if (points := _points(runs, name, most))
        }
        if not curves:
            continue
        yield _figure(name, curves, marks, against_seconds=False)
        timed = {
            label: own
            for label, points in curves.items()
            if (own := [point for point in points if point.seconds is not None])
        }
        if timed:
            yield _figure(name, timed, marks, against_seconds=True)


def _points(runs: Iterable[Run], name: str, most: int) -> list[_Point]:
    """The curve of an arm's good runs, of at most so many points."""
    values: dict[int, list[float]] = {}
    seconds: dict[int, list[float]] = {}
    for run in runs:
        if not run.record.ok:
            continue
        for entry in run.record.history:
            value, epoch = entry.get(name, math.nan), int(entry.get("epoch", 0))
            if math.isfinite(value):
                values.setdefault(epoch, []).append(value)
                if math.isfinite(passed := entry.get("time/wall_s", math.nan)):
                    seconds.setdefault(epoch, []).append(passed)
    return [
        _Point(epoch, spread, Spread.of(seconds.get(epoch, [])))
        for epoch in _thinned(sorted(values), most)
        if (spread := Spread.of(values[epoch])) is not None
    ]


def _thinned(epochs: Sequence[int], most: int) -> list[int]:
    """At most so many of the epochs, evenly spread, the first and the last among them."""
    if len(epochs) <= most:
        return list(epochs)
    step = (len(epochs) - 1) / (most - 1)
    return [epochs[round(position * step)] for position in range(most)]


def _figure(
    name: str,
    curves: Mapping[str, Sequence[_Point]],
    marks: Mapping[str, Mark],
    against_seconds: bool,
) -> Figure:
    traces = []
    for width, (label, points) in zip(widths(len(curves)), curves.items(), strict=True):
        x = [
            point.seconds.median if against_seconds and point.seconds else float(point.epoch)
            for point in points
        ]
        traces += _traces(label, [rounded(value) for value in x], points, marks[label], width)
    values = [
        end for points in curves.values() for p in points for end in (p.value.low, p.value.high)
    ]
    words = name.replace("/", " ")
    where = "seconds of training" if against_seconds else "epoch"
    ends = [trace.x[-1] for trace in traces if trace.hoverinfo != "skip"]
    times = [value for trace in traces for value in trace.x]
    if not against_seconds:
        across = axis(where, **_whole(max(times) - min(times)))
    elif _wide(ends):
        across = log_axis(where, min(times), max(times))
    else:
        across = axis(where)
    seeds = max(point.value.count for points in curves.values() for point in points)
    thinned = any(points[-1].epoch > len(points) for points in curves.values())
    return Figure(
        title=f"{words} against {where}",
        caption=(
            (f"Median of {seeds} seeds, with their range as a band." if seeds > 1 else "One seed.")
            + (" Equal curves lie on each other." if len(curves) > 1 else "")
            + (f" Seconds are{' medians too,' if seeds > 1 else ''} without validation."
               if against_seconds else "")
            + (" Not every epoch is drawn." if thinned else "")
        ),
        says=f"{words} at the end: " + "; ".join(
            f"{label} {score(name, points[-1].value.median)}" for label, points in curves.items()
        ) + ".",
        plot=drawn(
            traces,
            _HEIGHT_PIXELS,
            xaxis=across,
            yaxis=log_axis(words, min(values), max(values)) if _wide(values) else axis(words),
            hovermode="closest",
        ),
        table=_table(f"{words} against {where}", name, curves, against_seconds),
    )  # fmt: skip


def _whole(span: float) -> dict[str, object]:
    """Ticks at whole epochs."""
    return {"dtick": 1} if span < _FEWEST_TICKS else {"nticks": _FEWEST_TICKS, "tickformat": "d"}


def _wide(values: Sequence[float]) -> bool:
    low, high = min(values), max(values)
    return low > 0 and high / low > _WIDE


def _traces(
    label: str, x: list[float | None], points: Sequence[_Point], mark: Mark, width: float
) -> list[go.Scatter]:
    """The band of an arm, where it has several seeds, and its median."""
    traces = []
    if any(point.value.count > 1 for point in points):
        highs = [rounded(point.value.high) for point in points]
        lows = [rounded(point.value.low) for point in points]
        traces.append(
            go.Scatter(
                x=[*x, *reversed(x)],
                y=[*highs, *reversed(lows)],
                fill="toself",
                fillcolor=mark.band,
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
            )
        )
    traces.append(
        go.Scatter(
            x=x,
            y=[rounded(point.value.median) for point in points],
            name=escaped(label),
            mode="lines+markers" if len(points) < _FEW_POINTS else "lines",
            line={"color": mark.colour, "dash": mark.dash, "width": width},
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 5 + width},
        )
    )
    return traces


def _table(
    title: str, name: str, curves: Mapping[str, Sequence[_Point]], against_seconds: bool
) -> Grid:
    """An epoch a row, an arm a column."""
    found = {label: {point.epoch: point for point in points} for label, points in curves.items()}
    epochs = sorted({epoch for points in found.values() for epoch in points})

    def cell(point: _Point | None) -> str:
        if point is None:
            return "–"
        spread = point.value
        text = score(name, spread.median)
        if spread.count > 1:
            text += f" [{score(name, spread.low)}, {score(name, spread.high)}]"
        if against_seconds and point.seconds is not None:
            text += f" at {number(point.seconds.median)} s"
        return text

    rows = tuple(
        (str(epoch), *(cell(points.get(epoch)) for points in found.values())) for epoch in epochs
    )
    return Grid(title, ("epoch", *found), rows)

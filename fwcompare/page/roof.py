"""The roofline: what engines reached under what the machine can do (Williams et al., 2009)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from fwcompare.arms import Run
from fwcompare.compare import Spread
from fwcompare.grid import Grid, number
from fwcompare.page.figure import Figure, drawn, escaped, log_axis, rounded
from fwcompare.page.palette import Mark, variable
from fwcompare.roofline import Achieved, Peak, achieved

_HEIGHT_PIXELS = 380

#: Powers of ten that a roof is drawn to beyond the ridge and the points.
_BEYOND = 0.7

TITLE = "Arithmetic in training under the machine's roof"


def figure(
    arms: Mapping[str, Sequence[Run]], peaks: Sequence[Peak], marks: Mapping[str, Mark]
) -> Figure | None:
    """The roofline of a comparison; None without a measured peak or a run to set under it."""
    found: dict[str, list[Achieved]] = {}
    roofs: dict[tuple[int, str], Peak] = {}
    for label, runs in arms.items():
        for run in runs:
            reached = achieved(run.record, run.spec, peaks) if run.spec and run.record.ok else None
            if reached is None or run.spec is None:
                continue
            found.setdefault(label, []).append(reached)
            threads, cpu = run.spec.device.threads, run.record.environment.get("cpu")
            peak = next(peak for peak in peaks if (peak.threads, peak.cpu) == (threads, cpu))
            roofs[threads, run.spec.compute_type] = peak
    if not found:
        return None
    spreads = {
        label: spread
        for label, own in found.items()
        if (spread := Spread.of([reached.flops_per_s for reached in own]))
    }
    x = [own[0].intensity for own in found.values()]
    ridges = [p.flops_per_s[kind] / p.copy_bytes_per_s for (_, kind), p in roofs.items()]
    ends = min(*x, *ridges) / 10**_BEYOND, max(*x, *ridges) * 10**_BEYOND
    traces = [_roof(key, peak, ends) for key, peak in roofs.items()]
    traces += [
        _point(label, found[label][0].intensity, spread, marks[label])
        for label, spread in spreads.items()
    ]
    heights = [y for trace in traces for y in trace.y]
    heights += [spread.low / 1e9 for spread in spreads.values()]
    bounds = sorted({reached.bound for own in found.values() for reached in own})
    best = max(spreads, key=lambda label: spreads[label].median)
    share = Spread.of([reached.share for reached in found[best]])
    return Figure(
        title=TITLE,
        caption=(
            "The roof is what NumPy's fastest matrix product (flat) and copy (slope) reach with "
            "the same threads. A point straight below it could at best rise to it. Medians over "
            "seeds with their range."
        ),
        says=(
            f"The steps are bound by {' or '.join(bounds)} if caches hold nothing. "
            f"{best} comes closest: {number(spreads[best].median / 1e9)} GFLOP/s"
            + (f", {share.median:.1%} of the peak." if share else ".")
        ),
        plot=drawn(
            traces,
            _HEIGHT_PIXELS,
            xaxis=log_axis("FLOP a byte", *ends),
            yaxis=log_axis("GFLOP/s", min(heights), 1.3 * max(heights)),
        ),
        table=Grid(
            TITLE,
            ("engine", "GFLOP/s", "low", "high", "of peak", "FLOP a byte", "bound by"),
            tuple(
                (
                    label,
                    *(number(v / 1e9) for v in (spread.median, spread.low, spread.high)),
                    f"{spread.median / found[label][0].peak_flops_per_s:.1%}",
                    number(found[label][0].intensity),
                    found[label][0].bound,
                )
                for label, spread in spreads.items()
            ),
        ),
    )


def _roof(key: tuple[int, str], peak: Peak, ends: tuple[float, float]) -> go.Scatter:
    threads, kind = key
    flops, rate = peak.flops_per_s[kind], peak.copy_bytes_per_s
    x = [ends[0], flops / rate, ends[1]]
    name = f"{kind}, {threads} thread{'s' if threads != 1 else ''}"
    return go.Scatter(
        x=[rounded(value) for value in x],
        y=[rounded(min(flops, rate * value) / 1e9) for value in x],
        name=name,
        mode="lines+text",
        text=["", "", f"{name}: {number(flops / 1e9)} GFLOP/s"],
        textposition="top left",
        line={"color": variable("muted"), "width": 2},
        hoverinfo="skip",
    )


def _point(label: str, intensity: float, spread: Spread, mark: Mark) -> go.Scatter:
    low, middle, high = (value / 1e9 for value in (spread.low, spread.median, spread.high))
    return go.Scatter(
        x=[rounded(intensity)],
        y=[rounded(middle)],
        name=escaped(label),
        mode="markers",
        marker={"color": mark.colour, "symbol": mark.symbol, "size": 11},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [rounded(high - middle)],
            "arrayminus": [rounded(middle - low)],
            "color": mark.colour,
        },
        hovertemplate="%{y} GFLOP/s",
    )

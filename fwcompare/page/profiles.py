"""The performance profile: how close each arm comes to the fastest over all workloads."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from fwcompare.grid import Grid
from fwcompare.page.figure import Figure, axis, drawn, escaped, widths
from fwcompare.page.palette import Mark
from fwcompare.stats.profile import Profile

_HEIGHT_PIXELS = 320


def figure(profile: Profile, table: Grid, marks: Mapping[str, Mark]) -> Figure:
    """The curves of a profile, beside the table that a report shows of it."""
    traces = [
        go.Scatter(
            x=list(profile.factors),
            y=[100 * share for share in shares],
            name=escaped(label),
            mode="lines+markers",
            line={
                "color": marks[label].colour,
                "dash": marks[label].dash,
                "shape": "hv",
                "width": width,
            },
            marker={"symbol": marks[label].symbol, "color": marks[label].colour, "size": 5 + width},
        )
        for width, (label, shares) in zip(
            widths(len(profile.shares)), sorted(profile.shares.items()), strict=True
        )
    ]
    ticks = list(profile.factors)
    return Figure(
        title=table.title,
        caption=" ".join(table.notes),
        says="Share of workloads on which an arm is the fastest: "
        + "; ".join(f"{row[0]} {row[1]}" for row in table.rows)
        + ".",
        plot=drawn(
            traces,
            _HEIGHT_PIXELS,
            xaxis=axis(
                "times the fastest step", type="log", tickvals=ticks,
                ticktext=[f"{tick:g}" for tick in ticks],
            ),
            yaxis=axis("share of workloads, %", range=[-3, 103]),
        ),
        table=table,
    )  # fmt: skip

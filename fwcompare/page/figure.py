"""A figure of the page: a plot, what it says in words, and its numbers as a table."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from fwcompare.grid import Grid
from fwcompare.page.palette import variable

#: Characters of a name on an axis; the table beside the figure has the whole. A name that is longer
#: than a phone's share for it goes on two lines.
_LONGEST_LABEL = 30
_LONGEST_LINE = 14

#: A logarithmic axis reaches no farther, whatever a run has come to.
_SMALLEST, _LARGEST = 1e-300, 1e300

#: Pixels of the thinnest line, and how many more the thickest may have.
_LEAST_WIDTH = 2.0
_MORE_WIDTH = 6.0

#: Pixels of a row of a figure with one row an arm, and of what stands above and below the rows.
_ROW_PIXELS = 34
_FRAME_PIXELS = 74


@dataclass(frozen=True)
class Figure:
    """One plot, for eyes, screen readers and print."""

    title: str
    #: How it is read.
    caption: str
    #: What it shows, in words: the text alternative.
    says: str
    #: Plotly's ``data`` and ``layout``.
    plot: dict[str, Any]
    #: The numbers drawn.
    table: Grid
    #: What colours stand for that are no engine's: names, and variables of the palette.
    key: tuple[tuple[str, str], ...] = ()
    #: Whether it takes the width of the page.
    wide: bool = False

    @property
    def height_px(self) -> int:
        return int(self.plot["layout"]["height"])


def drawn(traces: list[Any], height_px: int, **layout: Any) -> dict[str, Any]:
    """A plot in the manner of the page, checked by Plotly.

    Colours are variables of the palette, which the page's script fills in; there is nothing to
    drag, so that a finger scrolls the page.
    """
    font = {"family": "system-ui, sans-serif", "size": 13, "color": variable("ink")}
    figure = go.Figure(
        traces,
        {
            "template": "none",
            "height": height_px,
            "paper_bgcolor": "rgba(0, 0, 0, 0)",
            "plot_bgcolor": "rgba(0, 0, 0, 0)",
            "font": font,
            "margin": {"l": 8, "r": 16, "t": 8, "b": 8},
            "hoverlabel": {
                "bgcolor": variable("shade"), "bordercolor": variable("line"), "font": font,
            },
            "dragmode": False,
            "showlegend": False,
            **layout,
        },
    )  # fmt: skip
    made: dict[str, Any] = figure.to_plotly_json()
    return made


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """An axis with light lines, as wide as its labels need."""
    return {
        "title": {"text": title, "font": {"color": variable("muted"), "size": 13}, "standoff": 8},
        "gridcolor": variable("line"),
        "linecolor": variable("line"),
        "zeroline": False,
        "automargin": True,
        "fixedrange": True,
        **more,
    }


def log_axis(title: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    """A logarithmic axis from ``low`` to ``high`` with room around, whose ticks are all written
    out: Plotly's own between two powers of ten are single digits."""
    low, high = max(low, _SMALLEST), min(high, _LARGEST)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = 1 + (last - first) // 8
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    ticks = [
        float(f"{factor}e{power}")
        for power in range(first - 1, last + 1, step)
        for factor in factors
    ]
    ends = [math.log10(low), math.log10(high)]
    room = max(0.05 * (ends[1] - ends[0]), 0.03)
    ends = [ends[0] - room, ends[1] + room]
    return axis(
        title, type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], range=ends,
        **more,
    )  # fmt: skip


def rows_axis(labels: list[str]) -> dict[str, Any]:
    """A vertical axis with one row an arm, the first on top.

    Rows are numbers: two long names that are cut alike stay two rows.
    """
    return axis(
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=[_folded(escaped(label), len(label)) for label in labels],
        range=[len(labels) - 0.4, -0.6],
        showgrid=False,
    )


def rows_height(count: int) -> int:
    """Pixels of a figure with so many rows."""
    return _FRAME_PIXELS + _ROW_PIXELS * count


def escaped(text: str) -> str:
    """A name as Plotly shows it: it takes some tags of HTML, which a name must not use.

    Quotes stay, for it would show their entities as they are written.
    """
    short = text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
    return html.escape(short, quote=False)


def _folded(label: str, length: int) -> str:
    return label.replace(" ", "<br>", 1) if length > _LONGEST_LINE else label


def widths(count: int) -> list[float]:
    """Widths of so many lines in pixels, the first the thickest: it shows below others that take
    the same course."""
    return [_LEAST_WIDTH + _MORE_WIDTH * (count - 1 - n) / count for n in range(count)]


def rounded(value: float) -> float | None:
    """Five significant figures: more than a screen shows, and a fraction of the bytes.

    None, which is not drawn, for what has no place on an axis.
    """
    return float(f"{value:.5g}") if math.isfinite(value) else None

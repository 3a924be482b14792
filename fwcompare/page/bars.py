"""Bars: where the seconds of a run go, the memory of its phases, and the pace of inference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import plotly.graph_objects as go

from fwcompare.arms import Run
from fwcompare.compare import Comparison, Row, Spread
from fwcompare.grid import Grid, number
from fwcompare.page.figure import Figure, axis, drawn, escaped, rounded, rows_axis, rows_height
from fwcompare.page.palette import Mark, variable
from fwcompare.record import RunRecord

#: Parts of a run's time, in their order.
_PARTS = ("import", "build", "first step", "further steps", "evaluation", "inference", "rest")
_TRAINING = ("first step", "further steps")

#: Phases of the record that make a part by themselves.
_PHASES = {
    "import": ("import",),
    "build": ("build",),
    "evaluation": ("eval",),
    "inference": ("input", "predict", "sample"),
}


def parts(record: RunRecord) -> dict[str, float]:
    """The seconds of a run by part; all of them together are its total where that is known."""
    metrics = {key: value for key, value in record.metrics.items() if math.isfinite(value)}
    seconds = {name: phase.get("seconds", 0.0) for name, phase in record.phases.items()}
    found = {
        part: sum(seconds.get(phase, 0.0) for phase in phases) for part, phases in _PHASES.items()
    }
    first = metrics.get("time/first_step_s", 0.0)
    found["first step"] = first
    found["further steps"] = max(metrics.get("time/train_s", first) - first, 0.0)
    found["rest"] = max(metrics.get("time/total_s", 0.0) - sum(found.values()), 0.0)
    return {part: found[part] for part in _PARTS}


def times(arms: Mapping[str, Sequence[Run]]) -> Iterator[Figure]:
    """The parts of a whole run, and of its training alone."""
    spreads = {
        label: {part: spread for part in _PARTS if (spread := _part(runs, part))}
        for label, runs in arms.items()
    }
    known = {label: own for label, own in spreads.items() if own}
    if not known:
        return
    yield _times(
        "Seconds of a whole run",
        "From the start of the process to its record. Rest: starting the interpreter, drawing "
        "weights, fetching losses, writing events and the final weights.",
        known,
        _PARTS,
    )
    yield _times(
        "Seconds of training alone",
        "The first step holds the compilation, where there is any.",
        known,
        _TRAINING,
    )


def _part(runs: Sequence[Run], part: str) -> Spread | None:
    timed = [run.record for run in runs if run.record.ok and run.record.phases]
    return Spread.of([parts(record)[part] for record in timed])


def _times(
    title: str, caption: str, spreads: Mapping[str, Mapping[str, Spread]], shown: Sequence[str]
) -> Figure:
    labels = list(spreads)
    traces = [
        go.Bar(
            x=[rounded(spreads[label][part].median) for label in labels],
            y=list(range(len(labels))),
            orientation="h",
            name=part,
            marker={
                "color": _colour(part),
                "line": {"color": variable("muted"), "width": 0.5},
            },
            hovertemplate=f"{part}: %{{x}} s<extra></extra>",
        )
        for part in shown
    ]
    longest = {label: max(shown, key=lambda part: spreads[label][part].median) for label in labels}
    return Figure(
        title=title,
        caption=f"{caption} Medians over seeds.",
        says=f"{title}. "
        + " ".join(
            f"{label}: most in {part}, {number(spreads[label][part].median)} s."
            for label, part in longest.items()
        ),
        plot=drawn(
            traces,
            rows_height(len(labels)),
            barmode="stack",
            bargap=0.35,
            xaxis=axis("seconds", nticks=6, tickangle=0),
            yaxis=rows_axis(labels),
        ),
        table=Grid(
            title,
            ("engine", *(f"{part} s" for part in shown)),
            tuple(
                (label, *(number(spreads[label][part].median) for part in shown))
                for label in labels
            ),
        ),
        key=tuple((part, _colour(part)) for part in shown),
    )


def _colour(part: str) -> str:
    return variable(f"part-{part.replace(' ', '-')}")


def memory(comparison: Comparison, marks: Mapping[str, Mark]) -> Iterator[Figure]:
    """Peaks of resident memory and, where there is an accelerator, of its memory."""
    prefix = "memory/peak_rss_mib_"
    phases = tuple(
        dict.fromkeys(
            key.removeprefix(prefix)
            for row in comparison.rows
            for key in sorted(row.metrics, key=lambda key: _middle(row, key))
            if key.startswith(prefix)
        )
    )
    made = ranged(
        comparison, marks, "memory/peak_rss_mib", "Peak of resident memory", "MiB",
        "The whole process, the framework with it. The open mark: after importing the framework, "
        "before there is a model.",
        beside=f"{prefix}import",
        columns=tuple((f"{phase} MiB", f"{prefix}{phase}") for phase in phases),
    )  # fmt: skip
    if made:
        yield made
    device = ranged(
        comparison, marks, "memory/peak_device_mib", "Peak of the accelerator's memory", "MiB",
        "As the framework reports it.",
    )  # fmt: skip
    if device:
        yield device


def inference(comparison: Comparison, marks: Mapping[str, Mark]) -> Iterator[Figure]:
    """Throughput in batches, and the latency of one sample."""
    for key, title, unit, caption in (
        ("perf/predict_samples_per_s", "Prediction in batches", "samples/s", "More is better."),
        ("perf/predict_ms_batch1_p50", "Prediction of one sample", "ms", "Less is better."),
    ):
        told = f"{caption} From a NumPy array to a NumPy array, transfers included."
        made = ranged(comparison, marks, key, title, unit, told)
        if made:
            yield made


def _middle(row: Row, key: str) -> float:
    return row.metrics[key].median


def ranged(
    comparison: Comparison,
    marks: Mapping[str, Mark],
    key: str,
    title: str,
    unit: str,
    caption: str,
    beside: str = "",
    columns: Sequence[tuple[str, str]] = (),
) -> Figure | None:
    """A bar an arm with the range over seeds; None where no arm has the metric.

    ``beside`` is a second metric that is marked on the bar; ``columns`` are headings and metrics
    that the table has besides.
    """
    rows = [(row, row.metrics[key]) for row in comparison.rows if key in row.metrics]
    if not rows:
        return None
    positions = list(range(len(rows)))
    traces: list[object] = [
        go.Bar(
            x=[rounded(spread.median) for _, spread in rows],
            y=positions,
            orientation="h",
            marker={"color": [marks[row.label].colour for row, _ in rows]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [rounded(spread.high - spread.median) for _, spread in rows],
                "arrayminus": [rounded(spread.median - spread.low) for _, spread in rows],
                "color": variable("ink"),
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[escaped(row.label) for row, _ in rows],
            hovertemplate=f"%{{customdata}}: %{{x}} {unit}<extra></extra>",
        )
    ]
    if beside:
        traces.append(
            go.Scatter(
                x=[rounded(_middle(row, beside)) if beside in row.metrics else None
                   for row, _ in rows],
                y=positions,
                mode="markers",
                marker={
                    "symbol": "diamond",
                    "size": 11,
                    "color": variable("paper"),
                    "line": {"color": variable("ink"), "width": 2},
                },
                hovertemplate=f"%{{x}} {unit}<extra></extra>",
            )
        )  # fmt: skip
    return Figure(
        title=title,
        caption=f"{caption} Medians over seeds with their range.",
        says=f"{title}. "
        + " ".join(f"{row.label}: {number(spread.median)} {unit}." for row, spread in rows),
        plot=drawn(
            traces,
            rows_height(len(rows)),
            bargap=0.4,
            xaxis=axis(unit, rangemode="tozero", nticks=6, tickangle=0),
            yaxis=rows_axis([row.label for row, _ in rows]),
        ),
        table=Grid(
            title,
            ("engine", f"median {unit}", "low", "high", *(heading for heading, _ in columns)),
            tuple(
                (
                    row.label,
                    *(number(value) for value in (spread.median, spread.low, spread.high)),
                    *(
                        number(row.metrics[other].median) if other in row.metrics else "–"
                        for _, other in columns
                    ),
                )
                for row, spread in rows
            ),
        ),
    )

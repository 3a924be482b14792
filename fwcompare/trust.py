"""What the machine has to say on a comparison: shares of its peak, and how noisy it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fwcompare.arms import Run
from fwcompare.compare import Comparison, Row
from fwcompare.noise import Crowd, crowding, noise
from fwcompare.roofline import Peak, achieved, remark

#: Training FLOPs a second over the machine's measured peak, with the same threads and precision.
#: No run knows it: the peak is the sweep's.
PEAK_SHARE = "perf/peak_share"

#: What is said of a comparison without times.
UNTIMED = (
    "Scores alone are compared (compare.measure=accuracy): runs may have shared cores, so nothing "
    "is said of speed."
)


def with_peak_shares(runs: Iterable[Run], peaks: Sequence[Peak]) -> list[Run]:
    """The runs, each with its share of the peak among its metrics where there is one."""
    return [_with_peak_share(run, peaks) for run in runs]


def _with_peak_share(run: Run, peaks: Sequence[Peak]) -> Run:
    reached = achieved(run.record, run.spec, peaks) if run.spec else None
    if reached is None:
        return run
    metrics = {**run.record.metrics, PEAK_SHARE: reached.share}
    return replace(run, record=replace(run.record, metrics=metrics))


def weighed(
    comparisons: Iterable[Comparison], runs: Iterable[Run], peaks: Sequence[Peak]
) -> tuple[Comparison, ...]:
    """The comparisons of these runs with notes on the noise, the peak, and doubtful speeds."""
    by_name = {run.record.run: run for run in runs}
    crowd = crowding([run.record for run in by_name.values()])
    return tuple(_weighed(comparison, by_name, peaks, crowd) for comparison in comparisons)


def _weighed(
    comparison: Comparison, runs: dict[str, Run], peaks: Sequence[Peak], crowd: Crowd
) -> Comparison:
    if not comparison.criteria.timed:
        return comparison.noted(UNTIMED)
    own = {row.label: [runs[name] for name in row.runs] for row in comparison.rows}
    arms = {label: [run.record for run in found] for label, found in own.items()}
    everyone = [run for found in own.values() for run in found]
    control = next((row for row in comparison.rows if row.control), None)
    judged = noise(arms, None if control is None else _farther_end(control), crowd)
    remarks = [remark for row in comparison.rows if (remark := _speed_remark(row))]
    roofs = dict.fromkeys(_peak_notes(everyone, peaks))
    if crowd.sharing:
        remarks.append(
            f"{crowd.sharing} runs shared their cores or GPU with others while they were timed: "
            "nothing is to be concluded from speeds."
        )
    told = comparison.noted(*remarks, *roofs, f"Noise of the measurement: {judged}.")
    return replace(told, noise=judged)


def _farther_end(control: Row) -> float | None:
    """How far from 1 the ratio of two equal arms may be; None where it has no interval."""
    estimate = control.speed.estimate
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    return max(estimate.low - 1, estimate.high - 1, key=abs)


def _speed_remark(row: Row) -> str:
    share = row.metrics.get(PEAK_SHARE)
    said = remark(share.high) if share else ""
    return f"{row.label}: {said}." if said else ""


def _peak_notes(runs: Iterable[Run], peaks: Sequence[Peak]) -> Iterable[str]:
    """The roof over these runs, one for each number of threads and type of number."""
    for run in runs:
        reached = achieved(run.record, run.spec, peaks) if run.spec else None
        if reached is None or run.spec is None:
            continue
        threads = run.spec.device.threads
        told = f"{threads} thread" if threads == 1 else f"{threads} threads"
        note = (
            f"The machine's measured peak with {told}: {reached.peak_flops_per_s / 1e9:,.0f} "
            f"GFLOP/s in {run.spec.compute_type}. At {reached.intensity:.1f} FLOP a byte a step is "
            f"bound by {reached.bound}"
        )
        yield note + (", unless caches hold what it uses." if reached.bound == "memory" else ".")

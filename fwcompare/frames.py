"""Runs and comparisons as pandas data frames: one row an observation, one column a name.

Metrics keep the names that they have everywhere (``perf/samples_per_s``). pandas is imported by
the first frame that is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fwcompare.arms import Run
from fwcompare.compare import Comparison, Row
from fwcompare.verdict import Finding

if TYPE_CHECKING:
    from pandas import DataFrame


def runs_frame(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> DataFrame:
    """A row a run: what it was, how it ended, and its final metrics (NaN where it has none)."""
    arms = _arms(comparisons)
    return _frame(
        [{**_identity(run, arms), **_asked(run), **_ending(run)} for run in runs],
        ["run", "arm", "engine", "seed", "status", "reason"],
    )


def history_frame(runs: Sequence[Run], comparisons: Sequence[Comparison] = ()) -> DataFrame:
    """A row an epoch of a run: training and validation metrics, and seconds since its start."""
    arms = _arms(comparisons)
    return _frame(
        [{**_identity(run, arms), **epoch} for run in runs for epoch in run.record.history],
        ["run", "arm", "engine", "seed", "epoch"],
        whole=("seed", "epoch"),
    )


def verdicts_frame(comparisons: Sequence[Comparison]) -> DataFrame:
    """A row an arm of a comparison: medians over its good runs, and what was found against the
    baseline.

    ``speed_ratio`` is the throughput over the baseline's. ``score_estimate`` is the difference of
    shares such as accuracy, the ratio of anything else. ``low`` and ``high`` are the ends of their
    confidence intervals. Where nothing was estimated they are NaN.
    """
    return _frame(
        [_verdict(comparison, row) for comparison in comparisons for row in comparison.rows],
        ["experiment", "arm", "engine", "baseline", "speed_verdict"],
    )


def _frame(rows: list[dict[str, Any]], first: Sequence[str], whole: Sequence[str] = ()) -> Any:
    from pandas import DataFrame

    columns = dict.fromkeys([*first, *(key for row in rows for key in row)])
    made = DataFrame(rows, columns=list(columns))
    return made.astype(dict.fromkeys(whole, int)) if rows else made


def _arms(comparisons: Iterable[Comparison]) -> Mapping[str, str]:
    """The label of each run's arm."""
    return {run: row.label for own in comparisons for row in own.rows for run in row.runs}


def _identity(run: Run, arms: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run": run.record.run,
        "arm": arms.get(run.record.run, run.engine),
        "engine": run.engine,
        "seed": run.seed,
    }


def _ending(run: Run) -> dict[str, Any]:
    return {"status": run.record.status, "reason": run.record.reason, **run.record.metrics}


def _asked(run: Run) -> dict[str, Any]:
    """What else distinguishes runs; nothing where one was refused before there was a spec."""
    spec = run.spec
    if spec is None:
        return {"control": run.control}
    return {
        "control": run.control,
        "model": spec.model.name,
        "dataset": spec.dataset.name,
        "optimizer": spec.optimizer.name,
        "semantics": spec.semantics,
        "execution": spec.execution,
        "precision": spec.precision,
        "device": spec.device.name,
        "threads": spec.device.threads,
        "processes": spec.distributed.processes,
        "replicas": spec.distributed.replicas,
    }


def _verdict(comparison: Comparison, row: Row) -> dict[str, Any]:
    return {
        "experiment": comparison.title,
        "arm": row.label,
        "engine": row.engine,
        "baseline": comparison.baseline,
        **_found("speed", "ratio", row.speed),
        **_found("score", "estimate", row.score),
        "standing": row.standing.state,
        "standing_reason": row.standing.reason,
        "runs_ok": row.statuses.get("ok", 0),
        "runs": len(row.runs),
        **{metric: spread.median for metric, spread in row.metrics.items()},
    }


def _found(name: str, scale: str, finding: Finding) -> dict[str, Any]:
    own = finding.estimate
    figures = (own.value, own.low, own.high, own.p_adjusted) if own else (None,) * 4
    # NaN for None: a column that holds None is no column of numbers to pandas.
    value, low, high, p_adjusted = (math.nan if number is None else number for number in figures)
    return {
        f"{name}_verdict": str(finding),
        f"{name}_kind": finding.kind,
        f"{name}_{scale}": value,
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_p_adjusted": p_adjusted,
    }

"""A sweep's comparisons as what tracking shows of its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fwcompare import report
from fwcompare.arms import SWEEP_FILE, Run, read_listing
from fwcompare.compare import Comparison
from fwcompare.record import NO_FAILURES
from fwcompare.track import Conclusion
from fwcompare.track.conclusion import REPORT_FILE
from fwcompare.verdict import BASELINE, NOT_COMPARABLE

#: Files of a sweep folder that its parent run gets, where they are there.
_ARTIFACTS = (
    REPORT_FILE,
    "comparison.json",
    "search.json",
    SWEEP_FILE,
    "proofs.json",
    "audits.json",
)

#: Columns of the table in a description: the page gives it half of its width.
_TABLE_RANK = 2


def conclude(folder: Path, runs: Sequence[Run], comparisons: Sequence[Comparison]) -> Conclusion:
    """What the runs of a sweep folder, and their comparisons, have come to.

    Raises:
        RequestError: the folder is no sweep.
    """
    counts = Counter(run.record.status for run in runs)
    failed = set(counts) - set(NO_FAILURES)
    started = [run for run in runs if run.spec is not None] or runs
    return Conclusion(
        status="failed" if failed else "ok",
        ended_ms=max(run.record.ended_ms for run in started),
        headline=_headline(runs, counts),
        body=_body(folder, comparisons),
        tags=_tags(runs, comparisons),
        metrics=_metrics(runs, comparisons, counts),
        artifacts=tuple(path for name in _ARTIFACTS if (path := folder / name).is_file()),
        run_tags=_superseded(folder)
        | {run.record.run: run_tags(run, comparisons) for run in runs if run.spec is not None},
        side_by_side=tuple(_one_of_each(runs, comparisons)),
    )


def _superseded(folder: Path) -> dict[str, dict[str, str]]:
    """Tags of the attempts in whose place a later one stands."""
    return {
        run: {"fwcompare.superseded": "true"}
        for cell in read_listing(folder)["cells"]
        for run in cell.get("superseded", ())
    }


def run_tags(run: Run, comparisons: Sequence[Comparison]) -> dict[str, str]:
    """The label of a run's arm and, if it is good, its standing, with the reason if it has one."""
    tags = {}
    for comparison in comparisons:
        for row in comparison.rows:
            if run.record.run in row.runs:
                tags["fwcompare.label"] = row.label
                if run.record.ok:
                    tags["fwcompare.comparable"] = row.standing.state.replace(" ", "_")
                if run.record.ok and row.standing.reason:
                    tags["fwcompare.reason"] = row.standing.reason
    if run.control:
        tags["fwcompare.control"] = "true"
    return tags


def _headline(runs: Sequence[Run], counts: Mapping[str, int]) -> str:
    engines = len({run.engine for run in runs})
    seeds = len({run.seed for run in runs})
    ended = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return (
        f"{engines} engine{'s' if engines != 1 else ''}, {seeds} seed{'s' if seeds != 1 else ''},"
        f" {len(runs)} run{'s' if len(runs) != 1 else ''} ({ended})."
    )


def _body(folder: Path, comparisons: Sequence[Comparison]) -> str:
    command = read_listing(folder).get("command")
    table = report.markdown(comparisons, most_rank=_TABLE_RANK).rstrip()
    parts = ["\n".join(map(_padded, table.splitlines()))]
    if command:
        # A block would not be folded, and its width would push the page's other half out of view.
        parts.append(f"Made by: `{command}`")
    parts.append(f"Again, without training: `fwcompare report {folder.name}`")
    return "\n\n".join(parts)


def _padded(line: str) -> str:
    """A line of Markdown; of a table, with room between its cells, which MLflow draws without any,
    and with every interval in one piece."""
    if not line.startswith("| "):
        return line
    return line.replace(", ", ",&nbsp;").replace(" | ", "&nbsp;&nbsp; | ")


def _tags(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> dict[str, str]:
    """What the runs have in common; several values stand side by side."""
    specs = [run.spec for run in runs if run.spec is not None]
    values = {
        "engines": [run.engine for run in runs],
        "model": [spec.model.name for spec in specs],
        "dataset": [spec.dataset.name for spec in specs],
        "optimizer": [spec.optimizer.name for spec in specs],
        "device": [spec.device.name for spec in specs],
        "precision": [spec.precision for spec in specs],
        "execution": [spec.execution for spec in specs],
        "semantics": [spec.semantics for spec in specs],
        "baseline": [c.baseline for c in comparisons if c.baseline],
        "comparable": [
            row.standing.state.replace(" ", "_")
            for comparison in comparisons
            for row in comparison.rows
            if row.metrics
        ],
    }
    return {
        f"fwcompare.{key}": ", ".join(sorted(set(found))) for key, found in values.items() if found
    }


def _metrics(
    runs: Sequence[Run], comparisons: Sequence[Comparison], counts: Mapping[str, int]
) -> dict[str, float]:
    found = {f"sweep/runs_{status}": float(count) for status, count in counts.items()}
    found["sweep/engines"] = float(len({run.engine for run in runs}))
    found["sweep/seeds"] = float(len({run.seed for run in runs}))
    if len(comparisons) == 1:  # of several groups a ratio would not say which
        for row in comparisons[0].rows:
            if (
                row.speed.estimate
                and not row.control
                and row.speed.kind not in (BASELINE, NOT_COMPARABLE)
            ):
                found[f"speed_ratio/{row.label}"] = row.speed.estimate.value
    return found


def _one_of_each(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> Iterator[str]:
    """The first good run of each arm, at the same seed where there is one."""
    seeds = {run.record.run: run.seed for run in runs if run.record.ok}
    for comparison in comparisons:
        for row in comparison.rows:
            own = [name for name in row.runs if name in seeds]
            if own and not row.control:
                yield min(own, key=seeds.__getitem__)

"""The best of every arm, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fwcompare.arms import Run, by_arm, varying
from fwcompare.compare import Comparison, compare_tuned
from fwcompare.search.result import Searched, grids
from fwcompare.stats.criteria import Criteria


def tuned(
    searched: Searched, runs: Sequence[Run], name: str, baseline: str | None, criteria: Criteria
) -> Comparison:
    """The runs of the best point of each arm side by side, and the tables of the search.

    Raises:
        RequestError: there are no runs.
    """
    chosen: list[Run] = []
    points: dict[str, str] = {}
    best = searched.best()
    for label, own in by_arm(runs, varying(runs)).items():
        if best.get(label):
            points[label] = best[label][0].words
            chosen += [run for run in own if run.record.run in best[label][0].runs]
    made = compare_tuned(chosen or runs, points, name, baseline, criteria)
    if chosen:
        made = made.noted(
            f"Each engine at the point with its best {searched.objectives[0].metric}, of "
            f"{searched.budget} ({searched.sampler})."
        )
    return replace(made, tables=tuple(grids(searched)))

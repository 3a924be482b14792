"""How many seeds a comparison needs, planned from the spread that it measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fwcompare.compare import Comparison
from fwcompare.errors import RequestError
from fwcompare.stats.planner import seeds_for_detection, seeds_for_precision, upper_spread
from fwcompare.verdict import BASELINE, CONTROL


@dataclass(frozen=True)
class Plan:
    """Seeds for one arm's ratio of throughput to the baseline's.

    ``spread`` and ``upper_spread``, the limit that is planned with, are standard deviations of the
    logarithm of one pair's ratio. None instead of a number of seeds: more than anybody runs.
    """

    title: str
    label: str
    precision: float
    pairs: int
    spread: float
    upper_spread: float
    #: Seeds until the interval reaches no farther than the precision to either side.
    for_interval: int | None
    #: Seeds that find a true difference of the size of the precision in four sweeps of five; with
    #: an A/A control also above its noise floor.
    for_detection: int | None
    #: Whether there was such a control.
    controlled: bool = False


def plans(comparisons: Sequence[Comparison], precision: float) -> tuple[Plan, ...]:
    """The plan of every arm that was compared; none for one whose pairs have no
    spread that could be known: fewer than two, or all the same.

    ``precision`` is relative: 0.02 means a ratio known within 2 %.

    Raises:
        RequestError: the precision is not between 0 and 1.
    """
    if not 0 < precision < 1:
        raise RequestError(
            f"The precision of a plan must lie between 0 and 1, got {precision:g}.",
            "Give it as a share: 0.02 for a ratio known within 2 %.",
        )
    return tuple(plan for comparison in comparisons for plan in _plans(comparison, precision))


def _plans(comparison: Comparison, precision: float) -> Iterator[Plan]:
    tested = [
        (row.label, row.speed.estimate)
        for row in comparison.rows
        if row.speed.kind not in (BASELINE, CONTROL) and row.speed.estimate is not None
    ]
    criteria = comparison.criteria
    controlled = any(row.control for row in comparison.rows)
    size = math.log1p(precision)
    for label, estimate in tested:
        if not estimate.spread:
            continue
        upper = upper_spread(estimate.spread, estimate.pairs)
        yield Plan(
            title=comparison.title,
            label=label,
            precision=precision,
            pairs=estimate.pairs,
            spread=estimate.spread,
            upper_spread=upper,
            for_interval=seeds_for_precision(upper, size, criteria.confidence),
            for_detection=seeds_for_detection(
                upper,
                size,
                criteria.alpha / len(tested),
                floor_confidence=criteria.confidence if controlled else None,
            ),
            controlled=controlled,
        )

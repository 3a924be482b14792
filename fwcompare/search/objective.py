"""What a search tries to make large or small."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from fwcompare.errors import RequestError, unknown
from fwcompare.metrics import is_share
from fwcompare.record import RunRecord

DIRECTIONS = ("maximize", "minimize")

#: Of the metrics that are no scores, those of which more is better.
_MORE_IS_BETTER = ("perf/samples_per_s", "perf/predict_samples_per_s", "perf/train_flops_per_s")


@dataclass(frozen=True)
class Objective:
    """A metric of the record, and which way is better."""

    metric: str
    direction: str

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)
        if self.metric.startswith("test/"):
            raise RequestError(
                f"{self.metric} cannot be searched for: a test split that has helped to choose "
                "says nothing of data that no one has seen.",
                f"Take val/{self.metric.removeprefix('test/')}.",
            )

    @classmethod
    def named(cls, metric: str, direction: str | None = None) -> Objective:
        """The objective of a metric, in the direction that it has by its nature."""
        natural = "maximize" if is_share(metric) or metric in _MORE_IS_BETTER else "minimize"
        return cls(metric, direction or natural)

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.direction == "maximize" else -1

    def of(self, records: Sequence[RunRecord]) -> float:
        """The mean over runs; NaN where one of them has no finite value."""
        values = [record.metrics.get(self.metric, math.nan) for record in records if record.ok]
        if len(values) < len(records) or not values or not all(map(math.isfinite, values)):
            return math.nan
        return statistics.fmean(values)


def objectives(metrics: Sequence[str], directions: Sequence[str] | None) -> tuple[Objective, ...]:
    """The objectives of these metrics.

    Raises:
        RequestError: there are not as many directions as metrics, or one of either is wrong.
    """
    if directions is not None and len(directions) != len(metrics):
        raise RequestError(
            f"hydra.sweeper.direction names {len(directions)}, hydra.sweeper.objectives "
            f"{len(metrics)}.",
            "Give one direction for each objective, or null for those that metrics have by nature.",
        )
    if len(set(metrics)) < len(metrics):
        raise RequestError(f"An objective is named twice: {', '.join(metrics)}.")
    return tuple(
        Objective.named(metric, directions[number] if directions else None)
        for number, metric in enumerate(metrics)
    )

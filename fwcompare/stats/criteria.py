"""What a comparison is judged by, chosen before the runs."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

from fwcompare.errors import RequestError, unknown

#: What runs are compared by: speeds and scores, or scores alone, where runs may share cores.
MEASURES = ("speed", "accuracy")


@dataclass(frozen=True)
class Criteria:
    """Thresholds of the verdicts.

    Raises:
        RequestError: a value is out of its range.
    """

    #: Coverage of every interval; one less it is the rate of false alarms of a whole table.
    confidence: float = 0.95
    #: Scores closer than this are equivalent: a difference of shares such as accuracy (0.005 is
    #: half a point), a relative difference of errors.
    equivalence_margin: float = 0.005
    #: Speeds closer than this relative difference are equivalent.
    speed_margin: float = 0.02
    #: Value of the task's validation metric that training is to reach; None measures no such time.
    target: float | None = None
    #: ``speed`` for speeds and scores, ``accuracy`` for scores alone.
    measure: str = "speed"

    def __post_init__(self) -> None:
        _within("compare.confidence", self.confidence, 0.5, 0.9999)
        _within("compare.equivalence_margin", self.equivalence_margin, 0.0, 1.0)
        _within("compare.speed_margin", self.speed_margin, 0.0, 1.0)
        if self.target is not None and not math.isfinite(self.target):
            raise RequestError(f"compare.target must be finite, got {self.target!r}.")
        if self.measure not in MEASURES:
            raise unknown("compare.measure", self.measure, MEASURES)
        if self.target is not None and not self.timed:
            raise RequestError(
                "compare.target asks for the time until it is reached, and "
                "compare.measure=accuracy measures none.",
                "Leave out one of them.",
            )

    @property
    def timed(self) -> bool:
        """Whether the times of the runs are compared."""
        return self.measure == "speed"

    @property
    def alpha(self) -> float:
        """Chance that a table without any true difference is allowed to claim one."""
        return 1 - self.confidence

    def halved(self) -> Criteria:
        """The same with half the chance of a false claim, for each of two families of tests.

        It may lie beyond what a user may ask for.
        """
        made = copy(self)
        object.__setattr__(made, "confidence", 1 - self.alpha / 2)
        return made


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RequestError(f"{name} must lie between {low:g} and {high:g}, got {value!r}.")

"""Epochs and time until a metric reaches a target; what never reaches it takes for ever."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import special


@dataclass(frozen=True)
class Arrival:
    """When one run reached the target: both infinite where it did not."""

    epochs: float
    train_seconds: float

    @property
    def reached(self) -> bool:
        return math.isfinite(self.epochs)


NEVER = Arrival(math.inf, math.inf)


def arrival(
    history: Sequence[Mapping[str, Any]], metric: str, target: float, higher_is_better: bool
) -> Arrival:
    """The first epoch whose ``metric`` is at least as good as the target.

    ``history`` is a record's: one mapping an epoch, with the seconds of training so far under
    ``time/wall_s``. A value that is missing or not a number has not reached anything.
    """
    sign = 1.0 if higher_is_better else -1.0
    for number, epoch in enumerate(history, start=1):
        value = epoch.get(metric, math.nan)
        if sign * value >= sign * target:
            return Arrival(float(number), float(epoch.get("time/wall_s", math.nan)))
    return NEVER


def p_sign(pairs: Sequence[tuple[float, float]]) -> float:
    """Two-sided p-value of the exact sign test; works with infinite values.

    Pairs that are equal, such as two failures, say nothing and are left out.
    """
    smaller = sum(own < base for own, base in pairs)
    larger = sum(own > base for own, base in pairs)
    count = smaller + larger
    if count == 0:
        return 1.0
    return min(2 * float(special.bdtr(min(smaller, larger), count, 0.5)), 1.0)

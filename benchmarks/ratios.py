"""Ratios of paired times, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Ratio:
    """A geometric mean of ratios with a 95 % interval."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def away(self) -> float:
        """The end of the interval that is farther from 1, as a factor of at least 1."""
        return max(self.high, 1 / self.low)

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def paired(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The ratio of two series of times that were taken in pairs; a t interval of the logarithms.

    Both must have the same length, at least 2.
    """
    logs = np.log(numerators) - np.log(denominators)
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    low, value, high = np.exp(logs.mean() + np.array([-half, 0.0, half])).tolist()
    return Ratio(value, low, high, len(logs))


def verdict(ratio: Ratio, limit: float, noise: Ratio) -> str:
    """``met``, ``exceeded``, or ``within noise``: above the limit, but not shown to be."""
    if ratio.value <= limit:
        return "met"
    return "exceeded" if ratio.low > limit * noise.away else "within noise"

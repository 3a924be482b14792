"""What a small sample tells of a mean: interval, difference from zero, equivalence to zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fwcompare.stats.pivot import Pivot, Student, resampled

#: From so many values on, the data themselves tell the shape of the distribution.
BOOTSTRAP_FROM = 10

#: Fewer values give no interval worth the name: with two, a 95 % one is 13 standard errors wide
#: and hangs on normality alone.
FEWEST = 3


@dataclass(frozen=True)
class Inference:
    """A mean with the distribution that its error follows.

    ``spread`` is the standard deviation of one value (of one pair, for paired samples). Without a
    ``pivot`` there are too few values, or they are all the same, and only the mean is known.
    """

    mean: float
    spread: float
    standard_error: float
    count: int
    method: str
    pivot: Pivot | None = None

    @property
    def constant(self) -> bool:
        """Whether there were values enough, but without any spread."""
        return self.pivot is None and self.count >= FEWEST

    def interval(self, confidence: float) -> tuple[float, float] | None:
        """The two-sided interval, equal in its tails; None without a pivot."""
        if self.pivot is None:
            return None
        tail = (1 - confidence) / 2
        return (
            self.mean - self.pivot.quantile(1 - tail) * self.standard_error,
            self.mean - self.pivot.quantile(tail) * self.standard_error,
        )

    def p_difference(self) -> float | None:
        """Two-sided p-value of "the true mean is zero"; None without a pivot."""
        if self.pivot is None:
            return None
        return min(2 * min(self.pivot.tails(self.mean / self.standard_error)), 1.0)

    def p_equivalence(self, margin: float) -> float | None:
        """P-value of "the true mean is at least ``margin`` away from zero".

        Two one-sided tests (Schuirmann 1987): the larger of both p-values. Below alpha exactly
        where the interval of confidence 1 - 2 alpha lies within the margins. None without a pivot.
        """
        if self.pivot is None:
            return None
        _, above = self.pivot.tails((self.mean + margin) / self.standard_error)
        below, _ = self.pivot.tails((self.mean - margin) / self.standard_error)
        return max(above, below)


def of_pairs(differences: Sequence[float]) -> Inference:
    """From the differences of pairs: Student's t, and bootstrap-t from ten pairs on.

    At least one difference; all finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    count, mean = len(values), float(values.mean())
    if count < FEWEST:
        spread = float(values.std(ddof=1)) if count > 1 else math.nan
        return Inference(mean, spread, spread / math.sqrt(count), count, "too few pairs")
    if _constant(values):
        return Inference(mean, 0.0, 0.0, count, "no spread")
    spread = float(values.std(ddof=1))
    error = spread / math.sqrt(count)
    bootstrap = resampled(values) if count >= BOOTSTRAP_FROM else None
    if bootstrap is not None:
        return Inference(mean, spread, error, count, "paired bootstrap-t", bootstrap)
    return Inference(mean, spread, error, count, "paired t", Student(count - 1))


def of_two_samples(own: Sequence[float], base: Sequence[float]) -> Inference:
    """From two independent samples: ``own`` less ``base`` by Welch's t.

    Each holds at least one value; all finite. ``count`` is the size of the smaller one, and
    ``spread`` that of the difference of one value from each.
    """
    a, b = np.asarray(own, dtype=np.float64), np.asarray(base, dtype=np.float64)
    mean, count = float(a.mean() - b.mean()), min(len(a), len(b))
    if count < FEWEST:
        return Inference(mean, math.nan, math.nan, count, "too few runs")
    if _constant(a) and _constant(b):
        return Inference(mean, 0.0, 0.0, count, "no spread")
    terms = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    # Welch and Satterthwaite's degrees of freedom.
    degrees = terms.sum() ** 2 / (terms**2 / [len(a) - 1, len(b) - 1]).sum()
    spread = math.sqrt(a.var(ddof=1) + b.var(ddof=1))
    error = math.sqrt(terms.sum())
    return Inference(mean, spread, error, count, "Welch t", Student(float(degrees)))


def _constant(values: np.ndarray) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * max(float(np.abs(values).max()), 1.0))

"""How many seeds a wanted precision needs, from a spread that was measured.

The measured spread is itself uncertain, and a plan made with one that came out too small fails more
often than not. So plans use its upper confidence limit (Browne 1995), which is much larger than the
estimate for three seeds and hardly so for thirty.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from fwcompare.stats.inference import FEWEST

#: Confidence that the true spread is not above the one planned with.
ASSURANCE = 0.8

#: Share of sweeps that are to find the planned difference.
POWER = 0.8

#: More seeds than anybody runs; a plan beyond is None.
MOST = 10_000


def upper_spread(spread: float, count: int, assurance: float = ASSURANCE) -> float:
    """Upper confidence limit of a standard deviation estimated from ``count`` normal values."""
    degrees = count - 1
    # chdtri takes the upper tail; the lower quantile of chi-square makes the upper limit.
    return spread * math.sqrt(degrees / float(special.chdtri(degrees, assurance)))


def seeds_for_precision(spread: float, half_width: float, confidence: float) -> int | None:
    """The least number of pairs whose t interval is at most ``half_width`` to either side.

    ``spread`` is the standard deviation of one pair on the same scale. None beyond ``MOST``.
    """
    counts = np.arange(FEWEST, MOST + 1)
    widths = special.stdtrit(counts - 1, (1 + confidence) / 2) * spread / np.sqrt(counts)
    enough = np.flatnonzero(widths <= half_width)
    return int(counts[enough[0]]) if len(enough) else None


def seeds_for_detection(
    spread: float,
    difference: float,
    alpha: float,
    power: float = POWER,
    floor_confidence: float | None = None,
) -> int | None:
    """The least number of pairs that finds a true ``difference`` with probability ``power``.

    Two-sided at ``alpha``, by the noncentral t distribution. With ``floor_confidence`` the
    difference must also exceed the noise floor of an A/A control, the far end of an interval of
    that confidence. None beyond ``MOST``.
    """
    if spread == 0:
        return FEWEST

    def chance(count: int) -> float:
        alone = detection_power(spread, difference, alpha, count)
        if floor_confidence is None:
            return alone
        over = _power_over_floor(spread, difference, alpha, floor_confidence, count)
        return min(alone, over)

    low, high = FEWEST, MOST
    if chance(high) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        if chance(middle) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def _power_over_floor(
    spread: float, difference: float, alpha: float, confidence: float, count: int
) -> float:
    """Chance that a mean exceeds its own limit and the noise floor of an A/A control.

    The mean of the arm and that of the control are normal with a correlation of 1/2, since both
    are held against the same runs of the baseline. The floor is integrated over what the control
    may show by Gauss-Hermite quadrature; the spread is taken as known.
    """
    error = spread / math.sqrt(count)
    own, floor = (
        error * float(special.stdtrit(count - 1, share))
        for share in (1 - alpha / 2, (1 + confidence) / 2)
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    shown = error * nodes
    limit = np.maximum(own, np.abs(shown) + floor)
    expected = abs(difference) + shown / 2
    chances = special.ndtr((expected - limit) / (error * math.sqrt(3 / 4)))
    return float(weights @ chances / weights.sum())


def detection_power(spread: float, difference: float, alpha: float, count: int) -> float:
    """Chance that a two-sided t test of ``count`` pairs finds a true ``difference`` as what it is.

    A claim of the opposite does not count as found.
    """
    degrees = count - 1
    shift = abs(difference) / spread * math.sqrt(count)
    if shift > 30:  # the distribution function loses its digits there, and nothing is left to miss
        return 1.0
    limit = float(special.stdtrit(degrees, 1 - alpha / 2))
    return 1.0 - float(special.nctdtr(degrees, shift, limit))

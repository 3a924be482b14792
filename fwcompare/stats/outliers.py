"""Values that stand out from their own sample. They are told, never dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Iglewicz and Hoaglin's limit for the modified z-score.
LIMIT = 3.5

#: With fewer values the median of the deviations says little: two that happen to be close would
#: make an outlier of the third.
FEWEST = 5


def modified_z(values: Sequence[float]) -> np.ndarray:
    """The modified z-score of each value, shape (n,): 0.6745 (x - median) / MAD.

    Where more than half of the values are equal, the median absolute deviation is zero, and the
    mean absolute deviation takes its place, with the factor 1 / 1.2533. All zeros where every value
    is the same. Source: Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993).
    """
    x = np.asarray(values, dtype=np.float64)
    away = x - np.median(x)
    scale = float(np.median(np.abs(away))) / 0.6745
    if scale == 0:
        scale = float(np.abs(away).mean()) * 1.253314
    return away / scale if scale else np.zeros_like(away)


def outliers(values: Sequence[float]) -> list[int]:
    """Positions of the values beyond the limit; none in a sample too small to tell."""
    if len(values) < FEWEST:
        return []
    return np.flatnonzero(np.abs(modified_z(values)) > LIMIT).tolist()

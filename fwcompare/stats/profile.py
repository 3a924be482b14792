"""Many workloads at once: performance profiles, which name no winner."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Factors of the best time at which a profile is read.
FACTORS = (1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class Profile:
    """For each arm, the share of workloads on which it is within a factor of the best."""

    factors: tuple[float, ...]
    shares: dict[str, tuple[float, ...]]
    workloads: int


def performance_profile(
    costs: Mapping[str, Mapping[str, float]], factors: Sequence[float] = FACTORS
) -> Profile:
    """The profile of Dolan and Moré (2002) from the cost of each arm on each workload.

    A cost that is missing or not finite is a failure, which is within no factor of the best. A
    workload on which every arm fails is left out: it has no best. An arm that leads at every factor
    is seldom; and who is left out changes the best and so the others' shares, which is why the
    profile ranks nobody.
    """
    best: dict[str, float] = {}
    for own in costs.values():
        for workload, cost in own.items():
            if math.isfinite(cost) and cost > 0:
                best[workload] = min(cost, best.get(workload, math.inf))
    shares = {}
    for label, own in costs.items():
        ratios = [own.get(workload, math.inf) / least for workload, least in best.items()]
        shares[label] = tuple(
            sum(ratio <= factor for ratio in ratios) / len(best) if best else 0.0
            for factor in factors
        )
    return Profile(tuple(factors), shares, len(best))

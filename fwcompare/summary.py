"""From raw samples to the metrics of the contract: pure functions, so they can be redone later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Block = tuple[int, int, float]


def steady(blocks: Sequence[Block], settled_ratio: float = 1.25) -> list[Block]:
    """The blocks after warm-up.

    Leading blocks are left out while their step time exceeds ``settled_ratio`` times the median of
    the later half, up to half of all blocks: caches, thread pools and compilation settle there.
    """
    if len(blocks) < 4:
        return list(blocks)
    half = len(blocks) // 2
    settled = float(np.median([seconds / steps for _, steps, seconds in blocks[half:]]))
    first = 0
    while first < half and blocks[first][2] / blocks[first][1] > settled_ratio * settled:
        first += 1
    return list(blocks[first:])


def step_seconds(blocks: Sequence[Block]) -> np.ndarray:
    """Seconds a step of each block, shape (blocks,)."""
    return np.array([seconds / steps for _, steps, seconds in blocks])


def step_metrics(blocks: Sequence[Block], batch_size: int) -> dict[str, float]:
    """Steady step time and throughput; empty where no step was timed."""
    times = step_seconds(steady(blocks))
    if not len(times):
        return {}
    median = float(np.median(times))
    return {
        "perf/step_ms_median": median * 1e3,
        "perf/step_ms_block_p95": float(np.percentile(times, 95)) * 1e3,
        "perf/samples_per_s": batch_size / median,
    }


def compile_seconds(
    first_step_s: float | None,
    blocks: Sequence[Block],
    calls: dict[int, list[float]],
) -> float:
    """Time that went into new shapes: the first step, and the first prediction of each batch size.

    From each first call the usual cost of such a call is taken away: the median of the later calls
    of the same shape or, where there is none, of all later calls.
    """
    total = 0.0
    if first_step_s is not None:
        times = step_seconds(steady(blocks))
        total += max(first_step_s - (float(np.median(times)) if len(times) else 0.0), 0.0)
    later = [seconds for series in calls.values() for seconds in series[1:]]
    for series in calls.values():
        usual = series[1:] or later
        total += max(series[0] - (float(np.median(usual)) if usual else 0.0), 0.0)
    return total

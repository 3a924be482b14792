"""From raw samples to the metrics of the contract: pure functions, so they can be redone later."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Block = tuple[int, int, float]


#: Blocks whose median must have come down to the settled level for warm-up to be over.
WINDOW = 5

#: Share above the settled level that still counts as settled, where blocks scatter less than that.
SETTLED = 0.05


def warmup_blocks(blocks: Sequence[Block]) -> int:
    """How many leading blocks belong to warm-up: caches, thread pools and compilation settle there.

    The later half is taken for settled, so at most the first half is warm-up. It ends at the first
    block which, by itself and by the median of the ``WINDOW`` blocks from it on, is no slower than
    the settled median by more than ``SETTLED`` or two standard deviations of the settled blocks
    (1.4826 times their median absolute deviation), whichever is more.
    """
    half = len(blocks) // 2
    if half < 2:
        return 0
    times = step_seconds(blocks)
    level = float(np.median(times[half:]))
    deviation = 1.4826 * float(np.median(np.abs(times[half:] - level)))
    bound = level + max(SETTLED * level, 2 * deviation)
    for first in range(half):
        if times[first] <= bound and np.median(times[first : first + WINDOW]) <= bound:
            return first
    return half


def steady(blocks: Sequence[Block]) -> list[Block]:
    """The blocks after warm-up; all of them where there are fewer than four."""
    return list(blocks[warmup_blocks(blocks) :])


def has_settled(blocks: Sequence[Block]) -> bool:
    """Whether warm-up ended before the half at which it is cut off; too few blocks do not tell."""
    return len(blocks) < 4 * WINDOW or warmup_blocks(blocks) < len(blocks) // 2


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
        "perf/step_ms_block_p5": float(np.percentile(times, 5)) * 1e3,
        "perf/step_ms_block_p95": float(np.percentile(times, 95)) * 1e3,
        "perf/warmup_steps": sum(steps for _, steps, _ in blocks[: warmup_blocks(blocks)]),
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

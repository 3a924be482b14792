"""In the worker: whether the probe is called when work is done, by the clock.

These checks are of times, so each takes the best of several epochs: a busy machine makes single
ones slow, and none of the defects looked for comes and goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from fwcompare.conformance.bench import Bench, Breach
from fwcompare.probe import Probe, clock
from fwcompare.record import EVENTS_FILE, EventFile

#: A step's median share of the mean; near zero where all steps are told of at once.
LEAST_EVENNESS = 0.2
#: Share of an epoch that may be left to do after the device was synchronised at the last step.
MOST_LEFT = 0.3
#: Share of an epoch that may pass outside its steps.
MOST_BETWEEN = 0.25


@dataclass
class Times:
    """Readings of one epoch in seconds; the device is synchronised before each."""

    began: float
    steps: list[float] = field(default_factory=list)
    ended: float = 0.0
    #: When the losses had been fetched.
    fetched: float = 0.0

    @property
    def gaps(self) -> np.ndarray:
        """Seconds of each step, shape (steps,)."""
        return np.diff([self.began, *self.steps])


class Stopwatch(Probe):
    """A probe that synchronises and reads the clock at every step."""

    def __init__(self, events: EventFile, bench: Bench, synchronize: Callable[[], None]) -> None:
        super().__init__(events, bench.job.feed.batch_sizes, block_seconds=1e9)
        self.times: list[Times] = []
        self._wait = synchronize

    def epoch_begin(self, epoch: int) -> None:
        super().epoch_begin(epoch)
        self._wait()
        self.times.append(Times(clock()))

    def step(self) -> None:
        self._wait()
        self.times[-1].steps.append(clock())
        super().step()

    def epoch_end(self, losses: Callable[[], np.ndarray]) -> None:
        times = self.times[-1]
        times.ended = clock()
        found = losses()
        times.fetched = clock()
        super().epoch_end(lambda: found)


def _timed(bench: Bench) -> list[Times]:
    """Every epoch but the first, in which things are compiled."""
    trainer = bench.trainer()
    events = EventFile(bench.folder / EVENTS_FILE)
    watch = Stopwatch(events, bench, trainer.synchronize)
    watch.synchronize_with(trainer.synchronize)
    try:
        trainer.fit(bench.job.feed, watch)
    finally:
        events.close()
    return watch.times[1:]


def steps_as_they_are_done(bench: Bench) -> None:
    """``step`` is called after each step, not for all of them at the end."""
    evenness = max(float(np.median(t.gaps) / np.mean(t.gaps)) for t in _timed(bench))
    if evenness < LEAST_EVENNESS:
        raise Breach(
            f"half of the steps took less than {evenness:.2g} of the mean: "
            "the probe is not told of each step when it is done."
        )


def synchronize_waits(bench: Bench) -> None:
    """When ``synchronize`` has returned, the losses need not wait for the steps."""
    left = min((t.fetched - t.ended) / (t.fetched - t.began) for t in _timed(bench))
    if left > MOST_LEFT:
        raise Breach(
            f"{left:.0%} of an epoch was waited for after synchronize() had returned: "
            "it does not wait for the device."
        )


def nothing_between(bench: Bench) -> None:
    """Nothing is evaluated between the last step of an epoch and the first of the next."""
    times = _timed(bench)
    shares = [
        ((now.ended - now.steps[-1]) + (then.began - now.fetched)) / (now.ended - now.began)
        for now, then in pairwise(times)
    ]
    if min(shares) > MOST_BETWEEN:
        raise Breach(
            f"{min(shares):.0%} of an epoch's time passed between its last step and the next "
            "epoch: something is evaluated there, which is the probe's to do."
        )

"""In the worker: an engine on the bench, and a probe that writes down how it is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.data.batches import Feed
from fwcompare.plugin import Job, Trainer
from fwcompare.probe import Probe, ProbeMisuse
from fwcompare.record import EVENTS_FILE, EventFile

Evaluate = Callable[[], dict[str, float]]

#: Relative difference (L2) that one engine may show against itself in float64: the same operations
#: on the same numbers, compiled twice.
SAME = 1e-12


class Breach(Exception):
    """The engine does not keep the contract; the message is one sentence that says where."""


class Watch(Probe):
    """A probe that keeps every call and what it was given."""

    def __init__(self, events: EventFile, feed: Feed, evaluate: Evaluate | None = None) -> None:
        super().__init__(events, feed.batch_sizes, block_seconds=1.0, evaluate=evaluate)
        #: Name of each call with the number of its epoch, in order.
        self.calls: list[tuple[str, int]] = []
        #: What ``losses`` gave at the end of each epoch, as it was given.
        self.losses: list[np.ndarray] = []
        self._at = 0

    def epoch_begin(self, epoch: int) -> None:
        self._at = epoch
        self.calls.append(("epoch_begin", epoch))
        super().epoch_begin(epoch)

    def step(self) -> None:
        self.calls.append(("step", self._at))
        super().step()

    def epoch_end(self, losses: Callable[[], np.ndarray]) -> None:
        self.calls.append(("epoch_end", self._at))
        if not callable(losses):
            raise Breach(
                f"epoch_end was given {type(losses).__name__}, not a callable: the losses were "
                "fetched while the clock ran."
            )

        def kept() -> np.ndarray:
            found = np.asarray(losses())
            self.losses.append(found)
            return found

        super().epoch_end(kept)


@dataclass(frozen=True)
class Bench:
    """One engine, and the experiment that it is tried on."""

    build: Callable[[Job], Trainer]
    job: Job
    #: Inputs of the test split, shape (n, *sample).
    held_out: np.ndarray
    #: The run folder.
    folder: Path

    def but(self, **changes: Any) -> Bench:
        """The same engine on a job with some fields changed."""
        return replace(self, job=replace(self.job, **changes))

    def trainer(self) -> Trainer:
        """A new trainer of the job."""
        return self.build(self.job)

    def fit(
        self, trainer: Trainer, feed: Feed | None = None, evaluate: Evaluate | None = None
    ) -> Watch:
        """Train over the job's feed or a part of it, watched.

        Raises:
            Breach: the probe was called out of turn.
        """
        feed = feed or self.job.feed
        events = EventFile(self.folder / EVENTS_FILE)
        watch = Watch(events, feed, evaluate)
        watch.synchronize_with(trainer.synchronize)
        try:
            trainer.fit(feed, watch)
        except ProbeMisuse as error:
            raise Breach(f"fit called the probe out of turn: {error}.") from error
        finally:
            events.close()
        return watch


def state(trainer: Trainer) -> dict[str, np.ndarray]:
    """Weights, statistics and optimizer slots by name, copied."""
    found = {name: np.array(array) for name, array in trainer.weights().items()}
    for slot, tensors in trainer.slots().items():
        found |= {f"{name}.{slot}": np.array(array) for name, array in tensors.items()}
    return found


def require_same(
    expected: dict[str, np.ndarray],
    found: dict[str, np.ndarray],
    what: str,
    tolerance: float = SAME,
) -> None:
    """Raise ``Breach`` with ``what`` and the tensor that differs most, if any differs."""
    if set(expected) != set(found):
        names = ", ".join(sorted(set(expected) ^ set(found)))
        raise Breach(f"{what}: {names} in one of the two alone.")
    worst, where = tolerance, ""
    for name, array in expected.items():
        difference = relative_difference(array, found[name])
        if not difference <= worst:
            worst, where = difference, name
    if where:
        raise Breach(f"{what}: '{where}' differs by {worst:.2g} (relative).")


def relative_difference(expected: np.ndarray, found: np.ndarray) -> float:
    """``|found - expected| / |expected|`` in the L2 norm; infinite for NaN or another shape."""
    if expected.shape != found.shape:
        return float("inf")
    difference = float(np.linalg.norm(np.ravel(found - expected)))
    if difference == 0:
        return 0.0
    relative = difference / max(float(np.linalg.norm(np.ravel(expected))), np.finfo(float).tiny)
    return relative if relative == relative else float("inf")

"""In the worker: a trainer that goes on from another's state ends where that one would have."""

from __future__ import annotations

import numpy as np

from fwcompare.checkpoint import RANDOM
from fwcompare.conformance.bench import Bench, Breach, require_same, state


def state_is_given_back(bench: Bench) -> None:
    """``state`` and ``restore`` carry all but random numbers from one process to another."""
    _go_on(bench, _kept(bench))


def random_state_is_given_back(bench: Bench) -> None:
    """The same of a model with dropout, where the engine says that it tells of its random state."""
    kept = _kept(bench)
    if any(name.startswith(RANDOM) for name in kept):
        _go_on(bench, kept)


def _kept(bench: Bench) -> dict[str, np.ndarray]:
    """The state after one epoch, while that trainer goes on.

    Raises:
        Breach: it is none of plain arrays, or not a copy.
    """
    trainer, feed = bench.trainer(), bench.job.feed
    bench.fit(trainer, feed.part(0, feed.steps_per_epoch))
    kept = trainer.state()
    for name, array in kept.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            raise Breach(f"state(): '{name}' is {type(array).__name__}, not an array of numbers.")
    before = {name: array.copy() for name, array in kept.items()}
    bench.fit(trainer, feed.part(feed.steps_per_epoch, feed.total_steps))
    require_same(before, kept, "what state() gave, before and after more training", 0.0)
    return kept


def _go_on(bench: Bench, kept: dict[str, np.ndarray]) -> None:
    """Train the rest in a new trainer. Raises ``Breach`` if one bit differs from the whole."""
    feed = bench.job.feed
    whole = bench.trainer()
    bench.fit(whole)
    again = bench.trainer()
    again.restore(kept)
    bench.fit(again, feed.part(feed.steps_per_epoch, feed.total_steps))
    require_same(state(whole), state(again), "training that went on against training in one", 0.0)

"""Callbacks that tell the probe of epochs and steps from within ``model.fit``.

A callback with ``on_train_batch_end`` changes what it measures: Keras then converts the logs of
every step on the host, and so waits for each of them. ``on_train_batch_begin`` is called when the
step before has returned, and leaves Keras's loop as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np

from fwcompare.data.batches import Feed
from fwcompare.probe import Probe

Logs = dict[str, Any] | None


class ProbeCallback(keras.callbacks.Callback):
    """Reports each epoch's mean loss, which Keras keeps running: one number an epoch."""

    def __init__(self, model: Any, feed: Feed, probe: Probe, sizes: set[int]) -> None:
        """``sizes`` takes up the sizes of batches, each by the end of the epoch that has it."""
        super().__init__()
        # On JAX, Callback.model copies the whole state back at every access.
        self._trained = model
        self._feed = feed
        self._probe = probe
        self._sizes = sizes
        self._stop_at: int | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        number = epoch + 1
        steps = self._feed.steps(number)
        # The first epoch's steps are those that Keras was told of.
        expected = self._feed.steps(self._feed.epochs[0])
        self._stop_at = steps - 1 if steps < expected else None
        self._feed.order(number)  # drawn and cached before the clock starts
        self._sizes.add(self._feed.batch_sizes(number)[0])
        self._probe.epoch_begin(number)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        if batch:
            self._probe.step()
        if batch == self._stop_at:
            self._trained.stop_training = True  # behind this step

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._sizes.update(self._feed.batch_sizes(epoch + 1))
        self._probe.step()
        self._probe.epoch_end(partial(self.losses, logs or {}))

    def losses(self, logs: dict[str, Any]) -> np.ndarray:
        """The epoch's losses: here their sample-weighted mean alone."""
        return np.array([logs["loss"]])


class StepLossCallback(ProbeCallback):
    """Reports the loss of every step, by starting the running mean anew; for proofs only."""

    def __init__(self, model: Any, feed: Feed, probe: Probe, sizes: set[int]) -> None:
        super().__init__(model, feed, probe, sizes)
        self._losses: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._losses = []
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._losses.append((logs or {})["loss"])

    def losses(self, logs: dict[str, Any]) -> np.ndarray:
        return np.array(self._losses)

"""The ``Callback`` that tells the probe where Lightning's loop is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch import Tensor

from fwcompare.data.batches import Feed
from fwcompare.probe import Probe


class ProbeCallback(pl.Callback):
    """Tells of each epoch and each step, and keeps the losses on the device until it ends."""

    def __init__(
        self, feed: Feed, probe: Probe, fetch: Callable[[Sequence[Tensor]], np.ndarray]
    ) -> None:
        self.feed, self.probe, self.fetch = feed, probe, fetch
        self.losses: list[Tensor] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.train()  # the evaluation that ended the last epoch was not in Lightning's hands
        self.losses = []
        self.probe.epoch_begin(self.feed.epochs[trainer.current_epoch])

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(outputs, Mapping)
        self.losses.append(outputs["loss"])
        self.probe.step()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.probe.epoch_end(partial(self.fetch, self.losses))

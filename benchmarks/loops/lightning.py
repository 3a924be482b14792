"""Lightning: a plain ``LightningModule`` in ``Trainer.fit``."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from loops import Problem
from loops.pytorch import mean_loss, tensors
from loops.torch_batches import BatchIds
from loops.torch_models import network


class Module(pl.LightningModule):
    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.model = network(problem)
        # Made once, so that a second fit goes on from the optimizer's state.
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=problem.learning_rate, fused=True
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        inputs, labels = batch
        return mean_loss(self.model(inputs), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


class Losses(pl.Callback):
    """Keeps the loss of each step and looks at their mean once an epoch."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(outputs["loss"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        torch.stack(self.losses).mean().item()
        self.losses = []


class LightningLoop:
    def __init__(self, problem: Problem) -> None:
        self.module = Module(problem)
        # Without a batch size, what the sampler gives indexes the tensors, and nothing is collated.
        self.loader = DataLoader(
            TensorDataset(*tensors(problem)), sampler=BatchIds(problem), batch_size=None
        )

    def fit(self) -> None:
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[Losses()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(self.module, self.loader)


def make(problem: Problem) -> LightningLoop:
    return LightningLoop(problem)

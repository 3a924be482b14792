"""The ``LightningModule``: what a step computes; when it does so is Lightning's business."""

from __future__ import annotations

import pytorch_lightning as pl
from torch import Tensor, nn, optim

from fwcompare_pytorch.optimizers import Update


class GraphLightningModule(pl.LightningModule):
    """The objective of the PyTorch plugin as a training step, and its optimizer."""

    def __init__(self, objective: nn.Module, update: Update) -> None:
        super().__init__()
        self.objective = objective
        self.update = update

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The mean loss of a batch."""
        loss: Tensor = self.objective(*batch)
        return loss

    def configure_optimizers(self) -> optim.Optimizer:
        """The one optimizer of the run, so that another fit goes on from its state."""
        return self.update.optimizer

    def on_before_optimizer_step(self, optimizer: optim.Optimizer) -> None:
        """Do what the PyTorch plugin does between the gradients and the step."""
        for act in self.update.outside:
            act()

"""Keras on PyTorch: ``model.fit`` over a ``DataLoader`` of whole batches."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset

from loops import Problem
from loops.keras_models import compiled
from loops.torch_batches import BatchIds


class KerasTorchLoop:
    def __init__(self, problem: Problem) -> None:
        self.model = compiled(problem)
        data = TensorDataset(torch.from_numpy(problem.inputs), torch.from_numpy(problem.labels))
        # Without a batch size, what the sampler gives indexes the tensors, and nothing is collated.
        self.loader = DataLoader(data, sampler=BatchIds(problem), batch_size=None)

    def fit(self) -> None:
        self.model.fit(self.loader, shuffle=False, verbose=0)


def make(problem: Problem) -> KerasTorchLoop:
    return KerasTorchLoop(problem)

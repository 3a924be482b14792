"""PyTorch: the loop of its tutorials, over tensors in memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from loops import Problem
from loops.torch_models import network


def tensors(problem: Problem) -> tuple[Tensor, Tensor]:
    """Samples, images channels first in the ``channels_last`` format, and labels."""
    inputs = torch.from_numpy(problem.inputs)
    if problem.tokens is None:
        inputs = inputs.permute(0, 3, 1, 2)
    return inputs, torch.from_numpy(problem.labels).long()


def mean_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, the mean over all labels."""
    return functional.cross_entropy(logits.flatten(0, -2), labels.flatten())


class PyTorchLoop:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.inputs, self.labels = tensors(problem)
        self.model = network(problem)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=problem.learning_rate, fused=True
        )

    def fit(self) -> None:
        used = self.problem.steps * self.problem.batch_size
        self.model.train()
        losses = []
        order = torch.randperm(len(self.inputs))[:used]
        for ids in order.split(self.problem.batch_size):
            inputs, labels = self.inputs.index_select(0, ids), self.labels.index_select(0, ids)
            self.optimizer.zero_grad()
            loss = mean_loss(self.model(inputs), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()


def make(problem: Problem) -> PyTorchLoop:
    return PyTorchLoop(problem)

"""PyTorch: the loop of its tutorials, over tensors in memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loops import Problem


class FlattenChannelsLast(nn.Module):
    """In the order of the memory; ``nn.Flatten`` would copy what is in ``channels_last`` format."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def network(problem: Problem) -> nn.Module:
    """The model as ``nn.Sequential``; images come as (n, channels, height, width)."""
    _, height, width, channels = problem.images.shape
    if problem.model == "mlp":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(height * width * channels, 256),
            nn.ReLU(),
            nn.Linear(256, 256),
            nn.ReLU(),
            nn.Linear(256, problem.classes),
        )
    norm = problem.model == "cnn_bn"
    return nn.Sequential(
        *_convolution(channels, 32, norm),
        *_convolution(32, 64, norm),
        nn.MaxPool2d(2),
        FlattenChannelsLast(),
        nn.Linear(64 * (height // 2) * (width // 2), 128),
        nn.ReLU(),
        nn.Linear(128, problem.classes),
    ).to(memory_format=torch.channels_last)


def _convolution(channels: int, filters: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=not norm)
    between = [nn.BatchNorm2d(filters)] if norm else []
    return [convolution, *between, nn.ReLU()]


def tensors(problem: Problem) -> tuple[Tensor, Tensor]:
    """Images, channels first in the ``channels_last`` format, and labels."""
    images = torch.from_numpy(problem.images).permute(0, 3, 1, 2)
    return images, torch.from_numpy(problem.labels).long()


class PyTorchLoop:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.images, self.labels = tensors(problem)
        self.model = network(problem)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=problem.learning_rate, fused=True
        )

    def fit(self) -> None:
        used = self.problem.steps * self.problem.batch_size
        self.model.train()
        losses = []
        order = torch.randperm(len(self.images))[:used]
        for ids in order.split(self.problem.batch_size):
            images, labels = self.images.index_select(0, ids), self.labels.index_select(0, ids)
            self.optimizer.zero_grad()
            loss = self.loss(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()


def make(problem: Problem) -> PyTorchLoop:
    return PyTorchLoop(problem)

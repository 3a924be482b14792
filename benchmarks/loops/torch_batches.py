"""Ids of whole batches, for PyTorch's ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from loops import Problem


class BatchIds(Sampler[Tensor]):
    """The batches of an epoch, in a new order each time."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def __iter__(self) -> Iterator[Tensor]:
        used = self.problem.steps * self.problem.batch_size
        order = torch.randperm(len(self.problem.inputs))[:used]
        yield from order.split(self.problem.batch_size)

    def __len__(self) -> int:
        return self.problem.steps

"""Vectors of positions, added to a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class PositionEmbedding(nn.Module):
    """Adds a learned vector to each step; the table is called ``weight``, as in ``nn.Embedding``.

    It is drawn as in there too. Every position is used each time, so nothing is looked up.
    """

    def __init__(self, steps: int, features: int, **factory: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(steps, features, **factory))
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class FixedPosition(nn.Module):
    """Adds a table (steps, features) that is not learned."""

    table: Tensor

    def __init__(self, table: np.ndarray, **factory: Any) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor(table, **factory), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table

"""Where canonical tensors live in native modules, and how they are laid out there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from fwcompare.graph import Parameter

#: Native attributes of canonical tensors.
ATTRIBUTES = {
    "kernel": "weight",
    "gamma": "weight",
    "embeddings": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

#: Canonical axes of a kernel in the order in which PyTorch keeps them, by the number of axes:
#: dense (in, out) as (out, in), convolution (kh, kw, in, out) as (out, in, kh, kw), a transposed
#: one (kh, kw, out, in) as (in, out, kh, kw).
KERNEL_AXES = {2: (1, 0), 3: (2, 1, 0), 4: (3, 2, 0, 1)}


@dataclass(frozen=True)
class Place:
    """Where a canonical tensor lives. Looked up at each use: moving a module replaces buffers."""

    module: nn.Module
    attribute: str
    parameter: Parameter
    #: Canonical axes in native order; joined where the native tensor has fewer.
    axes: tuple[int, ...]
    #: Where it begins in the native tensor; the rows before hold nothing of the contract.
    first_row: int = 0

    @property
    def tensor(self) -> Tensor:
        """The native tensor, whole."""
        found: Tensor = getattr(self.module, self.attribute)
        return found

    def fill(self, array: np.ndarray) -> None:
        """Copy a canonical array in."""
        given = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        with torch.no_grad():
            own = self.tensor[self.first_row :]
            images = own.dim() == 4 and own.is_contiguous(memory_format=torch.channels_last)
            asked = given.permute(self.axes)
            if images and self.axes == KERNEL_AXES[4] and own.shape == asked.shape:
                # In memory both are matrices, one the transpose of the other, and PyTorch copies a
                # transposed matrix in blocks: three times as fast as by four axes.
                own.permute(0, 2, 3, 1).view(len(own), -1).copy_(given.flatten(0, 2).t())
            else:
                own.copy_(asked.reshape(own.shape))

    def canonical(self, tensor: Tensor) -> np.ndarray:
        """A copy of a tensor laid out as the native one (a weight, its gradient, a slot)."""
        apart = tensor.detach()[self.first_row :]
        apart = apart.reshape([self.parameter.shape[axis] for axis in self.axes])
        return np.array(apart.permute(tuple(np.argsort(self.axes))).cpu().numpy(), order="C")


@runtime_checkable
class Places(Protocol):
    """A module of several native ones, which knows where its tensors are."""

    def place(self, parameter: Parameter) -> Place:
        """Where a canonical tensor of this layer lives."""


def place_of(module: nn.Module, parameter: Parameter) -> Place:
    """Where a canonical tensor of a module lives: as PyTorch names and lays out its own."""
    if isinstance(module, Places):
        return module.place(parameter)
    axes: tuple[int, ...] = tuple(range(len(parameter.shape)))
    if parameter.name == "kernel":
        axes = KERNEL_AXES[len(axes)]
    return Place(module, ATTRIBUTES[parameter.name], parameter, axes)

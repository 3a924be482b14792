"""Convolution and pooling, whose ``same`` padding PyTorch knows only with equal sides.

The contract pads as TensorFlow's SAME does: an odd cell goes after. Where the sides are equal the
native argument is used, so that nothing is paid for what does not differ.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from fwcompare.graph import Layer
from fwcompare.graph.kinds import AvgPool2d, Conv2d, MaxPool2d, Shape, same_padding

#: Cells of padding (before, after) of height and of width.
Sides = tuple[tuple[int, int], tuple[int, int]]


def sides(shape: Shape, window: Shape, stride: Shape, padding: str) -> Sides:
    """The exact padding of an image of ``shape`` (height, width, channels)."""
    if padding == "valid":
        return (0, 0), (0, 0)
    rows, columns = (same_padding(*axis) for axis in zip(shape[:2], window, stride, strict=True))
    return rows, columns


def customary_padding(layer: Layer, window: Shape, stride: Shape) -> tuple[int, int] | None:
    """``padding=k//2``, as PyTorch's users write ``same``; None where it gives another shape."""
    amounts = (window[0] // 2, window[1] // 2)
    spatial = tuple(
        (size + 2 * amount - cells) // step + 1
        for size, amount, cells, step in zip(
            layer.input_shapes[0][:2], amounts, window, stride, strict=True
        )
    )
    return amounts if spatial == layer.shape[:2] else None


class PaddedConv2d(nn.Conv2d):
    """A convolution that first pads each side by a number of its own."""

    def __init__(self, *arguments: Any, sides: Sides, **options: Any) -> None:
        super().__init__(*arguments, **options)
        (top, bottom), (left, right) = sides
        self.sides = [left, right, top, bottom]  # the order of functional.pad: last axis first

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, self.sides))


def conv2d(layer: Layer, kind: Conv2d, aligned: bool, **factory: Any) -> nn.Conv2d:
    """A convolution with exact padding or, in native semantics, ``padding=k//2`` if it fits."""
    channels = layer.input_shapes[0][2]
    options = {"stride": kind.stride, "groups": kind.groups, "bias": kind.bias, **factory}
    exact = sides(layer.input_shapes[0], kind.kernel_size, kind.stride, kind.padding)
    plain: tuple[int, int] | None = None
    if all(before == after for before, after in exact):
        plain = (exact[0][0], exact[1][0])
    if kind.padding == "same" and not aligned:
        plain = customary_padding(layer, kind.kernel_size, kind.stride) or plain
    if plain is None:
        return PaddedConv2d(channels, kind.filters, kind.kernel_size, sides=exact, **options)
    return nn.Conv2d(channels, kind.filters, kind.kernel_size, padding=plain, **options)


class Trim(nn.Module):
    """Leaves out the first rows and columns."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.rows :, self.columns :]


def pool2d(layer: Layer, kind: MaxPool2d | AvgPool2d, aligned: bool) -> nn.Module:
    """Pooling in which padding never counts: minus infinity for the maximum, left out of the mean.

    Padding with unequal sides needs no copy of the input. With a stride of 2 or more, padding both
    sides by the smaller number and ``ceil_mode`` makes the last window reach over the edge by the
    odd cell. With stride 1, padding both sides by the larger number makes one output too many, the
    first, which is left out.
    """
    if kind.padding == "same" and not aligned:
        customary = customary_padding(layer, kind.pool_size, kind.stride)
        if customary:
            native = nn.MaxPool2d if isinstance(kind, MaxPool2d) else nn.AvgPool2d
            return native(kind.pool_size, kind.stride, customary)
    exact = sides(layer.input_shapes[0], kind.pool_size, kind.stride, kind.padding)
    surplus = [
        int(before != after and stride == 1)
        for (before, after), stride in zip(exact, kind.stride, strict=True)
    ]
    padding = (exact[0][surplus[0]], exact[1][surplus[1]])
    window = (kind.pool_size, kind.stride, padding)
    ceil = kind.padding == "same"
    pool: nn.Module
    if isinstance(kind, MaxPool2d):
        pool = nn.MaxPool2d(*window, ceil_mode=ceil)
    else:
        pool = nn.AvgPool2d(*window, ceil_mode=ceil, count_include_pad=False)
    return nn.Sequential(pool, Trim(*surplus)) if any(surplus) else pool

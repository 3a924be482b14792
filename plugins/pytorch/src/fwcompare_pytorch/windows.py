"""Convolution and pooling, whose ``same`` padding PyTorch knows only with equal sides.

The contract pads as TensorFlow's SAME does: an odd cell goes after. Where the sides are equal the
native argument is used, so that nothing is paid for what does not differ.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from fwcompare.graph import Layer, Parameter
from fwcompare.graph import convolutions as kinds
from fwcompare.graph.convolutions import Conv2dTranspose, Convolution
from fwcompare.graph.pooling import Pooling
from fwcompare.graph.windows import padding_sides
from fwcompare_pytorch.places import ATTRIBUTES, Place

#: Cells of padding (before, after) of each axis, in the order of the axes.
Sides = tuple[tuple[int, int], ...]


def sides(layer: Layer, window: tuple[int, ...]) -> Sides:
    """The exact padding of a layer's input; ``window`` is the extent where it is dilated."""
    kind: Any = layer.kind
    return padding_sides(kind.padding, layer.input_shapes[0][:-1], window, kind.stride)


def customary_padding(
    layer: Layer, size: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...] | None:
    """``padding=k//2``, as PyTorch's users write ``same``; None where it gives another shape."""
    kind: Any = layer.kind
    amounts = tuple(step * (cells // 2) for cells, step in zip(size, dilation, strict=True))
    spatial = tuple(
        (length + 2 * amount - step * (cells - 1) - 1) // stride + 1
        for length, amount, cells, step, stride in zip(
            layer.input_shapes[0][:-1], amounts, size, dilation, kind.stride, strict=True
        )
    )
    return amounts if spatial == layer.shape[:-1] else None


class _Padded(nn.Module):
    """A convolution that first pads each side by a number of its own."""

    def __init__(self, *arguments: Any, sides: Sides, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sides = sides
        # The order of functional.pad: last axis first.
        self.amounts = [amount for axis in reversed(sides) for amount in axis]

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = super().forward(functional.pad(x, self.amounts))
        return convolved


class PaddedConv1d(_Padded, nn.Conv1d):
    """A convolution over steps with a padding of its own for each side."""


class PaddedConv2d(_Padded, nn.Conv2d):
    """A convolution over images with a padding of its own for each side."""


class DepthwiseConv2d(nn.Conv2d):
    """A convolution with as many groups as channels; its kernel is (C * m, 1, kh, kw)."""

    def place(self, parameter: Parameter) -> Place:
        """Where a canonical tensor lives: the kernel is (kh, kw, C, m) there."""
        axes = (2, 3, 0, 1) if parameter.name == "kernel" else (0,)
        return Place(self, ATTRIBUTES[parameter.name], parameter, axes)


class PaddedDepthwiseConv2d(_Padded, DepthwiseConv2d):
    """A depthwise convolution with a padding of its own for each side."""


#: By layer kind, the native convolution and the one that pads first.
_CONVOLUTIONS: dict[str, tuple[Any, Any]] = {
    "conv1d": (nn.Conv1d, PaddedConv1d),
    "conv2d": (nn.Conv2d, PaddedConv2d),
    "depthwise_conv2d": (DepthwiseConv2d, PaddedDepthwiseConv2d),
}


def convolution(
    layer: Layer, kind: Convolution | kinds.DepthwiseConv2d, aligned: bool, **factory: Any
) -> nn.Conv1d | nn.Conv2d:
    """A convolution with exact padding or, in native semantics, ``padding=k//2`` if it fits."""
    channels = layer.input_shapes[0][-1]
    groups = kind.groups if isinstance(kind, Convolution) else channels
    options = {"stride": kind.stride, "dilation": kind.dilation, "groups": groups,
               "bias": kind.bias, **factory}  # fmt: skip
    exact = sides(layer, kind.extent)
    plain: tuple[int, ...] | None = None
    if all(before == after for before, after in exact):
        plain = tuple(before for before, _ in exact)
    if kind.padding == "same" and not aligned:
        plain = customary_padding(layer, kind.kernel_size, kind.dilation) or plain
    arguments = channels, layer.shape[-1], kind.kernel_size
    native, padded = _CONVOLUTIONS[kind.kind]
    made: nn.Conv1d | nn.Conv2d
    if plain is None:
        made = padded(*arguments, sides=exact, **options)
    else:
        made = native(*arguments, padding=plain, **options)
    return made


class CutConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution whose last rows and columns are cut off."""

    def __init__(self, *arguments: Any, after: tuple[int, ...], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.after = after

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        whole = super().forward(x, output_size)
        rows, columns = self.after
        return whole[:, :, : whole.shape[2] - rows, : whole.shape[3] - columns]


def conv2d_transpose(
    layer: Layer, kind: Conv2dTranspose, aligned: bool, **factory: Any
) -> nn.ConvTranspose2d:
    """A transposed convolution that cuts the odd cell off after.

    PyTorch's ``padding`` cuts both sides alike, and ``output_padding`` gives back cells at the end
    alone: its users cut the odd cell off before.
    """
    arguments = layer.input_shapes[0][-1], kind.filters, kind.kernel_size
    # Where the stride is larger than the kernel, no kernel reaches the last cells.
    beyond = tuple(max(s - k, 0) for k, s in zip(kind.kernel_size, kind.stride, strict=True))
    options = {"stride": kind.stride, "bias": kind.bias, **factory}
    if kind.padding == "valid":
        return nn.ConvTranspose2d(*arguments, output_padding=beyond, **options)
    odd = tuple(surplus % 2 for surplus in kind.surplus)
    if any(odd) and not aligned:
        cut = tuple((surplus + 1) // 2 for surplus in kind.surplus)
        back = tuple(more + cells for more, cells in zip(beyond, odd, strict=True))
        if all(b < s for b, s in zip(back, kind.stride, strict=True)):
            return nn.ConvTranspose2d(*arguments, padding=cut, output_padding=back, **options)
    cut = tuple(surplus // 2 for surplus in kind.surplus)
    options |= {"padding": cut, "output_padding": beyond}
    if any(odd):
        return CutConvTranspose2d(*arguments, after=odd, **options)
    return nn.ConvTranspose2d(*arguments, **options)


class Trim(nn.Module):
    """Leaves out the first cells of each axis."""

    def __init__(self, before: tuple[int, ...]) -> None:
        super().__init__()
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        return x[(slice(None), slice(None), *(slice(cells, None) for cells in self.before))]


def pooling(layer: Layer, kind: Pooling, aligned: bool) -> nn.Module:
    """Pooling in which padding never counts: minus infinity for the maximum, left out of the mean.

    Padding with unequal sides needs no copy of the input. With a stride of 2 or more, padding both
    sides by the smaller number and ``ceil_mode`` makes the last window reach over the edge by the
    odd cell. With stride 1, padding both sides by the larger number makes one output too many, the
    first, which is left out.
    """
    maximum = kind.kind.startswith("max")
    if maximum:
        native: Any = [nn.MaxPool1d, nn.MaxPool2d][kind.rank - 1]
    else:
        native = [nn.AvgPool1d, nn.AvgPool2d][kind.rank - 1]
    if kind.padding == "same" and not aligned:
        customary = customary_padding(layer, kind.pool_size, (1,) * kind.rank)
        if customary:
            return native(kind.pool_size, kind.stride, customary)
    exact = sides(layer, kind.pool_size)
    surplus = tuple(
        int(before != after and stride == 1)
        for (before, after), stride in zip(exact, kind.stride, strict=True)
    )
    padding = tuple(side[more] for side, more in zip(exact, surplus, strict=True))
    counting = {} if maximum else {"count_include_pad": False}
    pool = native(kind.pool_size, kind.stride, padding, ceil_mode=kind.padding == "same",
                  **counting)  # fmt: skip
    return nn.Sequential(pool, Trim(surplus)) if any(surplus) else pool

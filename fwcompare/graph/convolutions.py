"""Convolutions over sequences and images, and their transposes. Kernels end in (inputs, outputs),
those of transposed convolutions in (outputs, inputs)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fwcompare.graph.kinds import Misfit, Parameter, Shape, positive, register
from fwcompare.graph.windows import Windowed, extent, spatial, window_outputs


def _tensors(kernel: Parameter, outputs: int, bias: bool) -> tuple[Parameter, ...]:
    return (kernel, Parameter("bias", (outputs,), "bias"))[: 1 + bias]


@dataclass(frozen=True)
class Convolution(Windowed):
    """Base of ``conv1d`` and ``conv2d``: a cross-correlation, channels last."""

    filters: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: str = "same"
    dilation: tuple[int, ...] = ()
    groups: int = 1
    bias: bool = True

    def check(self) -> None:
        positive(self.filters, "filters")
        positive(self.groups, "groups")
        self.check_window(self.padding, *self.kernel_size, *self.stride, *self.dilation)

    @property
    def extent(self) -> tuple[int, ...]:
        """Cells that a window spans on each axis."""
        return extent(self.kernel_size, self.dilation)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs = window_outputs(inputs[0], self.extent, self.stride, self.padding)
        channels = inputs[0][-1]
        if channels % self.groups or self.filters % self.groups:
            raise Misfit(
                f"groups={self.groups} must divide both input channels {channels} "
                f"and filters {self.filters}"
            )
        return (*outputs, self.filters)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        per_group = inputs[0][-1] // self.groups
        area = math.prod(self.kernel_size)
        kernel = Parameter(
            "kernel",
            (*self.kernel_size, per_group, self.filters),
            "kernel",
            area * per_group,
            area * self.filters // self.groups,
        )
        return _tensors(kernel, self.filters, self.bias)

    def flops(self, *inputs: Shape) -> int:
        outputs = math.prod(self.output_shape(*inputs))
        fan_in = math.prod(self.kernel_size) * inputs[0][-1] // self.groups
        return outputs * (2 * fan_in + self.bias)


@register
@dataclass(frozen=True)
class Conv2d(Convolution):
    """A 2-D cross-correlation, channels last, kernel (kh, kw, in/groups, out)."""

    kind = "conv2d"
    rank = 2
    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)


@register
@dataclass(frozen=True)
class Conv1d(Convolution):
    """A 1-D cross-correlation over the steps of a sequence, kernel (k, in/groups, out).

    ``causal`` padding stands before the first step alone, so that no output sees a later step.
    """

    kind = "conv1d"
    rank = 1
    paddings = ("same", "valid", "causal")
    kernel_size: tuple[int]
    stride: tuple[int] = (1,)
    dilation: tuple[int] = (1,)


@register
@dataclass(frozen=True)
class DepthwiseConv2d(Windowed):
    """Each channel filtered by itself, ``multiplier`` times; kernel (kh, kw, C, m).

    Output channel ``c * m + q`` is channel ``c`` under its filter ``q``.
    """

    kind = "depthwise_conv2d"
    rank = 2
    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: str = "same"
    dilation: tuple[int, int] = (1, 1)
    multiplier: int = 1
    bias: bool = True

    def check(self) -> None:
        positive(self.multiplier, "multiplier")
        self.check_window(self.padding, *self.kernel_size, *self.stride, *self.dilation)

    @property
    def extent(self) -> tuple[int, ...]:
        """Cells that a window spans on each axis."""
        return extent(self.kernel_size, self.dilation)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs = window_outputs(inputs[0], self.extent, self.stride, self.padding)
        return (*outputs, inputs[0][-1] * self.multiplier)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        channels, area = inputs[0][-1], math.prod(self.kernel_size)
        shape = (*self.kernel_size, channels, self.multiplier)
        kernel = Parameter("kernel", shape, "kernel", area, area * self.multiplier)
        return _tensors(kernel, channels * self.multiplier, self.bias)

    def flops(self, *inputs: Shape) -> int:
        outputs = math.prod(self.output_shape(*inputs))
        return outputs * (2 * math.prod(self.kernel_size) + self.bias)


@register
@dataclass(frozen=True)
class Conv2dTranspose(Windowed):
    """The transpose of a convolution, kernel (kh, kw, out, in): each input cell adds its multiple
    of the kernel to the output, ``stride`` cells from that of its neighbour.

    With ``same`` padding the output is ``stride`` times as large as the input; of what kernels
    larger than the stride write beyond that, the odd cell is cut off after. With ``valid`` nothing
    is cut off.
    """

    kind = "conv2d_transpose"
    rank = 2
    filters: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: str = "same"
    bias: bool = True

    def check(self) -> None:
        positive(self.filters, "filters")
        self.check_window(self.padding, *self.kernel_size, *self.stride)

    @property
    def surplus(self) -> tuple[int, ...]:
        """Cells that kernels write beyond ``stride`` times the input, on each axis."""
        axes = zip(self.kernel_size, self.stride, strict=True)
        return tuple(max(size - step, 0) for size, step in axes)

    def output_shape(self, *inputs: Shape) -> Shape:
        axes = zip(spatial(inputs[0], 2), self.stride, self.surplus, strict=True)
        cut = self.padding == "same"
        return (*(size * step + (0 if cut else more) for size, step, more in axes), self.filters)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        channels, area = inputs[0][-1], math.prod(self.kernel_size)
        shape = (*self.kernel_size, self.filters, channels)
        kernel = Parameter("kernel", shape, "kernel", area * channels, area * self.filters)
        return _tensors(kernel, self.filters, self.bias)

    def flops(self, *inputs: Shape) -> int:
        products = math.prod(inputs[0]) * math.prod(self.kernel_size) * self.filters
        return 2 * products + self.bias * math.prod(self.output_shape(*inputs))

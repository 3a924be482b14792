"""Pooling: one number for each window of each channel, or for the whole of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fwcompare.graph.kinds import Shape, register
from fwcompare.graph.windows import Windowed, spatial, window_outputs


@dataclass(frozen=True)
class Pooling(Windowed):
    """Base of pooling by windows."""

    pool_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str = "valid"

    def check(self) -> None:
        self.check_window(self.padding, *self.pool_size, *self.stride)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs = window_outputs(inputs[0], self.pool_size, self.stride, self.padding)
        return (*outputs, inputs[0][-1])

    def flops(self, *inputs: Shape) -> int:
        return math.prod(self.output_shape(*inputs)) * math.prod(self.pool_size)


@dataclass(frozen=True)
class _Pool2d(Pooling):
    rank = 2
    pool_size: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True)
class _Pool1d(Pooling):
    rank = 1
    pool_size: tuple[int]
    stride: tuple[int]


@register
@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """The largest value of each window; padding counts as minus infinity."""

    kind = "max_pool2d"


@register
@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """The mean of each window; padding is left out of the mean."""

    kind = "avg_pool2d"


@register
@dataclass(frozen=True)
class MaxPool1d(_Pool1d):
    """The largest value of each window of steps; padding counts as minus infinity."""

    kind = "max_pool1d"


@register
@dataclass(frozen=True)
class AvgPool1d(_Pool1d):
    """The mean of each window of steps; padding is left out of the mean."""

    kind = "avg_pool1d"


@dataclass(frozen=True)
class _GlobalPooling(Windowed):
    def output_shape(self, *inputs: Shape) -> Shape:
        spatial(inputs[0], self.rank)
        return (inputs[0][-1],)

    def flops(self, *inputs: Shape) -> int:
        return math.prod(inputs[0])


@register
@dataclass(frozen=True)
class GlobalAvgPool2d(_GlobalPooling):
    """The mean over height and width."""

    kind = "global_avg_pool2d"
    rank = 2


@register
@dataclass(frozen=True)
class GlobalMaxPool2d(_GlobalPooling):
    """The largest value over height and width."""

    kind = "global_max_pool2d"
    rank = 2


@dataclass(frozen=True)
class _GlobalPool1d(_GlobalPooling):
    rank = 1
    #: Whether the last input says which steps count. FLOPs are those of all steps.
    mask: bool = False


@register
@dataclass(frozen=True)
class GlobalAvgPool1d(_GlobalPool1d):
    """The mean over the steps."""

    kind = "global_avg_pool1d"


@register
@dataclass(frozen=True)
class GlobalMaxPool1d(_GlobalPool1d):
    """The largest value over the steps."""

    kind = "global_max_pool1d"

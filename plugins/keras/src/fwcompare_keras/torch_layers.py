"""Cures of layers that Keras computes differently on PyTorch than on its other backends, or that
PyTorch cannot differentiate as Keras hands them over."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from keras import layers, ops

from fwcompare.graph.windows import same_padding


class TwoPassBatchNormalization(layers.BatchNormalization):
    """The variance from the differences to the mean, not as E[x**2] - E[x]**2.

    The latter loses all digits where the mean is large against the spread, and may turn negative.
    No gradient flows through the mean in there, since the differences add up to nothing; so this
    costs what Keras's form does, while ``torch.var_mean`` costs twice as much.
    """

    def _moments(self, inputs: Any, mask: Any) -> tuple[Any, Any]:
        mean = ops.mean(inputs, axis=self._reduction_axes)
        centred = inputs - ops.stop_gradient(mean)
        return mean, ops.mean(ops.square(centred), axis=self._reduction_axes)


class _UnevenAveragePooling(layers.Layer):
    """The mean of the cells of a window that lie in the sample, where the sides are padded
    unevenly.

    Keras pads by repeating the edge there, and counts the repeated cells.
    """

    pool_size: tuple[int, ...]
    strides: tuple[int, ...]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        sizes = input_shape[1:-1]
        axes = zip(sizes, self.pool_size, self.strides, strict=True)
        self._padding = [same_padding(*axis) for axis in axes]
        inside = np.pad(np.ones(sizes), self._padding)
        windows = np.lib.stride_tricks.sliding_window_view(inside, self.pool_size)
        chosen = windows[tuple(slice(None, None, stride) for stride in self.strides)]
        counts = chosen.sum(axis=tuple(range(len(sizes), 2 * len(sizes))))
        # Pooling divides by the whole window, so its mean is put right by area / count.
        self._share = ops.convert_to_tensor(
            (math.prod(self.pool_size) / counts)[..., np.newaxis], dtype=self.compute_dtype
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        padded = ops.pad(inputs, [(0, 0), *self._padding, (0, 0)])
        means = ops.average_pool(padded, self.pool_size, self.strides, "valid", "channels_last")
        return means * self._share


class UnevenAveragePooling1D(_UnevenAveragePooling, layers.AveragePooling1D):
    """Over steps."""


class UnevenAveragePooling2D(_UnevenAveragePooling, layers.AveragePooling2D):
    """Over images."""


def _as_pytorchs_own(kernel: Any) -> torch.Tensor:
    """The same kernel in Keras's axes, laid out in memory as PyTorch lays out its own.

    Seen through Keras's layout an axis of length one has a stride that PyTorch's convolutions in
    float64 do not take in the backward pass: "grad_weight must be contiguous".
    """
    native = ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    return native.clone(memory_format=torch.contiguous_format).permute(2, 3, 1, 0)


class LoneChannelConv2D(layers.Conv2D):
    """A convolution to one channel from several, whose kernel is copied at each call."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, _as_pytorchs_own(kernel))


class LoneChannelConv2DTranspose(layers.Conv2DTranspose):
    """A transposed convolution of one channel to several, whose kernel is copied at each call."""

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv_transpose(
            inputs,
            _as_pytorchs_own(self.kernel),
            strides=list(self.strides),
            padding=self.padding,
            data_format=self.data_format,
        )
        return outputs + self.bias if self.use_bias else outputs

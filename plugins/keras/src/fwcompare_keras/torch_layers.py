"""Cures of two layers that Keras computes differently on PyTorch than on its other backends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import layers, ops

from fwcompare.graph.kinds import same_padding


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


class UnevenAveragePooling2D(layers.AveragePooling2D):
    """The mean of the cells of a window that lie in the image, where the sides are padded unevenly.

    Keras pads by repeating the edge there, and counts the repeated cells.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        sizes = zip(input_shape[1:3], self.pool_size, self.strides, strict=True)
        self._padding = [same_padding(*size) for size in sizes]
        inside = np.pad(np.ones(input_shape[1:3]), self._padding)
        windows = np.lib.stride_tricks.sliding_window_view(inside, self.pool_size)
        counts = windows[:: self.strides[0], :: self.strides[1]].sum(axis=(2, 3))
        # Pooling divides by the whole window, so its mean is put right by area / count.
        self._share = ops.convert_to_tensor(
            (math.prod(self.pool_size) / counts)[..., np.newaxis], dtype=self.compute_dtype
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        padded = ops.pad(inputs, [(0, 0), *self._padding, (0, 0)])
        means = ops.average_pool(padded, self.pool_size, self.strides, "valid", "channels_last")
        return means * self._share

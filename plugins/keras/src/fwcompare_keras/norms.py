"""Normalisations that Keras names or computes otherwise than the contract."""

from __future__ import annotations

from typing import Any

from keras import layers, ops


class RmsNormalization(layers.RMSNormalization):
    """Keras's own, whose ``scale`` is the contract's gamma."""

    @property
    def gamma(self) -> Any:
        """The learned factor of each channel."""
        return self.scale


class CentredGroupNormalization(layers.GroupNormalization):
    """Keras's own on differences to each group's mean, for PyTorch.

    The variance is E[x**2] - E[x]**2 there, which loses all digits where the mean is large against
    the spread. What comes out is the same without the mean, so no gradient need flow through it.
    """

    def _apply_normalization(self, reshaped_inputs: Any, input_shape: Any) -> Any:
        axes = [*range(1, len(reshaped_inputs.shape) - 2), -1]
        mean = ops.mean(reshaped_inputs, axis=axes, keepdims=True)
        centred = reshaped_inputs - ops.stop_gradient(mean)
        return super()._apply_normalization(centred, input_shape)

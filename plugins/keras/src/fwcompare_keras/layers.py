"""From layer kind to the native Keras layer.

Keras's layouts are the canonical ones and its layers keep each tensor under the canonical name, so
weights need no translation.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import Layer
from fwcompare.graph.kinds import same_padding
from fwcompare_keras.activations import activation


@dataclass(frozen=True)
class Style:
    """How layers are built, apart from their own options."""

    aligned: bool
    #: The type of weights and data; that of products is Keras's dtype policy.
    dtype: str
    seed: int

    @property
    def exact(self) -> bool:
        """Whether constants must hold in float64."""
        return self.aligned and self.dtype == "float64"

    @property
    def cures_torch(self) -> bool:
        """Whether Keras's deviations on PyTorch alone are to be cured."""
        return self.aligned and keras.config.backend() == "torch"


#: What is called on the input tensors: a layer, or for an activation its function.
Constructor = Callable[[Layer, Style], Callable[..., Any]]


def _dense(layer: Layer, style: Style) -> keras.layers.Layer:
    return layers.Dense(layer.kind.units, use_bias=layer.kind.bias)


def _conv2d(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    return layers.Conv2D(
        kind.filters,
        kind.kernel_size,
        strides=kind.stride,
        padding=kind.padding,
        groups=kind.groups,
        use_bias=kind.bias,
    )


def _max_pool2d(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    return layers.MaxPooling2D(kind.pool_size, kind.stride, kind.padding)


def _avg_pool2d(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    windows = zip(layer.input_shapes[0], kind.pool_size, kind.stride, strict=False)
    uneven = kind.padding == "same" and any(
        before != after for before, after in (same_padding(*window) for window in windows)
    )
    if uneven and style.cures_torch:
        from fwcompare_keras.torch_layers import UnevenAveragePooling2D

        return UnevenAveragePooling2D(kind.pool_size, kind.stride, kind.padding)
    return layers.AveragePooling2D(kind.pool_size, kind.stride, kind.padding)


def _batch_norm(layer: Layer, style: Style) -> keras.layers.Layer:
    if not style.aligned:
        return layers.BatchNormalization()
    cls = layers.BatchNormalization
    if style.cures_torch:
        from fwcompare_keras.torch_layers import TwoPassBatchNormalization as cls
    return cls(momentum=layer.kind.momentum, epsilon=layer.kind.epsilon)


def _layer_norm(layer: Layer, style: Style) -> keras.layers.Layer:
    if not style.aligned:
        return layers.LayerNormalization()
    return layers.LayerNormalization(epsilon=layer.kind.epsilon)


def _dropout(layer: Layer, style: Style) -> keras.layers.Layer:
    # keras.utils.set_random_seed would import TensorFlow whatever the backend is.
    seed = zlib.crc32(f"{style.seed}/{layer.name}".encode()) >> 1  # int32 on PyTorch
    return layers.Dropout(layer.kind.rate, seed=seed)


def _activation(layer: Layer, style: Style) -> Callable[..., Any]:
    function = activation(layer.kind, style.exact)
    if layer.kind.function == "mish":  # Keras's own does not take symbolic tensors
        return layers.Activation(function)
    # The function itself, not a layer around it: eager backends pay for every layer's call.
    return function


CONSTRUCTORS: dict[str, Constructor] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_avg_pool2d": lambda layer, style: layers.GlobalAveragePooling2D(),
    "global_max_pool2d": lambda layer, style: layers.GlobalMaxPooling2D(),
    "flatten": lambda layer, style: layers.Flatten(),
    "reshape": lambda layer, style: layers.Reshape(layer.kind.shape),
    "activation": _activation,
    "dropout": _dropout,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "add": lambda layer, style: layers.Add(),
    "concat": lambda layer, style: layers.Concatenate(axis=-1),
}


def construct(layer: Layer, style: Style) -> Callable[..., Any]:
    """What builds a node when it is called on its inputs.

    Raises ``UnsupportedError`` for a kind that is not in the table. Keras chooses the layer's name:
    one from a model file might not be a valid scope in TensorFlow.
    """
    kind = layer.kind.kind
    if kind not in CONSTRUCTORS:
        raise UnsupportedError(
            f"The Keras plugin cannot build layer '{layer.name}' of kind '{kind}'.",
            f"It can build: {choices(CONSTRUCTORS)}.",
        )
    return CONSTRUCTORS[kind](layer, style)

"""From layer kind to the native Keras layer.

Keras's layouts are the canonical ones and its layers keep each tensor under the canonical name, so
weights need no translation.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import Layer
from fwcompare.graph.windows import padding_sides
from fwcompare_keras import portable
from fwcompare_keras.activations import activation
from fwcompare_keras.attention import Attention
from fwcompare_keras.norms import CentredGroupNormalization, RmsNormalization
from fwcompare_keras.positions import FixedPosition, PositionEmbedding
from fwcompare_keras.recurrent import Recurrent
from fwcompare_keras.scaling import Scale


@dataclass(frozen=True)
class Style:
    """How layers are built, apart from their own options."""

    aligned: bool
    #: The type of weights and data; that of products is Keras's dtype policy.
    dtype: str
    seed: int
    #: Whether the model must load without this plugin; it then has no cures, and is not trained.
    portable: bool = False

    @property
    def exact(self) -> bool:
        """Whether constants must hold in float64."""
        return self.aligned and self.dtype == "float64" and not self.portable

    @property
    def cures_torch(self) -> bool:
        """Whether Keras's deviations on PyTorch alone are to be cured."""
        return self.aligned and keras.config.backend() == "torch" and not self.portable

    @property
    def cures_lone_channels(self) -> bool:
        """Whether a kernel with an axis of length one must be copied to be trained at all, in
        either semantics."""
        return self.dtype == "float64" and keras.config.backend() == "torch" and not self.portable


#: What is called on the input tensors: a layer, or for an activation its function.
Constructor = Callable[[Layer, Style], Callable[..., Any]]


def _dense(layer: Layer, style: Style) -> keras.layers.Layer:
    return layers.Dense(layer.kind.units, use_bias=layer.kind.bias)


def _convolution(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    native = [layers.Conv1D, layers.Conv2D][kind.rank - 1]
    if native is layers.Conv2D and kind.filters == 1 and style.cures_lone_channels:
        from fwcompare_keras.torch_layers import LoneChannelConv2D as native
    return native(
        kind.filters,
        kind.kernel_size,
        strides=kind.stride,
        padding=kind.padding,
        dilation_rate=kind.dilation,
        groups=kind.groups,
        use_bias=kind.bias,
    )


def _depthwise_conv2d(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    return layers.DepthwiseConv2D(
        kind.kernel_size,
        strides=kind.stride,
        padding=kind.padding,
        depth_multiplier=kind.multiplier,
        dilation_rate=kind.dilation,
        use_bias=kind.bias,
    )


def _conv2d_transpose(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    native = layers.Conv2DTranspose
    if layer.input_shapes[0][-1] == 1 and style.cures_lone_channels:
        from fwcompare_keras.torch_layers import LoneChannelConv2DTranspose as native
    return native(
        kind.filters,
        kind.kernel_size,
        strides=kind.stride,
        padding=kind.padding,
        use_bias=kind.bias,
    )


def _max_pooling(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    native = [layers.MaxPooling1D, layers.MaxPooling2D][kind.rank - 1]
    return native(kind.pool_size, kind.stride, kind.padding)


def _average_pooling(layer: Layer, style: Style) -> keras.layers.Layer:
    kind = layer.kind
    native = [layers.AveragePooling1D, layers.AveragePooling2D][kind.rank - 1]
    sides = padding_sides(kind.padding, layer.input_shapes[0][:-1], kind.pool_size, kind.stride)
    if style.cures_torch and any(before != after for before, after in sides):
        from fwcompare_keras import torch_layers

        cured = [torch_layers.UnevenAveragePooling1D, torch_layers.UnevenAveragePooling2D]
        native = cured[kind.rank - 1]
    return native(kind.pool_size, kind.stride, kind.padding)


def _global_avg_pool1d(layer: Layer, style: Style) -> Callable[..., Any]:
    native = layers.GlobalAveragePooling1D()
    return (lambda inputs: native(inputs[0], mask=inputs[1])) if layer.kind.mask else native


def _global_max_pool1d(layer: Layer, style: Style) -> Callable[..., Any]:
    native = layers.GlobalMaxPooling1D()
    if not layer.kind.mask:
        return native
    # Keras has a mask for the mean alone.
    return lambda inputs: native(ops.where(ops.expand_dims(inputs[1], -1), inputs[0], -math.inf))


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


def _group_norm(layer: Layer, style: Style) -> keras.layers.Layer:
    if not style.aligned:
        return layers.GroupNormalization(layer.kind.groups)
    cls = CentredGroupNormalization if style.cures_torch else layers.GroupNormalization
    return cls(layer.kind.groups, epsilon=layer.kind.epsilon)


def _rms_norm(layer: Layer, style: Style) -> keras.layers.Layer:
    return RmsNormalization(epsilon=layer.kind.epsilon) if style.aligned else RmsNormalization()


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
    "conv1d": _convolution,
    "conv2d": _convolution,
    "depthwise_conv2d": _depthwise_conv2d,
    "conv2d_transpose": _conv2d_transpose,
    "max_pool1d": _max_pooling,
    "avg_pool1d": _average_pooling,
    "global_avg_pool1d": _global_avg_pool1d,
    "global_max_pool1d": _global_max_pool1d,
    "max_pool2d": _max_pooling,
    "avg_pool2d": _average_pooling,
    "global_avg_pool2d": lambda layer, style: layers.GlobalAveragePooling2D(),
    "global_max_pool2d": lambda layer, style: layers.GlobalMaxPooling2D(),
    "flatten": lambda layer, style: layers.Flatten(),
    "reshape": lambda layer, style: layers.Reshape(layer.kind.shape),
    "activation": _activation,
    "dropout": _dropout,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "zero_pad2d": lambda layer, style: layers.ZeroPadding2D(layer.kind.padding),
    "upsample2d": lambda layer, style: layers.UpSampling2D(layer.kind.size),
    "softmax": lambda layer, style: layers.Softmax(),
    "scale": lambda layer, style: Scale(layer.kind.factor, layer.kind.learned),
    "add": lambda layer, style: layers.Add(),
    "embedding": lambda layer, style: layers.Embedding(layer.kind.tokens, layer.kind.features),
    "padding_mask": lambda layer, style: lambda ids: ops.not_equal(ids, layer.kind.padding),
    "multi_head_attention": lambda layer, style: Attention(layer, style.exact),
    "lstm": lambda layer, style: Recurrent(layer),
    "gru": lambda layer, style: Recurrent(layer),
    "position_embedding": lambda layer, style: PositionEmbedding(),
    "sinusoidal_position": lambda layer, style: FixedPosition(layer.kind.table(layer.shape)),
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
    if style.portable and kind in portable.CONSTRUCTORS:
        return portable.CONSTRUCTORS[kind](layer, style.aligned)
    return CONSTRUCTORS[kind](layer, style)

"""What the built layers and the built optimizer hold, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from fwcompare.audit.settings import Settings
from fwcompare.graph import Layer
from fwcompare.graph.windows import extent, padding_sides
from fwcompare_keras.attention import Attention
from fwcompare_keras.network import Network, to_numpy
from fwcompare_keras.recurrent import Recurrent

#: Attributes of an optimizer to the contract's names.
_OPTIONS = {
    "momentum": "momentum", "nesterov": "nesterov", "beta_1": "beta1", "beta_2": "beta2",
    "rho": "rho", "epsilon": "epsilon", "initial_accumulator_value": "initial_accumulator",
}  # fmt: skip


def settings(network: Network, optimizer: Any) -> Settings:
    """Values by layer and quantity, and those of the optimizer."""
    found = {"optimizer": dict(_optimizer(optimizer, network))}
    for layer in network.graph.layers:
        # Of code of the user's own, a weight map need not name every layer.
        if layer.name in network.natives and (
            values := dict(_layer(layer, network.natives[layer.name]))
        ):
            found[layer.name] = values
    return found


def _optimizer(optimizer: Any, network: Network) -> Iterator[tuple[str, Any]]:
    own = type(optimizer).__module__.startswith("fwcompare")
    native = next(cls for cls in type(optimizer).__mro__ if cls.__module__.startswith("keras"))
    yield "class", f"keras.optimizers.{native.__name__}" + (" with cures" if own else "")
    yield "lr", float(to_numpy(optimizer.learning_rate))
    options = {
        name: getattr(optimizer, attribute)
        for attribute, name in _OPTIONS.items()
        if hasattr(optimizer, attribute)
    }
    if isinstance(optimizer, keras.optimizers.SGD):
        if options["momentum"]:
            holds = "without" if own else "times"
            options["momentum_buffer"] = f"{holds} the learning rate"
        else:
            options = {}
    if isinstance(optimizer, keras.optimizers.RMSprop):
        del options["momentum"]
    yield from options.items()
    if isinstance(optimizer, keras.optimizers.Adam):
        yield "epsilon_place", f"beside the {'corrected' if own else 'uncorrected'} root"
    elif "epsilon" in options:
        yield "epsilon_place", "beside the root" if own else "inside the root"
    yield from _decay(optimizer, network).items()
    if optimizer.global_clipnorm is not None:
        yield "clip_norm", optimizer.global_clipnorm
        yield "clip_factor", "most / norm"


def _decay(optimizer: Any, network: Network) -> Mapping[str, Any]:
    """Which decay acts, how strongly, and on how many tensors."""
    l2, decoupled = getattr(optimizer, "l2", 0.0), optimizer.weight_decay
    if not l2 and not decoupled:
        return {"decay": "none"}
    decayed = [v for v in network.trainable.values() if optimizer._use_weight_decay(v)]
    return {
        "decay": "l2" if l2 else "decoupled",
        "weight_decay": float(l2 or decoupled),
        "decayed_tensors": len(decayed),
    }


def _layer(layer: Layer, native: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(native, layers.Layer):
        known = next(c for c in type(native).__mro__ if c.__module__.startswith("keras"))
        name = f"keras.layers.{known.__name__}"
    match native:
        case layers.Dense():
            yield "class", name
            yield "bias", native.use_bias
        case layers.Conv2DTranspose():
            yield "class", name
            yield "bias", native.use_bias
            yield "cut_off", _cut_off(native)
        case layers.Conv1D() | layers.Conv2D() | layers.DepthwiseConv2D():
            yield "class", name
            yield "bias", native.use_bias
            windows = extent(native.kernel_size, native.dilation_rate)
            yield "padding", _padding(native.padding, layer, windows, native.strides)
        case layers.AveragePooling1D() | layers.AveragePooling2D():
            yield "class", name
            amounts = _padding(native.padding, layer, native.pool_size, native.strides)
            uneven = any(before != after for before, after in amounts)
            edge = uneven and keras.config.backend() == "torch" and type(native) is known
            yield "padded_cells", "counted as the edge" if edge else "left out"
        case layers.BatchNormalization():
            yield "class", name
            yield "momentum", native.momentum
            yield "epsilon", native.epsilon
            yield "moving_variance", "biased"
        case layers.LayerNormalization() | layers.GroupNormalization() | layers.RMSNormalization():
            yield "class", name
            yield "epsilon", native.epsilon
        case layers.Embedding():
            yield "class", name
        case Recurrent():
            yield "class", "keras.layers.LSTM" if native.kind.kind == "lstm" else "keras.layers.GRU"
            if native.kind.kind == "gru":
                yield "reset_gate", "after the product"
        case Attention():
            yield "class", "keras.layers.MultiHeadAttention"
            yield "causal", native.causal
        case layers.Dropout():
            yield "class", name
            yield "rate", native.rate


def _padding(
    padding: str, layer: Layer, windows: Sequence[int], strides: Sequence[int]
) -> list[list[int]]:
    """Cells (before, after) of each axis: Keras keeps the word, and pads by this rule."""
    sizes = layer.input_shapes[0][:-1]
    return [list(side) for side in padding_sides(padding, sizes, windows, strides)]


def _cut_off(native: layers.Conv2DTranspose) -> list[list[int]]:
    """Cells (before, after) of each axis that kernels write and that are cut off."""
    axes = zip(native.kernel_size, native.strides, strict=True)
    surplus = [max(size - stride, 0) for size, stride in axes]
    same = native.padding == "same"
    return [[cells // 2, cells - cells // 2] if same else [0, 0] for cells in surplus]

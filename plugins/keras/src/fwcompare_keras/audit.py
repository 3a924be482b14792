"""What the built layers and the built optimizer hold, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras import layers

from fwcompare.audit.settings import Settings
from fwcompare.graph import Layer
from fwcompare.graph.kinds import same_padding
from fwcompare_keras.network import Network, to_numpy

#: Attributes of an optimizer to the contract's names.
_OPTIONS = {
    "momentum": "momentum", "nesterov": "nesterov", "beta_1": "beta1", "beta_2": "beta2",
    "rho": "rho", "epsilon": "epsilon", "initial_accumulator_value": "initial_accumulator",
}  # fmt: skip


def settings(network: Network, optimizer: Any) -> Settings:
    """Values by layer and quantity, and those of the optimizer."""
    found = {"optimizer": dict(_optimizer(optimizer, network))}
    for layer in network.graph.layers:
        if values := dict(_layer(layer, network.natives[layer.name])):
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
        case layers.Conv2D():
            yield "class", name
            yield "bias", native.use_bias
            yield "padding", _padding(native.padding, layer, native.kernel_size, native.strides)
        case layers.AveragePooling2D():
            yield "class", name
            amounts = _padding(native.padding, layer, native.pool_size, native.strides)
            uneven = any(before != after for before, after in amounts)
            on_torch = keras.config.backend() == "torch" and type(native) is layers.AveragePooling2D
            edge = on_torch and uneven
            yield "padded_cells", "counted as the edge" if edge else "left out"
        case layers.BatchNormalization():
            yield "class", name
            yield "momentum", native.momentum
            yield "epsilon", native.epsilon
            yield "moving_variance", "biased"
        case layers.LayerNormalization():
            yield "class", name
            yield "epsilon", native.epsilon
        case layers.Dropout():
            yield "class", name
            yield "rate", native.rate


def _padding(
    padding: str, layer: Layer, window: tuple[int, ...], strides: tuple[int, ...]
) -> list[list[int]]:
    """Cells (before, after) of each axis: Keras keeps the word, and pads by this rule."""
    if padding == "valid":
        return [[0, 0] for _ in window]
    sizes = layer.input_shapes[0]
    return [list(same_padding(*axis)) for axis in zip(sizes, window, strides, strict=False)]

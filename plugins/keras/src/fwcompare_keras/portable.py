"""Layers for a model that leaves the house: Keras's own and nothing else, to load anywhere.

A trainer's network has cures and layers of this plugin in it, which a saved model would name. Here
each is written with what every Keras has; the weights are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from keras import layers, ops

from fwcompare.graph import Layer
from fwcompare.graph.kinds import Activation
from fwcompare_keras.recurrent import Recurrent

#: Activations that have an option, or that Keras does not know by their name alone.
_ACTIVATIONS: dict[str, Callable[[float], Callable[[Any], Any]]] = {
    "leaky_relu": lambda alpha: layers.LeakyReLU(negative_slope=alpha),
    "elu": lambda alpha: layers.ELU(alpha=alpha),
    "gelu_tanh": lambda _: lambda x: ops.gelu(x, approximate=True),
}


def activation(kind: Activation) -> Callable[[Any], Any]:
    """A layer of the function's name, or one that has its option."""
    if kind.function in _ACTIVATIONS:
        return _ACTIVATIONS[kind.function](kind.alpha)
    made: Callable[[Any], Any] = layers.Activation(kind.function)
    return made


class RmsNorm:
    """``RMSNormalization``, whose ``scale`` is the contract's gamma."""

    def __init__(self, epsilon: float | None) -> None:
        constants = {} if epsilon is None else {"epsilon": epsilon}
        self.native = layers.RMSNormalization(**constants)

    def __call__(self, inputs: Any) -> Any:
        return self.native(inputs)

    def variable(self, name: str) -> Any:
        """The variable of a canonical tensor."""
        return self.native.scale


class Scale:
    """A factor by ``Rescaling``, and one for each channel by an ``EinsumDense`` of the diagonal."""

    def __init__(self, factor: float, learned: bool) -> None:
        self.factor = layers.Rescaling(factor)
        self.channels = layers.EinsumDense("...c,c->...c", (None,)) if learned else None

    def __call__(self, inputs: Any) -> Any:
        scaled = self.factor(inputs)
        if self.channels is None:
            return scaled
        self.channels.partial_output_shape = tuple(inputs.shape[1:])
        return self.channels(scaled)

    def variable(self, name: str) -> Any:
        """The variable of a canonical tensor."""
        assert self.channels is not None
        return self.channels.kernel


class PositionEmbedding:
    """An ``Embedding`` of the number of each step, added."""

    def __init__(self, layer: Layer) -> None:
        self.native = layers.Embedding(*layer.shape)
        self.add = layers.Add()

    def __call__(self, inputs: Any) -> Any:
        counted = ops.cumsum(ops.ones_like(inputs[:, :, 0], dtype="int32"), axis=1) - 1
        return self.add([inputs, self.native(counted)])

    def variable(self, name: str) -> Any:
        """The variable of a canonical tensor."""
        return self.native.embeddings


class Part:
    """A part of a variable, which takes values as a whole one does."""

    def __init__(self, variable: Any, part: tuple[int | slice, ...]) -> None:
        self.variable, self.part = variable, part

    def assign(self, array: np.ndarray) -> None:
        """Take values over; the rest of the variable stays."""
        whole = np.array(ops.convert_to_numpy(self.variable))
        whole[self.part] = array
        self.variable.assign(whole)


class Gru(Recurrent):
    """Keras's own ``GRU``, which has a second bias in every gate: here one is zero but for the
    candidate's."""

    natives: ClassVar[dict[str, Any]] = {"gru": layers.GRU}

    def attribute(self, tensor: str) -> str:
        """What Keras's own cell calls a canonical tensor."""
        return tensor

    def variable(self, name: str) -> Any:
        """A variable, or the part of the joined bias that a canonical tensor is."""
        *way, tensor = name.split("/")
        if "bias" not in tensor:
            return super().variable(name)
        units = self.kind.units
        bias = super().variable("/".join([*way, "bias"]))
        first = (0, slice(None))
        return Part(bias, (1, slice(2 * units, None)) if tensor == "recurrent_bias" else first)


#: In place of the constructors of the trainer's network, by kind of layer: ``(layer, aligned)``.
CONSTRUCTORS: dict[str, Callable[[Layer, bool], Callable[..., Any]]] = {
    "activation": lambda layer, aligned: activation(layer.kind),
    "rms_norm": lambda layer, aligned: RmsNorm(layer.kind.epsilon if aligned else None),
    "scale": lambda layer, aligned: Scale(layer.kind.factor, layer.kind.learned),
    "position_embedding": lambda layer, aligned: PositionEmbedding(layer),
    "sinusoidal_position": lambda layer, aligned: (
        lambda inputs: ops.add(inputs, layer.kind.table(layer.shape).astype(inputs.dtype))
    ),
    "gru": lambda layer, aligned: Gru(layer),
}

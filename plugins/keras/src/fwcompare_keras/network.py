"""The Keras model of a graph, with its variables by canonical name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np

from fwcompare.graph import INPUT, TOKENS, Graph, Weights
from fwcompare_keras.layers import Style, construct
from fwcompare_keras.tracing import model_class


@runtime_checkable
class Composite(Protocol):
    """Several Keras layers that are one of the graph's."""

    def variable(self, name: str) -> Any:
        """The variable of a canonical tensor."""


@runtime_checkable
class Reordered(Protocol):
    """A layer that keeps the numbers of a tensor in another order."""

    def exchange(self, name: str, array: np.ndarray) -> np.ndarray:
        """From Keras's order to the canonical one; applied twice, the same array."""


class Network:
    """A functional model, and where each tensor of the graph lives in it."""

    def __init__(self, graph: Graph, style: Style) -> None:
        """Raises ``UnsupportedError`` for a layer that Keras cannot build as the graph means it."""
        self.graph, self.style = graph, style
        keras.config.set_image_data_format("channels_last")
        tokens = graph.input_type == TOKENS
        source = keras.Input(graph.input_shape, dtype="int32" if tokens else style.dtype)
        tensors = {INPUT: source}
        #: What was called on each layer's inputs, by the layer's name.
        self.natives: dict[str, Any] = {}
        #: Every variable by canonical name, in graph order.
        self.variables: dict[str, Any] = {}
        #: Those that are trained.
        self.trainable: dict[str, Any] = {}
        #: Those that the initialiser drew, which alone are decayed where only kernels are.
        self.kernels: dict[str, Any] = {}
        #: For a tensor whose order is another one in Keras: from either order to the other.
        self._orders: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        for layer in graph.layers:
            native = self.natives[layer.name] = construct(layer, style)
            inputs = [tensors[name] for name in layer.inputs]
            tensors[layer.name] = native(inputs[0] if len(inputs) == 1 else inputs)
            for parameter in layer.parameters:
                name = f"{layer.name}/{parameter.name}"
                variable = self._variable(native, parameter.name)
                if isinstance(native, Reordered):
                    self._orders[name] = partial(native.exchange, parameter.name)
                self.variables[name] = variable
                if parameter.trainable:
                    self.trainable[name] = variable
                if parameter.role == "kernel":
                    self.kernels[name] = variable
        self._tensors = tensors
        cls = keras.Model if style.portable else model_class()
        self.model = cls(source, tensors[graph.layers[-1].name])

    @cached_property
    def every_layer(self) -> keras.Model:
        """The same layers with every output. Made where a proof asks for them: it takes as long as
        a large part of the model itself."""
        outputs = dict(self._tensors)
        return keras.Model(outputs.pop(INPUT), outputs)

    @staticmethod
    def _variable(native: Any, name: str) -> Any:
        return native.variable(name) if isinstance(native, Composite) else getattr(native, name)

    def exchange(self, name: str, array: np.ndarray) -> np.ndarray:
        """An array laid out as a tensor, from Keras's order to the canonical one or back."""
        return self._orders[name](array) if name in self._orders else array

    def activations(self, inputs: Any, training: bool) -> dict[str, np.ndarray]:
        """The output of every layer for one batch, by name."""
        with self.undisturbed():
            outputs = self.every_layer(inputs, training=training)
        return {name: to_numpy(output) for name, output in outputs.items()}

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put moving statistics, and the seeds of dropout, back as they were."""
        kept = [(variable, to_numpy(variable)) for variable in self.model.non_trainable_variables]
        yield
        for variable, before in kept:
            variable.assign(before)

    def fresh(self) -> Network:
        """Another one, as its initialisers draw it."""
        return Network(self.graph, self.style)

    def load(self, weights: Weights) -> None:
        """Take canonical weights over."""
        for name, variable in self.variables.items():
            variable.assign(self.exchange(name, weights[name]))

    def weights(self) -> Weights:
        """A copy of the present weights, canonical."""
        return {
            name: self.exchange(name, to_numpy(variable))
            for name, variable in self.variables.items()
        }

    def undecayed(self, scope: str) -> list[Any]:
        """Trainable variables that a decay of this scope leaves alone."""
        if scope == "all":
            return []
        return [v for name, v in self.trainable.items() if name not in self.kernels]


def to_numpy(tensor: Any) -> np.ndarray:
    """A copy of a variable or tensor on the host."""
    return np.array(keras.ops.convert_to_numpy(tensor))

"""The Keras model of a graph, with its variables by canonical name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from fwcompare.graph import INPUT, Graph, Weights
from fwcompare_keras.layers import Style, construct
from fwcompare_keras.tracing import model_class


class Network:
    """A functional model, and where each tensor of the graph lives in it."""

    def __init__(self, graph: Graph, style: Style) -> None:
        """Raises ``UnsupportedError`` for a layer that Keras cannot build as the graph means it."""
        self.graph, self.style = graph, style
        keras.config.set_image_data_format("channels_last")
        source = keras.Input(graph.input_shape, dtype=style.dtype)
        tensors = {INPUT: source}
        #: What was called on each layer's inputs, by the layer's name.
        self.natives: dict[str, Any] = {}
        #: Every variable by canonical name, in graph order.
        self.variables: dict[str, Any] = {}
        #: Those that are trained.
        self.trainable: dict[str, Any] = {}
        #: Those that the initialiser drew, which alone are decayed where only kernels are.
        self.kernels: dict[str, Any] = {}
        for layer in graph.layers:
            native = self.natives[layer.name] = construct(layer, style)
            inputs = [tensors[name] for name in layer.inputs]
            tensors[layer.name] = native(inputs[0] if len(inputs) == 1 else inputs)
            for parameter in layer.parameters:
                name, variable = f"{layer.name}/{parameter.name}", getattr(native, parameter.name)
                self.variables[name] = variable
                if parameter.trainable:
                    self.trainable[name] = variable
                if parameter.role == "kernel":
                    self.kernels[name] = variable
        self.model = model_class()(source, tensors[graph.layers[-1].name])
        del tensors[INPUT]
        self._every_layer = keras.Model(source, tensors)

    def activations(self, inputs: Any, training: bool) -> dict[str, np.ndarray]:
        """The output of every layer for one batch, by name."""
        with self.undisturbed():
            outputs = self._every_layer(inputs, training=training)
        return {name: to_numpy(output) for name, output in outputs.items()}

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put moving statistics, and the seeds of dropout, back as they were."""
        kept = [(variable, to_numpy(variable)) for variable in self.model.non_trainable_variables]
        yield
        for variable, before in kept:
            variable.assign(before)

    def load(self, weights: Weights) -> None:
        """Take canonical weights over."""
        for name, variable in self.variables.items():
            variable.assign(weights[name])

    def weights(self) -> Weights:
        """A copy of the present weights, canonical."""
        return {name: to_numpy(variable) for name, variable in self.variables.items()}

    def undecayed(self, scope: str) -> list[Any]:
        """Trainable variables that a decay of this scope leaves alone."""
        if scope == "all":
            return []
        return [v for name, v in self.trainable.items() if name not in self.kernels]


def to_numpy(tensor: Any) -> np.ndarray:
    """A copy of a variable or tensor on the host."""
    return np.array(keras.ops.convert_to_numpy(tensor))

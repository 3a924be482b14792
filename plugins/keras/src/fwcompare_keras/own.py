"""A Keras model of the user's own in the place of the graph's layers, by way of a weight map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from fwcompare.errors import RequestError, RunError, UnsupportedError
from fwcompare.graph import TOKENS, Layer, Parameter, Weights
from fwcompare.native import code
from fwcompare.native.mapping import Step, WeightMap
from fwcompare.native.template import described
from fwcompare.spec import RunSpec
from fwcompare_keras.float64 import set_precision
from fwcompare_keras.layers import Style
from fwcompare_keras.network import Network, to_numpy
from fwcompare_keras.tracing import model_class

#: From channels last to first and back.
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class OwnNetwork(Network):
    """The user's model, with what a trainer asks of a ``Network``."""

    def __init__(self, spec: RunSpec, style: Style) -> None:
        """Raises ``RunError`` where the code, or its weight map, does not do."""
        own = spec.framework.code
        assert own is not None
        self.spec, self.style = spec, style
        self.graph = graph = spec.model.graph
        made = _built(spec)
        native = native_variables(made)
        try:
            self.map = WeightMap.of(own.map, graph)
            self._fits = self.map.fits(graph, _shapes(native), customary)
            self.natives = {name: _layer(made, each.path) for name, each in self.map.layers.items()}
            self._check(native)
        except RequestError as error:
            raise RunError(f"{own.shown}: {error.message}", error.hint) from error
        for path, number in self.map.fixed.items():
            native[path].assign(np.full(native[path].shape, number))
            native[path].trainable = False
        self.variables = {name: native[fit.path] for name, fit in self._fits.items()}
        of = dict(graph.parameters())
        self.trainable = {n: v for n, v in self.variables.items() if of[n].trainable}
        self.kernels = {n: v for n, v in self.variables.items() if of[n].role == "kernel"}
        first = self.map.layout == "channels_first"
        turned_in = first and len(graph.input_shape) == 3
        turned_out = first and len(graph.output_shape) == 3
        dtype = "int32" if graph.input_type == TOKENS else style.dtype
        source = keras.Input(graph.input_shape, dtype=dtype)
        output = made(ops.transpose(source, _FIRST) if turned_in else source)
        output = ops.transpose(output, _LAST) if turned_out else output
        self.model = model_class()(source, output)
        self._inner = self._layers_of(made) if self.natives else None
        self._turned_in = turned_in

    def _check(self, native: dict[str, Any]) -> None:
        for name, fit in self._fits.items():
            if not fit.whole:
                raise UnsupportedError(
                    f"'{name}': Keras's engines take no rows of a variable, as of '{fit.path}'."
                )
            if bool(native[fit.path].trainable) != fit.parameter.trainable:
                is_one = "is" if fit.parameter.trainable else "is not"
                raise RequestError(f"'{name}' {is_one} trained, '{fit.path}' is otherwise.")

    def _layers_of(self, made: Any) -> Any:
        """The outputs of the named layers as one model."""
        try:
            return keras.Model(made.inputs, {n: layer.output for n, layer in self.natives.items()})
        except (AttributeError, ValueError) as error:
            raise RunError(
                "layers: Keras tells the outputs of layers of a functional or Sequential model "
                f"alone ({type(error).__name__})."
            ) from error

    def activations(self, inputs: Any, training: bool) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        with self.undisturbed():
            if self._inner is not None:
                given = ops.transpose(inputs, _FIRST) if self._turned_in else inputs
                outputs = self._inner(given, training=training)
                found = {name: self._turned(name, to_numpy(o)) for name, o in outputs.items()}
        with self.undisturbed():
            found[self.graph.layers[-1].name] = to_numpy(self.model(inputs, training=training))
        return found

    def _turned(self, name: str, array: np.ndarray) -> np.ndarray:
        first = self.map.layers[name].layout == "channels_first"
        image = first and len(self.graph[name].shape) == 3 and array.ndim == 4
        return array.transpose(_LAST) if image else array

    def exchange(self, name: str, array: np.ndarray) -> np.ndarray:
        """A native array laid out as a tensor, canonical."""
        return self._fits[name].canonical(array)

    def load(self, weights: Weights) -> None:
        for name, variable in self.variables.items():
            variable.assign(self._fits[name].native(weights[name]))

    def fresh(self) -> OwnNetwork:
        return OwnNetwork(self.spec, self.style)


def network(spec: RunSpec, style: Style) -> Network:
    """The network of a run: the user's own where there is code, else that of the graph."""
    if spec.framework.code is not None:
        return OwnNetwork(spec, style)
    return Network(spec.model.graph, style)


def _built(spec: RunSpec) -> Any:
    """The user's model, with its variables."""
    # Names that Keras makes up count through a process, and paths hold them.
    keras.utils.clear_session(free_memory=False)
    set_precision(spec.precision)
    made = code.build(spec)
    assert spec.framework.code is not None
    if not isinstance(made, keras.Model):
        raise RunError(
            f"{spec.framework.code.shown} gives a {type(made).__name__}, not a keras.Model."
        )
    if not made.built:
        graph = spec.model.graph
        tokens = graph.input_type == TOKENS
        made(np.zeros((1, *graph.input_shape), "int32" if tokens else spec.dtype))
    return made


def native_variables(made: Any) -> dict[str, Any]:
    """Variables by path, without the model's own name and without the seeds of dropout."""
    prefix = f"{made.name}/"
    return {
        variable.path.removeprefix(prefix): variable
        for variable in made.variables
        if "float" in str(variable.dtype)
    }


def _shapes(native: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(variable.shape) for path, variable in native.items()}


def _layer(made: Any, path: str) -> Callable[..., Any]:
    """A layer by the names on the way to it. Raises ``RequestError``."""
    found = made
    for name in path.split("/"):
        try:
            found = found.get_layer(name)
        except (AttributeError, ValueError) as error:
            raise RequestError(f"layers: the model has no layer '{path}'.") from error
    layer: Callable[..., Any] = found
    return layer


def customary(layer: Layer, parameter: Parameter) -> Sequence[Step]:
    """Keras's layouts are the canonical ones, but for the order of a GRU's gates."""
    if layer.kind.kind == "gru" and parameter.name.rpartition("/")[2] != "recurrent_bias":
        return [{"blocks": [1, 0, 2]}]
    return []


def template(spec: RunSpec) -> Sequence[str]:
    """A weight map's part for the code of the spec, as far as it can be matched."""
    native = _shapes(native_variables(_built(spec)))
    return list(described(spec.model.graph, native, customary, "channels_last"))

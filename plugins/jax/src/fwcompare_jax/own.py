"""A Flax NNX module of the user's own in place of the graph's layers, by way of a weight map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fwcompare.errors import RequestError, RunError, UnsupportedError
from fwcompare.graph import Layer, Parameter
from fwcompare.graph.kinds import Shape
from fwcompare.native import code
from fwcompare.native.mapping import Fit, Step, WeightMap
from fwcompare.native.template import described
from fwcompare.spec import RunSpec
from fwcompare_jax.layers import Path, Streams

#: From channels last to first and back.
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class OwnModule:
    """The user's module, as the trainer takes a model. Built for shapes alone, and checked."""

    def __init__(self, spec: RunSpec) -> None:
        """Raises ``RunError`` where the code, or its weight map, does not do."""
        own = spec.framework.code
        assert own is not None
        self._spec, self._shown = spec, own.shown
        self._graph = graph = spec.model.graph
        native = native_variables(nnx.eval_shape(self.build))
        try:
            self._map = WeightMap.of(own.map, graph)
            self._fits = self._map.fits(graph, _shapes(native), customary)
            for name, fit in self._fits.items():
                _check(name, fit, native[fit.path][1])
        except RequestError as error:
            raise RunError(f"{own.shown}: {error.message}", error.hint) from error
        self.names = {native[fit.path][0]: name for name, fit in self._fits.items()}
        self.fixed = {native[path][0]: number for path, number in self._map.fixed.items()}
        first = self._map.layout == "channels_first"
        self._turned_in = first and len(graph.input_shape) == 3
        self._turned_out = first and len(graph.output_shape) == 3

    def build(self) -> nnx.Module:
        """Raises ``RunError`` where the code gives anything else."""
        return _built(self._spec)

    def check(self, abstract: nnx.Module) -> None:
        """Raise ``RunError`` where the map names a submodule that there is not."""
        for _ in self.natives(abstract):
            pass

    def native(self, name: str, array: np.ndarray) -> np.ndarray:
        return self._fits[name].native(array)

    def canonical(self, name: str, array: np.ndarray) -> np.ndarray:
        return self._fits[name].canonical(array)

    def outputs(self, module: Any, inputs: jax.Array) -> jax.Array:
        output: jax.Array = module(inputs.transpose(_FIRST) if self._turned_in else inputs)
        return output.transpose(_LAST) if self._turned_out else output

    def activations(self, module: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        found: dict[str, jax.Array] = {}
        with _watched({id(native): name for name, native in self.natives(module)}, module, found):
            outputs = self.outputs(module, inputs)
        turned = {name: self._turned(name, output) for name, output in found.items()}
        return {**turned, self._graph.layers[-1].name: outputs}

    def _turned(self, name: str, output: jax.Array) -> jax.Array:
        first = self._map.layers[name].layout == "channels_first"
        image = first and len(self._graph[name].shape) == 3 and output.ndim == 4
        return output.transpose(_LAST) if image else output

    def natives(self, module: Any) -> Iterator[tuple[str, Any]]:
        """Raises ``RunError`` for a path that leads to nothing that is called."""
        for name, each in self._map.layers.items():
            found = module
            for key in each.path.split("."):
                try:
                    found = found[int(key)] if key.isdigit() else getattr(found, key)
                except (AttributeError, LookupError, TypeError):
                    found = None
            if not callable(found):
                raise RunError(f"{self._shown}: layers: the module has no submodule '{each.path}'.")
            yield name, found


def _built(spec: RunSpec) -> nnx.Module:
    made = code.build(spec, rngs=Streams(dropout=spec.seed))
    if not isinstance(made, nnx.Module):
        assert spec.framework.code is not None
        raise RunError(
            f"{spec.framework.code.shown} gives a {type(made).__name__}, not a flax.nnx.Module."
        )
    return made


def native_variables(abstract: nnx.Module) -> dict[str, tuple[Path, Any]]:
    """Place and variable of all that holds fractions, by dotted path, without random streams."""
    return {
        ".".join(map(str, path)): (path, variable)
        for path, variable in nnx.to_flat_state(nnx.state(abstract))
        if not isinstance(variable, nnx.RngState) and jnp.issubdtype(variable.dtype, jnp.floating)
    }


def _shapes(native: Mapping[str, tuple[Path, Any]]) -> dict[str, Shape]:
    return {path: tuple(variable.shape) for path, (_, variable) in native.items()}


def _check(name: str, fit: Fit, variable: Any) -> None:
    if not fit.whole:
        raise UnsupportedError(f"'{name}': jax takes no rows of a variable, as of '{fit.path}'.")
    if isinstance(variable, nnx.Param) != fit.parameter.trainable:
        is_one = "is" if fit.parameter.trainable else "is not"
        raise RequestError(f"'{name}' {is_one} trained, '{fit.path}' is otherwise.")


@contextmanager
def _watched(wanted: Mapping[int, str], module: Any, found: dict[str, jax.Array]) -> Iterator[None]:
    """Keep what the wanted submodules, told by identity, return. NNX has no hooks, so their classes
    are given another ``__call__`` for as long as the module is traced."""
    natives = [node for _, node in nnx.iter_graph(module) if id(node) in wanted]
    calls = {cls: cls.__call__ for cls in map(type, natives)}

    def watching(call: Any) -> Any:
        @wraps(call)
        def watched(self: Any, *given: Any, **named: Any) -> Any:
            output = call(self, *given, **named)
            if id(self) in wanted:
                found[wanted[id(self)]] = output[0] if isinstance(output, tuple) else output
            return output

        return watched

    try:
        for cls, call in calls.items():
            cls.__call__ = watching(call)
        yield
    finally:
        for cls, call in calls.items():
            cls.__call__ = call


def customary(layer: Layer, parameter: Parameter) -> Sequence[Step]:
    """Flax's layouts are the canonical ones."""
    return []


def template(spec: RunSpec) -> Sequence[str]:
    """A weight map's part for the code of the spec, as far as it can be matched."""
    native = _shapes(native_variables(nnx.eval_shape(lambda: _built(spec))))
    return list(described(spec.model.graph, native, customary, "channels_last"))

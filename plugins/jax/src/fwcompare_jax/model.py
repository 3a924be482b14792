"""What the trainer needs of a model: the graph's layers here, code of the user's own in ``own``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

from fwcompare.plugin import Job
from fwcompare_jax import precision
from fwcompare_jax.layers import GraphModel, Path, canonical_names


class Model(Protocol):
    """A builder of NNX modules, and where canonical tensors are in their state."""

    #: Canonical names by place in the state.
    names: Mapping[Path, str]
    #: What is not trained, and the number that it is kept at, by place.
    fixed: Mapping[Path, float]

    def build(self) -> nnx.Module:
        """A module; its weights are those of its initialisers where anyone asks for them."""

    def check(self, abstract: nnx.Module) -> None:
        """Raise ``RunError`` where a module of shapes alone does not fit the graph."""

    def native(self, name: str, array: np.ndarray) -> np.ndarray:
        """A canonical array as the module has it."""

    def canonical(self, name: str, array: np.ndarray) -> np.ndarray:
        """An array laid out as the module's (a weight, its gradient, a slot), canonical."""

    def outputs(self, module: Any, inputs: jax.Array) -> jax.Array:
        """Outputs of a batch; images are channels last on either side."""

    def activations(self, module: Any, inputs: jax.Array) -> dict[str, jax.Array]:
        """Outputs by layer."""

    def natives(self, module: Any) -> Iterator[tuple[str, Any]]:
        """Layers and what computes each."""


class GraphLayers:
    """The layers of a graph as Flax's modules."""

    def __init__(self, job: Job) -> None:
        self._spec, self._graph = job.spec, job.graph
        self.names = canonical_names(job.graph)
        self.fixed: Mapping[Path, float] = {}
        self._shapes = {name: parameter.shape for name, parameter in job.graph.parameters()}

    def build(self) -> GraphModel:
        """Raises ``UnsupportedError`` for an unknown layer kind."""
        spec = self._spec
        dtype = precision.compute_dtype(spec)
        return GraphModel(self._graph, spec.aligned, spec.seed, spec.dtype, dtype)

    def check(self, abstract: nnx.Module) -> None:
        """Built from the graph, it fits."""

    def native(self, name: str, array: np.ndarray) -> np.ndarray:
        return array  # laid out alike, but for axes that are joined

    def canonical(self, name: str, array: np.ndarray) -> np.ndarray:
        return array.reshape(self._shapes[name])

    def outputs(self, module: GraphModel, inputs: jax.Array) -> jax.Array:
        return module(inputs)

    def activations(self, module: GraphModel, inputs: jax.Array) -> dict[str, jax.Array]:
        return module.activations(inputs)

    def natives(self, module: GraphModel) -> Iterator[tuple[str, Any]]:
        for layer, native in zip(self._graph.layers, module.layers, strict=True):
            yield layer.name, native

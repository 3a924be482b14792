"""A run's weights as a state that a Flax NNX module of the same names takes over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx, serialization

from fwcompare.graph import Layer, Weights
from fwcompare.graph.recurrent import Gru
from fwcompare.spec import RunSpec
from fwcompare_jax.layers import GraphModel, canonical_names

#: Modules of this plugin around Flax's own, which a user's module does not have.
_AROUND = ("native", "stack")


def nnx_state(spec: RunSpec, weights: Weights, path: Path) -> Sequence[str]:
    """Write the pure dict of a state as msgpack, its names those of the layers."""
    graph = spec.model.graph
    model = partial(GraphModel, graph, spec.aligned, spec.seed, spec.dtype, None)
    shapes = {
        place: leaf.shape
        for place, leaf in nnx.to_flat_state(nnx.state(nnx.eval_shape(model)))
        if not isinstance(leaf, nnx.RngState)
    }
    nested: dict[str, Any] = {}
    for place, name in canonical_names(graph).items():
        layer = graph.layers[place[1]]
        *within, last = [*layer.name.split("/"), *_own(layer, place[2:])]
        level = nested
        for key in within:
            level = level.setdefault(key, {})
        level[last] = np.asarray(weights[name]).reshape(shapes[place])
    path.write_bytes(serialization.msgpack_serialize(nested))
    return [
        "from flax import nnx, serialization",
        "# model: an nnx.Module whose attributes are called and built like these:",
        *_described(nested),
        *(
            ["# nnx.GRUCell has no recurrent_bias: it needs one of your own"]
            if any(isinstance(layer.kind, Gru) for layer in graph.layers)
            else []
        ),
        f"with open({str(path)!r}, 'rb') as file:",
        "    trained = serialization.msgpack_restore(file.read())",
        "state = nnx.state(model)",
        "nnx.replace_by_pure_dict(state, trained)",
        "nnx.update(model, state)",
        "model.eval()",
    ]


def _own(layer: Layer, place: Sequence[Any]) -> list[str]:
    """Where a tensor lives in Flax's own module; a stack of one is no stack."""
    keys = [key for key in place if key not in _AROUND]
    stacked = "stack" in place and layer.kind.options()["layers"] > 1
    return [str(key) for key in keys if stacked or not isinstance(key, int)]


def _described(nested: dict[str, Any], before: str = "") -> Sequence[str]:
    """Each module with its arrays, a comment a line."""
    arrays = {key: value for key, value in nested.items() if not isinstance(value, dict)}
    lines = []
    if arrays:
        shown = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items())
        lines.append(f"#   {before}: {shown}")
    for key, value in nested.items():
        if isinstance(value, dict):
            lines += _described(value, f"{before}.{key}" if before else key)
    return lines

"""A run's weights as a whole Keras model, which needs this plugin no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from fwcompare.errors import UnsupportedError
from fwcompare.graph import INPUT, TOKENS, Graph, Weights
from fwcompare.graph.embedding import Embedding
from fwcompare.spec import RunSpec
from fwcompare_keras import backends
from fwcompare_keras.float64 import set_precision
from fwcompare_keras.layers import Style
from fwcompare_keras.network import Network, to_numpy

#: Samples on which the file is tried, and the difference that is accepted, by type.
_SAMPLES = 4
_TOLERANCE = {"float32": 1e-5, "float64": 1e-7}


def whole_model(spec: RunSpec, weights: Weights, path: Path) -> Sequence[str]:
    """Write a ``.keras`` file, load it again, and hold it against the model that was trained.

    Raises:
        UnsupportedError: what is loaded gives other outputs.
    """
    backends.load().prepare(spec)
    set_precision(spec.precision)
    graph = spec.model.graph
    trained = Network(graph, Style(spec.aligned, spec.dtype.name, spec.seed))
    leaving = Network(graph, Style(spec.aligned, spec.dtype.name, spec.seed, portable=True))
    for network in (trained, leaving):
        network.load(weights)
    leaving.model.save(path)
    loaded = keras.saving.load_model(path)
    inputs = _inputs(graph, spec.dtype)
    expected, found = (to_numpy(model(inputs)) for model in (trained.model, loaded))
    scale = max(float(np.abs(expected).max()), 1.0)
    difference = float(np.abs(found - expected).max()) / scale
    if not difference <= _TOLERANCE[spec.dtype.name]:
        raise UnsupportedError(
            f"The saved model gives other outputs than the trained one (by {difference:.1e})."
        )
    return [
        "import keras",
        f"model = keras.saving.load_model({str(path)!r})",
        f"outputs = model.predict(inputs)  # inputs {_shown(graph)}",
    ]


def _inputs(graph: Graph, dtype: np.dtype) -> np.ndarray:
    """Samples at random that the model takes."""
    random = np.random.default_rng(0)
    shape = (_SAMPLES, *graph.input_shape)
    if graph.input_type != TOKENS:
        return random.normal(size=shape).astype(dtype)
    tables = [
        layer.kind.tokens
        for layer in graph.layers
        if isinstance(layer.kind, Embedding) and INPUT in layer.inputs
    ]
    return random.integers(0, min(tables, default=1), shape).astype(np.int32)


def _shown(graph: Graph) -> str:
    what = "of token ids" if graph.input_type == TOKENS else "as in training"
    return f"({', '.join(['n', *map(str, graph.input_shape)])}), {what}"

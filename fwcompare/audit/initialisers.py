"""Which initialiser drew some weights: told from the weights themselves.

A framework keeps its initialiser in an attribute, in a closure or in the body of a method; the
numbers that it draws are there in every one. A kernel's variance is c / fan, where fan is the
number of inputs of an output, of outputs of an input, or their mean (Glorot and Bengio, 2010; He et
al., 2015); the fourth moment tells the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fwcompare.graph import Graph, Weights
from fwcompare.graph.attention import MultiHeadAttention

#: Fourth moment over the squared variance of each distribution; ``truncated normal`` at two sigma.
KURTOSIS = {"uniform": 1.8, "truncated normal": 2.37, "normal": 3.0}

#: Variances in use, as c / fan; c is named where that reads better than its digits.
SCHEMES: tuple[tuple[float, str, str], ...] = (
    (1 / 3, "fan_in", "1/(3 fan_in)"),
    (1.0, "fan_in", "1/fan_in"),
    (2.0, "fan_in", "2/fan_in"),
    (1.0, "fan_avg", "1/fan_avg"),
    (1.0, "fan_out", "1/fan_out"),
    (2.0, "fan_out", "2/fan_out"),
)

#: A scheme is named if the variances fit it to within so many standard errors.
LARGEST_DEVIATION = 4.0

Fans = Callable[[tuple[int, ...]], dict[str, float]]


def fans(shape: tuple[int, ...]) -> dict[str, float]:
    """Fans of a canonical kernel (..., in, out)."""
    field = math.prod(shape[:-2])
    inside, outside = float(field * shape[-2]), float(field * shape[-1])
    return {"fan_in": inside, "fan_out": outside, "fan_avg": (inside + outside) / 2}


def describe(drawn: Weights, graph: Graph) -> dict[str, Any]:
    """The initialisers of the kernels, biases and embeddings that a new model drew, in words."""
    kernels, biases, embeddings = [], [], []
    for layer in graph.layers:
        shapes = {p.name: p for p in layer.parameters}
        kernel = next((p for p in layer.parameters if p.role == "kernel"), None)
        if kernel is None:
            continue
        weights = drawn[f"{layer.name}/{kernel.name}"]
        if kernel.name == "embeddings":
            embeddings.append((weights, fans((kernel.fan_in, kernel.fan_out))))
            continue
        by_heads = isinstance(layer.kind, MultiHeadAttention)
        own = fans((kernel.fan_in, kernel.fan_out) if by_heads else kernel.shape)
        kernels.append((weights, own))
        if "bias" in shapes:
            biases.append((drawn[f"{layer.name}/bias"], own))
    found = {}
    if kernels:
        found["kernel"] = in_words(kernels)
    if biases:
        found["bias"] = in_words(biases)
    if embeddings:
        found["embedding"] = in_words(embeddings)
    return found


def in_words(tensors: Sequence[tuple[np.ndarray, Mapping[str, float]]]) -> str:
    """Distribution and variance of tensors that one initialiser drew, each with its fans.

    Variances are told from all tensors together; where none in use fits, their own is given.
    """
    flat = [(array.astype(np.float64).ravel(), fan) for array, fan in tensors]
    if not any(array.any() for array, _ in flat):
        return "zeros"
    if all(np.ptp(array) == 0 for array, _ in flat):
        return f"constant {flat[0][0][0]:g}"
    distribution = _distribution([array for array, _ in flat])
    spread = math.sqrt(KURTOSIS[distribution] - 1)

    def deviation(scheme: tuple[float, str, str]) -> float:
        """Root mean square of the relative errors of the variances, in standard errors."""
        scale, fan, _ = scheme
        errors = [
            ((array**2).mean() * f[fan] / scale - 1) * math.sqrt(len(array)) / spread
            for array, f in flat
        ]
        return math.sqrt(sum(e * e for e in errors) / len(errors))

    best = min(SCHEMES, key=deviation)
    if deviation(best) <= LARGEST_DEVIATION:
        return f"{distribution}, variance {best[2]}"
    total = sum(len(array) for array, _ in flat)
    deviations = math.sqrt(sum(float((array**2).sum()) for array, _ in flat) / total)
    return f"{distribution}, standard deviation {deviations:.2g}"


def _distribution(arrays: Sequence[np.ndarray]) -> str:
    """The distribution whose kurtosis is nearest to that of the tensors, each at its own scale."""
    scaled = np.concatenate([a / math.sqrt((a**2).mean()) for a in arrays if a.any()])
    kurtosis = float((scaled**4).mean())
    return min(KURTOSIS, key=lambda name: abs(KURTOSIS[name] - kurtosis))

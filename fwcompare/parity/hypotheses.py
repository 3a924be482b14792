"""What a layer would give under a known error, in NumPy, to find the one that explains a trace.

A difference says where two engines depart; which error it is shows when one of these reproduces
what the engine gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fwcompare.graph import Layer, Weights
from fwcompare.graph.kinds import same_padding
from fwcompare.parity.ladder import relative_norm

#: A hypothesis holds if it leaves less than this share of the difference unexplained.
UNEXPLAINED = 1e-3

Sides = Sequence[tuple[int, int]]
Hypotheses = Iterator[tuple[str, np.ndarray]]


def explains(hypothesis: np.ndarray, expected: np.ndarray, found: np.ndarray) -> bool:
    """Whether a hypothesis reproduces ``found``, up to a small part of the difference."""
    if hypothesis.shape != found.shape or found.shape != expected.shape:
        return False
    difference = float(np.linalg.norm((found - expected).ravel()))
    left = float(np.linalg.norm((found - hypothesis).ravel()))
    return difference > 0 and left <= UNEXPLAINED * difference


def explain(
    layer: Layer,
    inputs: Sequence[np.ndarray],
    weights: Mapping[str, np.ndarray],
    expected: np.ndarray,
    found: np.ndarray,
    training: bool,
) -> str | None:
    """The error that explains a layer's output, in words; None if no known one does.

    ``inputs`` are the layer's inputs (n, ...), ``weights`` its own tensors by their short names.
    """
    makers = {
        "conv2d": _conv2d,
        "max_pool2d": _pool2d,
        "avg_pool2d": _pool2d,
        "flatten": _reshape,
        "reshape": _reshape,
        "dense": _dense,
        "activation": _activation,
        "batch_norm": _norm,
        "layer_norm": _norm,
        "dropout": _dropout,
    }
    if layer.kind.kind not in makers or found.shape != expected.shape:
        return None
    for words, hypothesis in makers[layer.kind.kind](
        layer, inputs[0], dict(weights), expected, found, training
    ):
        if explains(hypothesis, expected, found):
            return words
    return None


def _windows(
    x: np.ndarray, size: Sequence[int], stride: Sequence[int], sides: Sides, fill: float
) -> np.ndarray:
    """Every window of images (n, h, w, c), padded: (n, rows, columns, c, *size)."""
    padded = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=fill)
    whole = np.lib.stride_tricks.sliding_window_view(padded, tuple(size), axis=(1, 2))
    return whole[:, :: stride[0], :: stride[1]]


def _sides(layer: Layer, size: Sequence[int], symmetric: bool) -> Sides:
    """Padding of height and width: exact, or ``size // 2`` on both sides."""
    kind: Any = layer.kind
    if kind.padding == "valid":
        return (0, 0), (0, 0)
    if symmetric:
        return (size[0] // 2, size[0] // 2), (size[1] // 2, size[1] // 2)
    shape = layer.input_shapes[0]
    return tuple(same_padding(shape[axis], size[axis], kind.stride[axis]) for axis in (0, 1))


def _convolved(
    layer: Layer, x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float, symmetric: bool
) -> np.ndarray:
    kind: Any = layer.kind
    size = kernel.shape[:2]
    found = _windows(x, size, kind.stride, _sides(layer, size, symmetric), 0.0)
    parts = zip(
        np.split(found, kind.groups, axis=3), np.split(kernel, kind.groups, axis=3), strict=True
    )
    joined: np.ndarray = np.concatenate(
        [np.einsum("nhwcij,ijco->nhwo", window, part) for window, part in parts], axis=3
    )
    return joined + bias


def _conv2d(
    layer: Layer, x: np.ndarray, weights: Weights, expected: np.ndarray, *_: Any
) -> Hypotheses:
    kernel, bias = weights["kernel"], weights.get("bias", 0.0)
    yield (
        "padding of both sides alike where 'same' asks for the odd cell after",
        _convolved(layer, x, kernel, bias, True),
    )
    if kernel.shape[0] == kernel.shape[1]:
        swapped = kernel.swapaxes(0, 1)
        yield "a kernel with height and width swapped", _convolved(layer, x, swapped, bias, False)
    yield (
        "a kernel that is flipped: a convolution for a cross-correlation",
        _convolved(layer, x, kernel[::-1, ::-1], bias, False),
    )
    if kernel.shape[2] == kernel.shape[3]:
        swapped = kernel.swapaxes(2, 3)
        yield "a kernel with inputs and outputs swapped", _convolved(layer, x, swapped, bias, False)
    yield "a bias that is left out", expected - bias


def _pool2d(layer: Layer, x: np.ndarray, *_: Any) -> Hypotheses:
    kind: Any = layer.kind
    size, axes = kind.pool_size, (-2, -1)

    def windows(x: np.ndarray, symmetric: bool, fill: float) -> np.ndarray:
        return _windows(x, size, kind.stride, _sides(layer, size, symmetric), fill)

    if kind.kind == "max_pool2d":
        yield "padding counts as zero", windows(x, False, 0.0).max(axes)
        yield "padding of both sides alike", windows(x, True, -np.inf).max(axes)
        yield "padding of both sides alike that counts as zero", windows(x, True, 0.0).max(axes)
        return
    yield "padding is counted in the mean", windows(x, False, 0.0).mean(axes)
    total, count = windows(x, True, 0.0).sum(axes), windows(np.ones_like(x), True, 0.0).sum(axes)
    yield "padding of both sides alike", total / np.maximum(count, 1)
    yield "padding of both sides alike that is counted in the mean", total / (size[0] * size[1])


def _reshape(layer: Layer, x: np.ndarray, *_: Any) -> Hypotheses:
    if x.ndim == 4:
        turned = x.transpose(0, 3, 1, 2).reshape(len(x), *layer.shape)
        yield "channels before height and width, where height, width, channel is meant", turned


def _dense(
    layer: Layer, x: np.ndarray, weights: Weights, expected: np.ndarray, *_: Any
) -> Hypotheses:
    kernel, bias = weights["kernel"], weights.get("bias", 0.0)
    if kernel.shape[0] == kernel.shape[1]:
        yield "a kernel with inputs and outputs swapped", x @ kernel.T + bias
    yield "a bias that is left out", expected - bias


def _activation(
    layer: Layer,
    x: np.ndarray,
    weights: Weights,
    expected: np.ndarray,
    found: np.ndarray,
    training: bool,
) -> Hypotheses:
    kind: Any = layer.kind
    if kind.function == "gelu":
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        yield "the tanh form of gelu, where the exact one is meant", 0.5 * x * (1 + np.tanh(inner))
    below = x < 0
    if kind.function in ("leaky_relu", "elu") and below.any():
        unit = x if kind.function == "leaky_relu" else np.expm1(np.minimum(x, 0))
        slope = float(np.median(found[below] / unit[below]))
        word = "slope" if kind.function == "leaky_relu" else "scale"
        yield (
            f"a {word} of {slope:.6g}, {kind.alpha:g} is meant",
            np.where(below, slope * unit, x),
        )


def _norm(
    layer: Layer,
    x: np.ndarray,
    weights: Weights,
    expected: np.ndarray,
    found: np.ndarray,
    training: bool,
) -> Hypotheses:
    kind: Any = layer.kind
    gamma, beta = weights["gamma"], weights["beta"]
    axes = tuple(range(x.ndim - 1)) if kind.kind == "batch_norm" else (-1,)
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    count = x.size // mean.size
    if kind.kind == "batch_norm" and not training:
        mean, variance = weights["moving_mean"], weights["moving_variance"]
    centred = x - mean

    def normalised(variance: np.ndarray, epsilon: float) -> np.ndarray:
        return np.asarray(centred / np.sqrt(variance + epsilon))

    right = normalised(variance, kind.epsilon)
    yield "gamma and beta swapped", right * beta + gamma
    if count > 1:
        unbiased = variance * (count / (count - 1))
        yield "the unbiased variance", normalised(unbiased, kind.epsilon) * gamma + beta
    yield "epsilon beside the root", centred / (np.sqrt(variance) + kind.epsilon) * gamma + beta
    # found = gamma * centred / sqrt(variance + epsilon) + beta, solved where it is well conditioned
    scaled = (found - beta) * np.ones_like(x)
    usable = np.abs(scaled) > 0.1 * np.abs(scaled).max()
    with np.errstate(divide="ignore", invalid="ignore"):
        solved = ((gamma * centred) / scaled) ** 2 - variance
    epsilon = float(np.median(solved[usable])) if usable.any() else 0.0
    if np.isfinite(epsilon) and epsilon + float(variance.min()) > 0:
        words = f"epsilon is {_rounded(epsilon)}, {kind.epsilon:g} is meant"
        yield words, normalised(variance, epsilon) * gamma + beta


def _dropout(
    layer: Layer,
    x: np.ndarray,
    weights: Weights,
    expected: np.ndarray,
    found: np.ndarray,
    training: bool,
) -> Hypotheses:
    dropped = float(np.mean((found == 0) & (x != 0)))
    if dropped:
        words = f"dropout is on: a share of {dropped:.2g} is zero, a rate of 0 is meant"
        yield words, np.where(found == 0, 0.0, x / (1 - _rate(x, found)))


def _rate(x: np.ndarray, found: np.ndarray) -> float:
    """The rate that the scale of the kept values tells."""
    kept = (found != 0) & (x != 0)
    return 1 - float(np.median(x[kept] / found[kept])) if kept.any() else 0.0


def _rounded(value: float) -> str:
    """Four digits: a number that was solved for carries rounding."""
    return f"{value:.4g}"


def imported(
    name: str, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> str | None:
    """What explains a tensor that differs before any step was made."""
    right, wrong = expected[name], found[name]
    layer, _, parameter = name.rpartition("/")
    other = {"gamma": "beta", "beta": "gamma"}.get(parameter)
    if other and relative_norm(expected[f"{layer}/{other}"], wrong) < UNEXPLAINED:
        return "gamma and beta swapped"
    if right.ndim == 4 and explains(right.swapaxes(0, 1), right, wrong):
        return "height and width swapped"
    if right.ndim >= 2 and explains(right.swapaxes(-1, -2), right, wrong):
        return "inputs and outputs swapped"
    if not wrong.any():
        return "it was not imported: it is zero"
    return None

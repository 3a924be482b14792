"""What a layer would give under a known error, in NumPy, to find the one that explains a trace.

A difference says where two engines depart; which error it is shows when one of these reproduces
what the engine gave.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fwcompare import metrics
from fwcompare.graph import Layer, Weights
from fwcompare.graph.windows import extent, padding_sides
from fwcompare.parity import masking
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
    if layer.kind.masked and found.shape == expected.shape:
        for words, hypothesis in masking.hypotheses(layer, inputs, weights):
            if explains(hypothesis, expected, found):
                return words
    makers = {
        "conv1d": _convolution,
        "conv2d": _convolution,
        "depthwise_conv2d": _convolution,
        "conv2d_transpose": _transposed,
        "max_pool1d": _pooling,
        "avg_pool1d": _pooling,
        "max_pool2d": _pooling,
        "avg_pool2d": _pooling,
        "flatten": _reshape,
        "reshape": _reshape,
        "dense": _dense,
        "activation": _activation,
        "batch_norm": _norm,
        "layer_norm": _norm,
        "group_norm": _norm,
        "rms_norm": _norm,
        "dropout": _dropout,
        "padding_mask": _padding_mask,
    }
    if layer.kind.kind not in makers or found.shape != expected.shape:
        return None
    for words, hypothesis in makers[layer.kind.kind](
        layer, inputs[0], dict(weights), expected, found, training
    ):
        if explains(hypothesis, expected, found):
            return words
    return None


def explain_loss(
    name: str, outputs: np.ndarray, targets: np.ndarray, expected: float, found: float
) -> str | None:
    """The error that explains the loss of a batch, in words; None if no known one does.

    ``outputs`` are the model's (n, ...), ``targets`` what they are held against.
    """
    for words, hypothesis in _losses(name, outputs, targets, expected):
        if math.isclose(hypothesis, found, rel_tol=1e-6):
            return words
    return None


def _losses(
    name: str, outputs: np.ndarray, targets: np.ndarray, expected: float
) -> Iterator[tuple[str, float]]:
    batch, each = len(targets), targets.size // len(targets)
    yield "a sum over the batch, where the mean is meant", batch * expected
    if each > 1:
        what = "labels" if name == "binary_cross_entropy" else "a sample's elements"
        yield f"a sum over {what}, where the mean is meant", each * expected
        yield f"a sum over {what} and the batch, where the mean is meant", targets.size * expected
    if name == "mse":
        yield "half the squared error", expected / 2
        return
    if name == "binary_cross_entropy":
        probabilities = np.exp(-np.logaddexp(0, -outputs))
    else:
        powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        probabilities = powers / powers.sum(axis=-1, keepdims=True)
    yield "probabilities taken for logits", metrics.loss(name, probabilities, targets)


def _windows(
    x: np.ndarray,
    size: Sequence[int],
    stride: Sequence[int],
    sides: Sides,
    fill: float,
    dilation: Sequence[int] = (),
) -> np.ndarray:
    """Every window of samples (n, *axes, c), padded: (n, *outputs, c, *size)."""
    steps = tuple(dilation) or (1,) * len(size)
    axes = tuple(range(1, len(size) + 1))
    padded = np.pad(x, ((0, 0), *sides, (0, 0)), constant_values=fill)
    whole = np.lib.stride_tricks.sliding_window_view(padded, extent(size, steps), axis=axes)
    every = [slice(None, None, step) for step in stride]
    within = [slice(None, None, step) for step in steps]
    return whole[(slice(None), *every, slice(None), *within)]


def _sides(layer: Layer, size: Sequence[int], symmetric: bool) -> Sides:
    """Padding of each axis: exact, or ``size // 2`` on both sides; ``size`` is the extent."""
    kind: Any = layer.kind
    if symmetric and kind.padding == "same":
        return tuple((cells // 2, cells // 2) for cells in size)
    return padding_sides(kind.padding, layer.input_shapes[0][:-1], size, kind.stride)


def _convolved(
    layer: Layer, x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float, symmetric: bool
) -> np.ndarray:
    kind: Any = layer.kind
    size = kernel.shape[:-2]
    sides = _sides(layer, extent(size, kind.dilation), symmetric)
    found = _windows(x, size, kind.stride, sides, 0.0, kind.dilation)
    channels = len(size) + 1
    if kind.kind == "depthwise_conv2d":
        each: np.ndarray = np.einsum("nhwcij,ijcm->nhwcm", found, kernel)
        return each.reshape(*each.shape[:-2], -1) + bias
    parts = zip(
        np.split(found, kind.groups, axis=channels),
        np.split(kernel, kind.groups, axis=-1),
        strict=True,
    )
    over = (channels, *range(channels + 1, channels + 1 + len(size)))
    against = (len(size), *range(len(size)))
    joined: np.ndarray = np.concatenate(
        [np.tensordot(window, part, axes=(over, against)) for window, part in parts], axis=-1
    )
    return joined + bias


def _convolution(
    layer: Layer, x: np.ndarray, weights: Weights, expected: np.ndarray, *_: Any
) -> Hypotheses:
    kernel, bias = weights["kernel"], weights.get("bias", 0.0)
    rank = kernel.ndim - 2
    yield (
        "padding of both sides alike where 'same' asks for the odd cell after",
        _convolved(layer, x, kernel, bias, True),
    )
    if rank == 2 and kernel.shape[0] == kernel.shape[1]:
        swapped = kernel.swapaxes(0, 1)
        yield "a kernel with height and width swapped", _convolved(layer, x, swapped, bias, False)
    yield (
        "a kernel that is flipped: a convolution for a cross-correlation",
        _convolved(layer, x, np.flip(kernel, tuple(range(rank))), bias, False),
    )
    if layer.kind.kind == "depthwise_conv2d":
        turned = kernel.swapaxes(-1, -2).reshape(kernel.shape)
        yield (
            "a kernel with the multiplier before the channel",
            _convolved(layer, x, turned, bias, False),
        )
    elif kernel.shape[-2] == kernel.shape[-1]:
        swapped = kernel.swapaxes(-1, -2)
        yield "a kernel with inputs and outputs swapped", _convolved(layer, x, swapped, bias, False)
    yield "a bias that is left out", expected - bias


def _spread(layer: Layer, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A transposed convolution with nothing cut off: (n, rows, columns, out)."""
    kind: Any = layer.kind
    (height, width), stride = x.shape[1:3], kind.stride
    size = [n * s + more for n, s, more in zip((height, width), stride, kind.surplus, strict=True)]
    whole = np.zeros((len(x), *size, kernel.shape[2]))
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            rows = slice(row, row + (height - 1) * stride[0] + 1, stride[0])
            columns = slice(column, column + (width - 1) * stride[1] + 1, stride[1])
            whole[:, rows, columns] += x @ kernel[row, column].T
    return whole


def _transposed(
    layer: Layer, x: np.ndarray, weights: Weights, expected: np.ndarray, *_: Any
) -> Hypotheses:
    kernel, bias = weights["kernel"], weights.get("bias", 0.0)
    rows, columns = expected.shape[1:3]

    def cut(kernel: np.ndarray, odd: int) -> np.ndarray:
        whole = _spread(layer, x, kernel)
        top, left = (whole.shape[1] - rows + odd) // 2, (whole.shape[2] - columns + odd) // 2
        return whole[:, top : top + rows, left : left + columns] + bias

    yield "the odd cell cut off before, where after is meant", cut(kernel, 1)
    yield "a kernel that is flipped", cut(kernel[::-1, ::-1], 0)
    if kernel.shape[2] == kernel.shape[3]:
        yield "a kernel with inputs and outputs swapped", cut(kernel.swapaxes(2, 3), 0)
    yield "a bias that is left out", expected - bias


def _pooling(layer: Layer, x: np.ndarray, *_: Any) -> Hypotheses:
    kind: Any = layer.kind
    size, axes = kind.pool_size, tuple(range(-len(kind.pool_size), 0))

    def windows(x: np.ndarray, symmetric: bool, fill: float) -> np.ndarray:
        return _windows(x, size, kind.stride, _sides(layer, size, symmetric), fill)

    if kind.kind.startswith("max"):
        yield "padding counts as zero", windows(x, False, 0.0).max(axes)
        yield "padding of both sides alike", windows(x, True, -np.inf).max(axes)
        yield "padding of both sides alike that counts as zero", windows(x, True, 0.0).max(axes)
        return
    yield "padding is counted in the mean", windows(x, False, 0.0).mean(axes)
    total, count = windows(x, True, 0.0).sum(axes), windows(np.ones_like(x), True, 0.0).sum(axes)
    yield "padding of both sides alike", total / np.maximum(count, 1)
    yield "padding of both sides alike that is counted in the mean", total / math.prod(size)


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
    gamma, beta = weights["gamma"], weights.get("beta", np.zeros(()))
    mean, variance, count = _moments(kind, x)
    if kind.kind == "batch_norm" and not training:
        mean, variance = weights["moving_mean"], weights["moving_variance"]
    centred = x - mean

    def normalised(variance: np.ndarray, epsilon: float) -> np.ndarray:
        return np.asarray(centred / np.sqrt(variance + epsilon))

    if "beta" in weights:
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


def _moments(kind: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """What a norm takes away and divides by the root of, and of how many numbers each is."""
    if kind.kind == "rms_norm":
        return np.zeros(()), np.mean(x**2, -1, keepdims=True), x.shape[-1]
    if kind.kind == "group_norm":
        size = x.shape[-1] // kind.groups
        groups = x.reshape(len(x), -1, kind.groups, size)
        around = (len(x), *(1,) * (x.ndim - 2), x.shape[-1])
        mean, variance = (
            np.repeat(found, size, axis=-1).reshape(around)
            for found in (groups.mean((1, 3)), groups.var((1, 3)))
        )
        return mean, variance, groups.shape[1] * size
    axes = tuple(range(x.ndim - 1)) if kind.kind == "batch_norm" else (-1,)
    mean = x.mean(axes, keepdims=True)
    return mean, x.var(axes, keepdims=True), x.size // mean.size


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


def _padding_mask(layer: Layer, x: np.ndarray, *_: Any) -> Hypotheses:
    kind: Any = layer.kind
    yield "true where there is padding, the other sense", (x == kind.padding).astype(x.dtype)


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

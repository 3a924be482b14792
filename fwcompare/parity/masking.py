"""What layers that take a mask would give if they took it wrongly, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fwcompare.graph import Layer
from fwcompare.graph.recurrent import Recurrent

Tensors = Mapping[str, np.ndarray]
Hypotheses = Iterator[tuple[str, np.ndarray]]

_OVERLOOKED = "the mask is not looked at: padding counts"
_INVERTED = "the mask in the other sense: padding counts, and real steps do not"


def hypotheses(layer: Layer, inputs: Sequence[np.ndarray], weights: Tensors) -> Hypotheses:
    """Known errors of a masked layer, each with what it would give; ``inputs`` end in the mask."""
    *data, given = inputs
    mask = given.astype(bool)
    kind: Any = layer.kind
    if isinstance(kind, Recurrent):
        lengths, whole = mask.sum(1), np.full(len(mask), mask.shape[1])
        yield _OVERLOOKED, recurrent(kind, data[0], weights, whole, whole)
        if kind.bidirectional:
            yield (
                "the backward direction begins in the padding",
                recurrent(kind, data[0], weights, lengths, whole),
            )
        return
    compute = _COMPUTE[kind.kind]
    yield _OVERLOOKED, compute(kind, data, weights, np.ones_like(mask))
    if kind.kind == "multi_head_attention" or not mask.all(axis=1).any():
        # Over no step at all there is no mean.
        yield _INVERTED, compute(kind, data, weights, ~mask)


def _mean(kind: Any, data: Sequence[np.ndarray], weights: Tensors, mask: np.ndarray) -> np.ndarray:
    found: np.ndarray = data[0].mean(axis=1, where=mask[..., np.newaxis])
    return found


def _peak(kind: Any, data: Sequence[np.ndarray], weights: Tensors, mask: np.ndarray) -> np.ndarray:
    found: np.ndarray = data[0].max(axis=1, where=mask[..., np.newaxis], initial=-np.inf)
    return found


def attention(
    kind: Any, data: Sequence[np.ndarray], weights: Tensors, mask: np.ndarray
) -> np.ndarray:
    """Attention of ``data[0]`` to the steps of ``data[-1]`` that the mask (n, steps) shows."""

    def by_head(x: np.ndarray, name: str) -> np.ndarray:
        found: np.ndarray = np.einsum("nsf,fhe->nhse", x, weights[f"{name}/kernel"])
        return found + weights[f"{name}/bias"][:, np.newaxis] if kind.bias else found

    query, key = by_head(data[0], "query"), by_head(data[-1], "key")
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    seen = mask[:, np.newaxis, np.newaxis, :]
    if kind.causal:
        seen = seen & np.tri(mask.shape[1], dtype=bool)
    scores = np.where(seen, scores, -np.inf)
    # A step that sees nothing gets zeros, as PyTorch's kernel gives them.
    largest = scores.max(axis=-1, keepdims=True)
    shares = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    shares /= np.maximum(shares.sum(axis=-1, keepdims=True), np.finfo(np.float64).tiny)
    heads = shares @ by_head(data[-1], "value")
    joined: np.ndarray = np.einsum("nhse,hef->nsf", heads, weights["output/kernel"])
    return joined + weights.get("output/bias", 0.0)


_COMPUTE: dict[str, Callable[..., np.ndarray]] = {
    "global_avg_pool1d": _mean,
    "global_max_pool1d": _peak,
    "multi_head_attention": attention,
}


def recurrent(
    kind: Recurrent, x: np.ndarray, weights: Tensors, forward: np.ndarray, backward: np.ndarray
) -> np.ndarray:
    """A recurrent layer over ``x`` (n, steps, features), with the number of steps that each
    direction reads of each sample; what it gives behind the steps forward is zero."""
    real = np.arange(x.shape[1]) < forward[:, np.newaxis]
    outputs, ends = x, list[np.ndarray]()
    for layer in range(kind.layers):
        both, ends = [], []
        for way in kind.directions(x.shape[-1]):
            if way.layer != layer:
                continue
            lengths = backward if way.backward else forward
            order = _order(lengths, x.shape[1], way.backward)
            read = np.take_along_axis(outputs, order[..., np.newaxis], axis=1)
            found, end = _pass(kind, read, weights, way.prefix, lengths)
            both.append(np.take_along_axis(found, order[..., np.newaxis], axis=1))
            ends.append(end)
        outputs = np.concatenate(both, axis=-1)
    if kind.returns == "all":
        return outputs * real[..., np.newaxis]
    return np.concatenate(ends, axis=-1)


def _order(lengths: np.ndarray, steps: int, backward: bool) -> np.ndarray:
    """The order in which steps are read (n, steps); those behind a sample's length stay where they
    are. It is its own inverse."""
    order = np.broadcast_to(np.arange(steps), (len(lengths), steps))
    if not backward:
        return order
    ends = lengths[:, np.newaxis]
    return np.where(order < ends, ends - 1 - order, order)


def _pass(
    kind: Recurrent, x: np.ndarray, weights: Tensors, prefix: str, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of every step, and the state at each sample's end."""
    kernel, bias = weights[f"{prefix}kernel"], weights[f"{prefix}bias"]
    recurrent_kernel = weights[f"{prefix}recurrent_kernel"]
    state = cell = np.zeros((len(x), kind.units))
    outputs = []
    for step in range(x.shape[1]):
        reads, recalls = x[:, step] @ kernel + bias, state @ recurrent_kernel
        if kind.kind == "lstm":
            i, f, g, o = np.split(reads + recalls, 4, axis=-1)
            after_cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(g)
            after = _sigmoid(o) * np.tanh(after_cell)
        else:
            read_r, read_z, read_n = np.split(reads, 3, axis=-1)
            r, z, n = np.split(recalls, 3, axis=-1)
            reset = _sigmoid(read_r + r) * (n + weights[f"{prefix}recurrent_bias"])
            kept = _sigmoid(read_z + z)
            after, after_cell = (1 - kept) * np.tanh(read_n + reset) + kept * state, cell
        counts = (step < lengths)[:, np.newaxis]
        state, cell = np.where(counts, after, state), np.where(counts, after_cell, cell)
        outputs.append(after)
    return np.stack(outputs, axis=1), state


def _sigmoid(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / (1 + np.exp(-x))
    return found

"""Recurrent layers by Flax's own cells, scanned over the steps by ``nnx.RNN``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fwcompare.graph import Layer
from fwcompare.graph.recurrent import Gru, Lstm
from fwcompare.graph.recurrent import Recurrent as RecurrentKind

#: Where a canonical tensor lives in a cell.
_PATHS: dict[str, dict[str, tuple[str, ...]]] = {
    "lstm": {
        "kernel": ("dense_i", "kernel"),
        "recurrent_kernel": ("dense_h", "kernel"),
        "bias": ("dense_h", "bias"),
    },
    "gru": {
        "kernel": ("dense_i", "kernel"),
        "bias": ("dense_i", "bias"),
        "recurrent_kernel": ("dense_h", "kernel"),
        "recurrent_bias": ("recurrent_bias",),
    },
}


class GruCell(nnx.GRUCell):
    """Flax's cell with the second bias of the candidate, which its documentation has and its code
    has not."""

    def __init__(self, in_features: int, hidden_features: int, **options: Any) -> None:
        super().__init__(in_features, hidden_features, **options)
        self.recurrent_bias = nnx.Param(jnp.zeros(hidden_features, self.param_dtype))

    def __call__(self, carry: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        reads, recalls = self.dense_i(inputs), self.dense_h(carry)
        read_r, read_z, read_n = jnp.split(reads, 3, axis=-1)
        recall_r, recall_z, recall_n = jnp.split(recalls, 3, axis=-1)
        r = self.gate_fn(read_r + recall_r)
        z = self.gate_fn(read_z + recall_z)
        bias = self.recurrent_bias[...].astype(recall_n.dtype)
        n = self.activation_fn(read_n + r * (recall_n + bias))
        state = (1.0 - z) * n + z * carry
        return state, state


_CELLS: dict[str, Any] = {"lstm": nnx.OptimizedLSTMCell, "gru": GruCell}


class Recurrent(nnx.Module):
    """A stack of ``nnx.RNN`` or ``nnx.Bidirectional`` over samples (n, steps, features)."""

    def __init__(self, kind: Lstm | Gru, layer: Layer, context: Any) -> None:
        self.kind = kind
        ways = [
            nnx.RNN(
                _CELLS[kind.kind](
                    way.features,
                    kind.units,
                    dtype=context.dtype,
                    param_dtype=context.param_dtype,
                    rngs=context.rngs,
                ),
                rngs=False,
            )
            for way in kind.directions(layer.input_shapes[0][-1])
        ]
        if kind.bidirectional:
            pairs = zip(ways[::2], ways[1::2], strict=True)
            ways = [nnx.Bidirectional(*pair, rngs=False) for pair in pairs]
        self.stack = nnx.List(ways)

    def __call__(self, inputs: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        kind = self.kind
        lengths = None if mask is None else mask.sum(axis=1)
        # Flax draws the first state, though it be zero, and asks for a random stream to do so.
        # It has the type of the weights, in which a sum over many steps is kept.
        start: Any = jnp.zeros((len(inputs), kind.units), self.cell.param_dtype)
        if isinstance(kind, Lstm):
            start = (start, start)
        if kind.bidirectional:
            start = (start, start)
        outputs = inputs
        for layer in self.stack:
            outputs = layer(outputs, initial_carry=start, seq_lengths=lengths)
        if kind.returns == "all":
            # Flax goes on behind the end, with whatever is there.
            return outputs if mask is None else outputs * mask[..., jnp.newaxis]
        last = outputs[:, -1] if mask is None else _at_end(outputs, lengths)
        if not kind.bidirectional:
            return last
        forward, backward = last[:, : kind.units], outputs[:, 0, kind.units :]
        return jnp.concatenate([forward, backward], axis=-1)

    @property
    def cell(self) -> Any:
        """The cell of the first layer, forward."""
        first = self.stack[0]
        return (first.forward_rnn if self.kind.bidirectional else first).cell


def _at_end(outputs: jax.Array, lengths: jax.Array) -> jax.Array:
    """The output of each sample at its last real step."""
    return outputs[jnp.arange(len(outputs)), lengths - 1]


def path(kind: RecurrentKind, name: str) -> tuple[Any, ...]:
    """Where a tensor lives in a layer's state, by a name such as ``1/backward/kernel``."""
    *way, tensor = name.split("/")
    layer = next((int(word) for word in way if word.isdigit()), 0)
    direction = [f"{word}_rnn" for word in way if not word.isdigit()]
    return ("stack", layer, *direction, "cell", *_PATHS[kind.kind][tensor])

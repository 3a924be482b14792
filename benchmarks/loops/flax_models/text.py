"""Models of token ids."""

from __future__ import annotations

import jax
from flax import nnx

from loops import Problem


class Classifier(nnx.Module):
    """What a cell holds at the end of a text, scanned by ``nnx.RNN``."""

    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        features, units = problem.params["features"], problem.params["units"]
        cell = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}[problem.model]
        self.embedding = nnx.Embed(problem.tokens, features, rngs=rngs)
        self.recurrent = nnx.RNN(cell(features, units, rngs=rngs), rngs=rngs)
        self.logits = nnx.Linear(units, problem.outputs, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.logits(self.recurrent(self.embedding(ids))[:, -1])


class Block(nnx.Module):
    """Attention and a hidden layer, a norm before each."""

    def __init__(self, features: int, heads: int, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(features, rngs=rngs)
        self.norm2 = nnx.LayerNorm(features, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, features, decode=False, rngs=rngs)
        self.dense1 = nnx.Linear(features, 4 * features, rngs=rngs)
        self.dense2 = nnx.Linear(4 * features, features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.norm1(x), is_causal=True)
        hidden = nnx.gelu(self.dense1(self.norm2(x)), approximate=True)
        return x + self.dense2(hidden)


class Gpt(nnx.Module):
    """A decoder, which gives class scores for the token behind each."""

    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        features, (steps,) = problem.params["features"], problem.sample_shape
        self.embedding = nnx.Embed(problem.tokens, features, rngs=rngs)
        self.position = nnx.Param(jax.random.normal(rngs.params(), (steps, features)))
        heads = problem.params["heads"]
        blocks = [Block(features, heads, rngs) for _ in range(problem.params["blocks"])]
        self.blocks = nnx.List(blocks)
        self.norm = nnx.LayerNorm(features, rngs=rngs)
        self.logits = nnx.Linear(features, problem.outputs, use_bias=False, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embedding(ids) + self.position[...]
        for block in self.blocks:
            x = block(x)
        return self.logits(self.norm(x))

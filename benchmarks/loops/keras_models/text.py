"""Models of token ids."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from loops import Problem


def classifier(problem: Problem, x: Any) -> Any:
    """What ``layers.LSTM`` or ``layers.GRU`` holds at the end of a text."""
    recurrent = {"lstm": layers.LSTM, "gru": layers.GRU}[problem.model]
    x = layers.Embedding(problem.tokens, problem.params["features"])(x)
    x = recurrent(problem.params["units"])(x)
    return layers.Dense(problem.outputs)(x)


class Positions(layers.Layer):
    """Adds a learned vector to each step."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="uniform")

    def call(self, x: Any) -> Any:
        return x + self.table


def gpt(problem: Problem, x: Any) -> Any:
    """A decoder, which gives class scores for the token behind each."""
    features, heads = problem.params["features"], problem.params["heads"]
    x = Positions()(layers.Embedding(problem.tokens, features)(x))
    for _ in range(problem.params["blocks"]):
        normed = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(heads, features // heads)
        x = layers.Add()([x, attention(normed, normed, use_causal_mask=True)])
        hidden = layers.Dense(4 * features)(layers.LayerNormalization()(x))
        hidden = keras.activations.gelu(hidden, approximate=True)
        x = layers.Add()([x, layers.Dense(features)(hidden)])
    return layers.Dense(problem.outputs, use_bias=False)(layers.LayerNormalization()(x))

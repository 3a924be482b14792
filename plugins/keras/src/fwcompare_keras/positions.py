"""Vectors of positions, added to a sequence; Keras itself has no such layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each step; drawn as in Keras's ``Embedding``.

    Every position is used each time, so nothing is looked up.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.embeddings = self.add_weight(
            name="embeddings", shape=input_shape[1:], initializer="uniform"
        )

    def call(self, inputs: Any) -> Any:
        return inputs + self.embeddings


class FixedPosition(keras.layers.Layer):
    """Adds a table (steps, features) that is not learned."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self._table = table

    def call(self, inputs: Any) -> Any:
        return inputs + ops.convert_to_tensor(self._table, dtype=inputs.dtype)

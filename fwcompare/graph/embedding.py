"""Layers that turn token ids and positions into vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fwcompare.graph.kinds import Kind, Misfit, Parameter, Shape, positive, register


def sequence(shape: Shape) -> tuple[int, int]:
    """Steps and features of a sequence. Raises ``Misfit`` for any other sample."""
    if len(shape) != 2:
        raise Misfit(f"needs a sequence (steps, features), got {list(shape)}")
    return shape


@register
@dataclass(frozen=True)
class Embedding(Kind):
    """A vector of ``features`` numbers for each of ``tokens`` token ids: a row of a table."""

    kind = "embedding"
    takes_tokens = True
    tokens: int
    features: int

    def check(self) -> None:
        positive(self.tokens, "tokens")
        positive(self.features, "features")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise Misfit(f"needs token ids (steps), got {list(inputs[0])}")
        return (*inputs[0], self.features)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        # An id picks one row, so a scheme by fans sees as many inputs as the row has numbers.
        shape = (self.tokens, self.features)
        return (Parameter("embeddings", shape, "kernel", self.features, self.features),)

    def flops(self, *inputs: Shape) -> int:
        return 0


@register
@dataclass(frozen=True)
class PositionEmbedding(Kind):
    """Adds to each step a vector of its position, which is learned."""

    kind = "position_embedding"

    def output_shape(self, *inputs: Shape) -> Shape:
        return sequence(inputs[0])

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        features = inputs[0][-1]
        return (Parameter("embeddings", inputs[0], "kernel", features, features),)


@register
@dataclass(frozen=True)
class SinusoidalPosition(Kind):
    """Adds to each step the waves of its position (Vaswani et al., 2017, section 3.5).

    Feature 2i of position p is ``sin(p / base**(2i / features))``, feature 2i + 1 the cosine.
    """

    kind = "sinusoidal_position"
    base: float = 10_000.0

    def check(self) -> None:
        if self.base <= 1:
            raise Misfit(f"base must be more than 1, got {self.base}")

    def output_shape(self, *inputs: Shape) -> Shape:
        return sequence(inputs[0])

    def table(self, shape: Shape) -> np.ndarray:
        """What is added to a sequence (steps, features), float64.

        Computed here alone: a power or a sine in float32 is another table in every framework.
        """
        steps, features = sequence(shape)
        even = np.arange(features) // 2 * 2
        angles = np.arange(steps)[:, np.newaxis] * np.exp(-math.log(self.base) * even / features)
        return np.where(np.arange(features) % 2, np.cos(angles), np.sin(angles))

"""Recurrent layers: a state carried from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fwcompare.errors import unknown
from fwcompare.graph.embedding import sequence
from fwcompare.graph.kinds import Kind, Parameter, Shape, positive, register

#: What a recurrent layer gives: its output at the last step that it reads, or at every step.
RETURNS = ("last", "all")


@dataclass(frozen=True)
class Direction:
    """One pass over a sequence: which layer of the stack, which way, and what it reads."""

    layer: int
    backward: bool
    #: Features that it reads.
    features: int
    #: What stands before the names of its tensors, such as ``1/backward/``.
    prefix: str


@dataclass(frozen=True)
class Recurrent(Kind):
    """What recurrent layers share.

    A stack of ``layers``, each reading what the one below gives at every step. With
    ``bidirectional``, each layer has a second direction that reads from the end, and gives the
    features of both, forward first; ``returns=last`` is then the end of each direction's way: the
    last step forward, the first one backward.

    With ``mask``, the last input says which steps are real, and padding follows behind them: the
    way forward ends at the last real step, the way backward begins there, and what is given at the
    other steps is zero. FLOPs are those of all steps.
    """

    units: int
    layers: int = 1
    bidirectional: bool = False
    returns: str = "last"
    mask: bool = False

    #: Blocks of ``units`` columns in a kernel.
    gates: ClassVar[int]

    def check(self) -> None:
        positive(self.units, "units")
        positive(self.layers, "layers")
        if self.returns not in RETURNS:
            raise unknown("returns", self.returns, RETURNS)

    @property
    def features(self) -> int:
        """Features that each layer of the stack gives at a step."""
        return self.units * (1 + self.bidirectional)

    def output_shape(self, *inputs: Shape) -> Shape:
        steps, _ = sequence(inputs[0])
        return (steps, self.features) if self.returns == "all" else (self.features,)

    def directions(self, features: int) -> Iterator[Direction]:
        """Every pass over the sequence, from the bottom of the stack, forward first."""
        for layer in range(self.layers):
            for backward in (False, True)[: 1 + self.bidirectional]:
                words = [str(layer)] if self.layers > 1 else []
                if self.bidirectional:
                    words.append("backward" if backward else "forward")
                prefix = "".join(f"{word}/" for word in words)
                yield Direction(layer, backward, self.features if layer else features, prefix)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        units, wide = self.units, self.gates * self.units
        found: list[Parameter] = []
        for way in self.directions(inputs[0][-1]):
            # Each gate is a layer of its own, so that a kernel's fans are those of one block.
            found += [
                Parameter(
                    f"{way.prefix}kernel", (way.features, wide), "kernel", way.features, units
                ),
                Parameter(f"{way.prefix}recurrent_kernel", (units, wide), "kernel", units, units),
                Parameter(f"{way.prefix}bias", (wide,), "bias"),
                *self._more(way.prefix),
            ]
        return tuple(found)

    def _more(self, prefix: str) -> tuple[Parameter, ...]:
        return ()

    def _elementwise(self) -> int:
        """Element-wise operations of a step, for each unit, without those of the kernels."""
        raise NotImplementedError

    def flops(self, *inputs: Shape) -> int:
        steps, features = sequence(inputs[0])
        products = sum(
            2 * (way.features + self.units) * self.gates + self._elementwise()
            for way in self.directions(features)
        )
        return steps * self.units * products


@register
@dataclass(frozen=True)
class Lstm(Recurrent):
    """A long short-term memory (Hochreiter and Schmidhuber, 1997; Gers et al., 2000).

    Gates i, f, g, o: ``c = f * c + i * g; h = o * tanh(c)``, with one bias.
    """

    kind = "lstm"
    gates = 4

    def _elementwise(self) -> int:
        # Four gates: two sums and a function each; then two products and a sum for the cell, its
        # tanh and a product.
        return 4 * 3 + 5


@register
@dataclass(frozen=True)
class Gru(Recurrent):
    """A gated recurrent unit (Cho et al., 2014), in the form that computes all products at once.

    Gates r, z, n: ``n = tanh(x @ kernel_n + bias_n + r * (h @ recurrent_kernel_n +
    recurrent_bias)); h = (1 - z) * n + z * h``. The reset gate acts after the product, so that n
    has a second bias.
    """

    kind = "gru"
    gates = 3

    def _more(self, prefix: str) -> tuple[Parameter, ...]:
        return (Parameter(f"{prefix}recurrent_bias", (self.units,), "bias"),)

    def _elementwise(self) -> int:
        # Three gates: two sums and a function each; the second bias and the reset's product; then
        # 1 - z, two products and a sum.
        return 3 * 3 + 2 + 4

"""Images made larger: by a border of zeros, or by repeating their cells."""

from __future__ import annotations

from dataclasses import dataclass

from fwcompare.graph.kinds import Kind, Misfit, Shape, positive, register
from fwcompare.graph.windows import spatial


@register
@dataclass(frozen=True)
class ZeroPad2d(Kind):
    """A border of zeros; ``padding`` is ((top, bottom), (left, right)).

    One number stands for all four sides, a pair for (above and below, left and right).
    """

    kind = "zero_pad2d"
    padding: tuple[tuple[int, int], tuple[int, int]]

    def check(self) -> None:
        for side in (*self.padding[0], *self.padding[1]):
            if side < 0:
                raise Misfit(f"padding must be at least 0, got {side}")

    def output_shape(self, *inputs: Shape) -> Shape:
        height, width = spatial(inputs[0], 2)
        return (height + sum(self.padding[0]), width + sum(self.padding[1]), inputs[0][-1])

    def flops(self, *inputs: Shape) -> int:
        return 0


@register
@dataclass(frozen=True)
class Upsample2d(Kind):
    """Each cell repeated ``size`` (rows, columns) times: the nearest neighbour."""

    kind = "upsample2d"
    size: tuple[int, int]

    def check(self) -> None:
        for factor in self.size:
            positive(factor, "size")

    def output_shape(self, *inputs: Shape) -> Shape:
        height, width = spatial(inputs[0], 2)
        return (height * self.size[0], width * self.size[1], inputs[0][-1])

    def flops(self, *inputs: Shape) -> int:
        return 0

"""Masks: which steps of a sample count."""

from __future__ import annotations

from dataclasses import dataclass

from fwcompare.graph.kinds import Kind, Misfit, Shape, register

#: What stands for the padding id of a dataset that has none.
NO_PADDING = -1


@register
@dataclass(frozen=True)
class PaddingMask(Kind):
    """For each step whether its token is a real one: true where the id is not ``padding``.

    Samples are filled up behind their last token, so that the mask is true up to there.
    """

    kind = "padding_mask"
    takes_tokens = True
    gives_mask = True
    padding: int = 0

    def check(self) -> None:
        if self.padding == NO_PADDING:
            raise Misfit("the dataset has no padding: its samples are all of one length")
        if self.padding < 0:
            raise Misfit(f"padding must be a token id, at least 0, got {self.padding}")

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs[0]) != 1:
            raise Misfit(f"needs token ids (steps), got {list(inputs[0])}")
        return inputs[0]

    def flops(self, *inputs: Shape) -> int:
        return 0

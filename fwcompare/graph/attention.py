"""Attention: every step looks at the steps of a sequence."""

from __future__ import annotations

from dataclasses import dataclass

from fwcompare.graph.embedding import sequence
from fwcompare.graph.kinds import Kind, Misfit, Parameter, Shape, positive, register


@register
@dataclass(frozen=True)
class MultiHeadAttention(Kind):
    """Scaled dot-product attention by several heads (Vaswani et al., 2017, section 3.2).

    One input attends to itself; with two, the first asks and the second, which may have other steps
    and features, is looked at. A head has ``features / heads`` features of the first input. With
    ``causal``, a step sees itself and those before it. With ``mask``, the last input says which
    steps are looked at; the others are not seen, though they ask.
    """

    kind = "multi_head_attention"
    arity = (1, 2)
    heads: int
    causal: bool = False
    bias: bool = True
    mask: bool = False

    def check(self) -> None:
        positive(self.heads, "heads")

    def output_shape(self, *inputs: Shape) -> Shape:
        shape = sequence(inputs[0])
        if shape[1] % self.heads:
            raise Misfit(f"heads={self.heads} must divide the {shape[1]} features")
        if len(inputs) > 1:
            sequence(inputs[1])
            if self.causal:
                raise Misfit("causal is for one input, whose steps are in order with themselves")
        return shape

    def head_features(self, shape: Shape) -> int:
        """Features of one head."""
        return shape[-1] // self.heads

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        features, source = inputs[0][1], inputs[-1][1]
        each = (self.heads, self.head_features(inputs[0]))
        found = []
        for name, width in (("query", features), ("key", source), ("value", source)):
            found.append(Parameter(f"{name}/kernel", (width, *each), "kernel", width, features))
            found.append(Parameter(f"{name}/bias", each, "bias"))
        found.append(Parameter("output/kernel", (*each, features), "kernel", features, features))
        found.append(Parameter("output/bias", (features,), "bias"))
        return tuple(p for p in found if self.bias or p.role != "bias")

    def flops(self, *inputs: Shape) -> int:
        steps, features = inputs[0]
        seen, source = inputs[-1]
        projections = 2 * (2 * steps * features * features + 2 * seen * source * features)
        biases = self.bias * 2 * (steps + seen) * features
        # A mask saves no work in the usual dense kernels, and none is counted off here. Each score
        # is scaled and goes through a softmax: maximum, difference, exp, sum, quotient.
        scores = steps * seen * self.heads
        return projections + biases + 2 * 2 * steps * seen * features + 6 * scores

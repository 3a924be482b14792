"""Normalisations: over the batch, or within each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fwcompare.graph.kinds import Kind, Misfit, Parameter, Shape, positive, register


def _check_epsilon(epsilon: float) -> None:
    if epsilon <= 0:
        raise Misfit(f"epsilon must be positive, got {epsilon}")


@register
@dataclass(frozen=True)
class BatchNorm(Kind):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy, 2015).

    ``momentum`` is the share of the old moving statistic that is kept at each step; the moving
    variance is the biased one (divided by n).
    """

    kind = "batch_norm"
    momentum: float = 0.9
    epsilon: float = 1e-5

    def check(self) -> None:
        if not 0 <= self.momentum < 1:
            raise Misfit(f"momentum must be in [0, 1), got {self.momentum}")
        _check_epsilon(self.epsilon)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        shape = (inputs[0][-1],)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return tuple(Parameter(name, shape, name) for name in names)

    def flops(self, *inputs: Shape) -> int:
        return 4 * math.prod(inputs[0])


@register
@dataclass(frozen=True)
class LayerNorm(Kind):
    """Layer normalisation over the last axis (Ba, Kiros and Hinton, 2016)."""

    kind = "layer_norm"
    epsilon: float = 1e-5

    def check(self) -> None:
        _check_epsilon(self.epsilon)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        shape = (inputs[0][-1],)
        return (Parameter("gamma", shape, "gamma"), Parameter("beta", shape, "beta"))

    def flops(self, *inputs: Shape) -> int:
        return 7 * math.prod(inputs[0])


@register
@dataclass(frozen=True)
class GroupNorm(Kind):
    """Group normalisation (Wu and He, 2018): over all axes and the channels of one group.

    As many groups as channels make an instance normalisation, one group a layer normalisation over
    the whole sample; gamma and beta are of each channel.
    """

    kind = "group_norm"
    groups: int
    epsilon: float = 1e-5

    def check(self) -> None:
        positive(self.groups, "groups")
        _check_epsilon(self.epsilon)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels = inputs[0][-1]
        if channels % self.groups:
            raise Misfit(f"groups={self.groups} must divide the {channels} channels")
        if math.prod(inputs[0]) == self.groups:
            raise Misfit("a group of one number normalises to nothing; choose fewer groups")
        return inputs[0]

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        shape = (inputs[0][-1],)
        return (Parameter("gamma", shape, "gamma"), Parameter("beta", shape, "beta"))

    def flops(self, *inputs: Shape) -> int:
        return 7 * math.prod(inputs[0])


@register
@dataclass(frozen=True)
class RmsNorm(Kind):
    """Root mean square normalisation over the last axis (Zhang and Sennrich, 2019):
    ``x / sqrt(mean(x**2) + epsilon) * gamma``, with no mean taken away and no beta."""

    kind = "rms_norm"
    epsilon: float = 1e-6

    def check(self) -> None:
        _check_epsilon(self.epsilon)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        return (Parameter("gamma", (inputs[0][-1],), "gamma"),)

    def flops(self, *inputs: Shape) -> int:
        return 4 * math.prod(inputs[0])

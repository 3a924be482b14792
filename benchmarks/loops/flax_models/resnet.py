"""Residual networks, as Flax's examples write them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from loops import Problem


class Convolution(nnx.Module):
    """A convolution and its norm."""

    def __init__(
        self, inputs: int, filters: int, size: int, stride: int = 1, *, rngs: nnx.Rngs
    ) -> None:
        self.conv = nnx.Conv(inputs, filters, (size, size), stride, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(filters, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class Block(nnx.Module):
    """Two ways, one of them around the convolutions."""

    def __init__(
        self, inputs: int, width: int, stride: int, expansion: int, rngs: nnx.Rngs
    ) -> None:
        outputs = expansion * width
        plan = [(inputs, width, 3, stride), (width, width, 3)]
        if expansion > 1:
            plan = [(inputs, width, 1), (width, width, 3, stride), (width, outputs, 1)]
        self.convolutions = nnx.List([Convolution(*sizes, rngs=rngs) for sizes in plan])
        around = stride > 1 or inputs != outputs
        shortcut = Convolution(inputs, outputs, 1, stride, rngs=rngs) if around else None
        self.shortcut = nnx.data(shortcut)

    def __call__(self, x: jax.Array) -> jax.Array:
        way = x
        for convolution in self.convolutions[:-1]:
            way = nnx.relu(convolution(way))
        way = self.convolutions[-1](way)
        return nnx.relu(way + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    expansion: int

    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        width, expansion = problem.params["width"], self.expansion
        self.stem = Convolution(problem.sample_shape[-1], width, 7, 2, rngs=rngs)
        blocks = []
        inputs = width
        for stage, count in enumerate(problem.params["blocks"]):
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Block(inputs, width * 2**stage, stride, expansion, rngs))
                inputs = expansion * width * 2**stage
        self.blocks = nnx.List(blocks)
        self.logits = nnx.Linear(inputs, problem.outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.stem(x))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x = block(x)
        return self.logits(jnp.mean(x, axis=(1, 2)))


class ResNet18(ResNet):
    expansion = 1


class ResNet50(ResNet):
    expansion = 4

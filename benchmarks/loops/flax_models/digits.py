"""Small models of dense layers and convolutions."""

from __future__ import annotations

import math

import jax
from flax import nnx

from loops import Problem


class Mlp(nnx.Module):
    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        self.dense1 = nnx.Linear(math.prod(problem.sample_shape), 256, rngs=rngs)
        self.dense2 = nnx.Linear(256, 256, rngs=rngs)
        self.logits = nnx.Linear(256, problem.outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        x = nnx.relu(self.dense1(x))
        x = nnx.relu(self.dense2(x))
        return self.logits(x)


class Cnn(nnx.Module):
    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        height, width, channels = problem.sample_shape
        self.conv1 = nnx.Conv(channels, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(64 * (height // 2) * (width // 2), 128, rngs=rngs)
        self.logits = nnx.Linear(128, problem.outputs, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.dense(x.reshape(len(x), -1)))
        return self.logits(x)


class CnnBn(Cnn):
    def __init__(self, problem: Problem, rngs: nnx.Rngs) -> None:
        super().__init__(problem, rngs)
        self.conv1 = nnx.Conv(problem.sample_shape[-1], 32, (3, 3), use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(32, rngs=rngs)
        self.norm2 = nnx.BatchNorm(64, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.dense(x.reshape(len(x), -1)))
        return self.logits(x)

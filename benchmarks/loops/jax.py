"""JAX: Flax NNX and Optax, split once, stepped by merging under ``jax.jit``."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from loops import Problem

Leaves = list[jax.Array]


class Mlp(nnx.Module):
    def __init__(self, inputs: int, classes: int, rngs: nnx.Rngs) -> None:
        self.dense1 = nnx.Linear(inputs, 256, rngs=rngs)
        self.dense2 = nnx.Linear(256, 256, rngs=rngs)
        self.logits = nnx.Linear(256, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(len(x), -1)
        x = nnx.relu(self.dense1(x))
        x = nnx.relu(self.dense2(x))
        return self.logits(x)


class Cnn(nnx.Module):
    def __init__(
        self, height: int, width: int, channels: int, classes: int, rngs: nnx.Rngs
    ) -> None:
        self.conv1 = nnx.Conv(channels, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(64 * (height // 2) * (width // 2), 128, rngs=rngs)
        self.logits = nnx.Linear(128, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.dense(x.reshape(len(x), -1)))
        return self.logits(x)


class CnnBn(Cnn):
    def __init__(
        self, height: int, width: int, channels: int, classes: int, rngs: nnx.Rngs
    ) -> None:
        super().__init__(height, width, channels, classes, rngs)
        self.conv1 = nnx.Conv(channels, 32, (3, 3), use_bias=False, rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(32, rngs=rngs)
        self.norm2 = nnx.BatchNorm(64, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = nnx.relu(self.dense(x.reshape(len(x), -1)))
        return self.logits(x)


class JaxLoop:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        _, height, width, channels = problem.images.shape
        model: nnx.Module
        if problem.model == "mlp":
            model = Mlp(height * width * channels, problem.classes, nnx.Rngs(0))
        else:
            made = CnnBn if problem.model == "cnn_bn" else Cnn
            model = made(height, width, channels, problem.classes, nnx.Rngs(0))
        definition, weights, statistics = nnx.split(model, nnx.Param, ...)
        optimizer = optax.adam(problem.learning_rate)
        # Lists of arrays, which JAX flattens in C++; a tree of NNX's states costs more each step.
        self.params, tree = jax.tree.flatten(weights)
        self.rest, rest_tree = jax.tree.flatten(statistics)
        self.slots = optimizer.init(self.params)
        self.images = jax.device_put(problem.images)
        self.labels = jax.device_put(problem.labels)
        self.random = np.random.default_rng(0)

        def objective(
            params: Leaves, rest: Leaves, images: jax.Array, labels: jax.Array
        ) -> tuple[jax.Array, Leaves]:
            model = nnx.merge(
                definition, jax.tree.unflatten(tree, params), jax.tree.unflatten(rest_tree, rest)
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
            return losses.mean(), jax.tree.leaves(nnx.state(model, nnx.Not(nnx.Param)))

        @partial(jax.jit, donate_argnums=(0, 1, 2))
        def step(
            params: Leaves,
            rest: Leaves,
            slots: Any,
            images: jax.Array,
            labels: jax.Array,
            ids: jax.Array,
        ) -> tuple[Leaves, Leaves, Any, jax.Array]:
            gradient = jax.value_and_grad(objective, has_aux=True)
            (loss, rest), gradients = gradient(params, rest, images[ids], labels[ids])
            updates, slots = optimizer.update(gradients, slots, params)
            return optax.apply_updates(params, updates), rest, slots, loss

        self.step = step

    def fit(self) -> None:
        steps, batch = self.problem.steps, self.problem.batch_size
        losses = []
        order = self.random.permutation(len(self.images))[: steps * batch].astype(np.int32)
        for ids in order.reshape(steps, batch):
            self.params, self.rest, self.slots, loss = self.step(
                self.params, self.rest, self.slots, self.images, self.labels, ids
            )
            losses.append(loss)
        np.mean(jax.device_get(losses))
        jax.block_until_ready((self.params, self.slots))


def make(problem: Problem) -> JaxLoop:
    return JaxLoop(problem)

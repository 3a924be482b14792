"""JAX: Flax NNX and Optax, split once, stepped by merging under ``jax.jit``."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from loops import Problem
from loops.flax_models import network

Leaves = list[jax.Array]


class JaxLoop:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        definition, weights, statistics = nnx.split(network(problem), nnx.Param, ...)
        optimizer = optax.adam(problem.learning_rate)
        # Lists of arrays, which JAX flattens in C++; a tree of NNX's states costs more each step.
        self.params, tree = jax.tree.flatten(weights)
        self.rest, rest_tree = jax.tree.flatten(statistics)
        self.slots = optimizer.init(self.params)
        self.inputs = jax.device_put(problem.inputs)
        self.labels = jax.device_put(problem.labels)
        self.random = np.random.default_rng(0)

        def objective(
            params: Leaves, rest: Leaves, inputs: jax.Array, labels: jax.Array
        ) -> tuple[jax.Array, Leaves]:
            model = nnx.merge(
                definition, jax.tree.unflatten(tree, params), jax.tree.unflatten(rest_tree, rest)
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(model(inputs), labels)
            return losses.mean(), jax.tree.leaves(nnx.state(model, nnx.Not(nnx.Param)))

        @partial(jax.jit, donate_argnums=(0, 1, 2))
        def step(
            params: Leaves,
            rest: Leaves,
            slots: Any,
            inputs: jax.Array,
            labels: jax.Array,
            ids: jax.Array,
        ) -> tuple[Leaves, Leaves, Any, jax.Array]:
            gradient = jax.value_and_grad(objective, has_aux=True)
            (loss, rest), gradients = gradient(params, rest, inputs[ids], labels[ids])
            updates, slots = optimizer.update(gradients, slots, params)
            return optax.apply_updates(params, updates), rest, slots, loss

        self.step = step

    def fit(self) -> None:
        steps, batch = self.problem.steps, self.problem.batch_size
        losses = []
        order = self.random.permutation(len(self.inputs))[: steps * batch].astype(np.int32)
        for ids in order.reshape(steps, batch):
            self.params, self.rest, self.slots, loss = self.step(
                self.params, self.rest, self.slots, self.inputs, self.labels, ids
            )
            losses.append(loss)
        np.mean(jax.device_get(losses))
        jax.block_until_ready((self.params, self.slots))


def make(problem: Problem) -> JaxLoop:
    return JaxLoop(problem)

"""A linear model with dropout in NumPy: an engine that keeps the contract, and ones that do not.

Small enough to be seen through, it stands under the conformance checks: each must pass on
``NumpyTrainer`` and fail on the subclass that breaks what it is about.
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np

from fwcompare.graph import INPUT


class NumpyTrainer:
    """Dense, concat and dropout layers, the last one dense; momentum by a table of rates."""

    def __init__(self, job):
        self.job, self.graph = job, job.graph
        self.tensors = {name: array.copy() for name, array in job.initial_weights.items()}
        self.velocity = {name: np.zeros_like(array) for name, array in self.tensors.items()}
        self.rates, self.step = job.learning_rates.tolist(), 0
        self.random = np.random.default_rng(job.spec.seed)

    def fit(self, feed, probe):
        for epoch in feed.epochs:
            losses = []
            probe.epoch_begin(epoch)
            for ids in feed.batches(epoch):
                losses.append(self.train(ids))
                probe.step()
            probe.epoch_end(partial(np.array, losses))

    def train(self, ids):
        """One step; the loss before it."""
        data = self.job.train
        loss, gradients = self.descent(data.inputs[ids], data.targets[ids], self.random)
        rate = self.rates[self.step]
        self.step += 1
        for name, gradient in gradients.items():
            self.velocity[name] = 0.9 * self.velocity[name] + gradient
            self.tensors[name] = self.tensors[name] - rate * self.velocity[name]
        return loss

    def outputs(self, inputs, random=None):
        """The output of every layer; with ``random`` in training mode."""
        found = {INPUT: inputs}
        for layer in self.graph.layers:
            sources = [found[name] for name in layer.inputs]
            if layer.kind.kind == "dropout":
                found[layer.name] = self.drop(sources[0], layer.kind.rate, random)
            elif layer.kind.kind == "concat":
                found[layer.name] = np.concatenate(sources, axis=-1)
            else:
                found[layer.name] = sources[0] @ self.tensors[f"{layer.name}/kernel"]
        return found

    def drop(self, inputs, rate, random):
        if random is None:
            return inputs
        return inputs * (random.random(inputs.shape) >= rate) / (1 - rate)

    def descent(self, inputs, targets, random):
        """Loss and gradients; the last layer alone is trained."""
        found = self.outputs(inputs, random)
        last = self.graph.layers[-1]
        output, before = found[last.name], found[last.inputs[0]]
        if self.job.spec.task.loss == "mse":
            loss = np.mean((output - targets) ** 2)
            delta = 2 * (output - targets) / output.size
        else:
            shares = np.exp(output - output.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            rows = np.arange(len(output))
            loss = -np.log(shares[rows, targets]).mean()
            shares[rows, targets] -= 1
            delta = shares / len(output)
        return float(loss), {f"{last.name}/kernel": before.T @ delta}

    def batches(self, feed):
        data = self.job.train
        return ((data.inputs[ids], data.targets[ids]) for ids in feed.all_batches())

    def state(self):
        random = json.dumps(self.random.bit_generator.state).encode()
        return {
            **{f"tensors/{name}": array.copy() for name, array in self.tensors.items()},
            **{f"velocity/{name}": array.copy() for name, array in self.velocity.items()},
            "step": np.array(self.step),
            "random/generator": np.frombuffer(random, np.uint8).copy(),
        }

    def restore(self, state):
        for name in self.tensors:
            self.tensors[name] = state[f"tensors/{name}"].copy()
            self.velocity[name] = state[f"velocity/{name}"].copy()
        self.step = int(state["step"])
        random = json.loads(state["random/generator"].tobytes())
        self.random.bit_generator.state = random

    def settings(self):
        return {"optimizer": {"lr": float(self.job.learning_rates[0])}}

    def draw(self):
        return {name: np.zeros_like(array) for name, array in self.tensors.items()}

    def predict(self, inputs):
        return self.outputs(inputs)[self.graph.layers[-1].name]

    def activations(self, inputs, training):
        found = self.outputs(inputs, np.random.default_rng(5) if training else None)
        del found[INPUT]
        return found

    def gradients(self, inputs, targets):
        return self.descent(inputs, targets, np.random.default_rng(5))

    def synchronize(self):
        """NumPy has done its work when it returns."""

    def weights(self):
        return {name: array.copy() for name, array in self.tensors.items()}

    def slots(self):
        return {"momentum": {name: array.copy() for name, array in self.velocity.items()}}

    def facts(self):
        return {"device": "cpu", "execution": "numpy"}

    def peak_device_bytes(self):
        return None

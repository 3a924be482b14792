"""Keras on JAX: ``model.fit`` over a ``PyDataset`` of whole batches."""

from __future__ import annotations

import jax
import keras
import numpy as np

from loops import Problem
from loops.keras_models import compiled


class Batches(keras.utils.PyDataset):
    """Whole batches in a new order each epoch."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem
        self.random = np.random.default_rng(0)
        self.on_epoch_end()

    def __len__(self) -> int:
        return self.problem.steps

    def on_epoch_end(self) -> None:
        self.order = self.random.permutation(len(self.problem.inputs))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        batch = self.problem.batch_size
        ids = self.order[index * batch : (index + 1) * batch]
        return self.problem.inputs.take(ids, axis=0), self.problem.labels.take(ids, axis=0)


class KerasJaxLoop:
    def __init__(self, problem: Problem) -> None:
        self.model = compiled(problem)
        self.batches = Batches(problem)

    def fit(self) -> None:
        self.model.fit(self.batches, shuffle=False, verbose=0)
        jax.block_until_ready([variable.value for variable in self.model.variables])


def make(problem: Problem) -> KerasJaxLoop:
    return KerasJaxLoop(problem)

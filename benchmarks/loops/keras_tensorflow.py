"""Keras on TensorFlow: ``model.fit`` over ``tf.data``, batches gathered by id."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from loops import Problem
from loops.keras_models import compiled


class KerasTensorFlowLoop:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model = compiled(problem)
        self.inputs = tf.convert_to_tensor(problem.inputs)
        self.labels = tf.convert_to_tensor(problem.labels)
        self.random = np.random.default_rng(0)

    def dataset(self) -> tf.data.Dataset:
        """The batches of an epoch; one thread, since the training has but one core."""
        steps, batch = self.problem.steps, self.problem.batch_size
        ids = self.random.permutation(len(self.problem.inputs))[: steps * batch].astype(np.int32)
        options = tf.data.Options()
        options.threading.private_threadpool_size = 1
        return (
            tf.data.Dataset.from_tensor_slices(ids.reshape(steps, batch))
            .map(lambda ids: (tf.gather(self.inputs, ids), tf.gather(self.labels, ids)))
            .with_options(options)
        )

    def fit(self) -> None:
        self.model.fit(self.dataset(), shuffle=False, verbose=0)
        tf.test.experimental.sync_devices()


def make(problem: Problem) -> KerasTensorFlowLoop:
    return KerasTensorFlowLoop(problem)

"""TensorFlow: a ``GradientTape`` step in ``tf.function``, its batch gathered by id within."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from loops import Problem
from loops.keras_models import network


class TensorFlowLoop:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.model = network(problem)
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.optimizer = keras.optimizers.Adam(problem.learning_rate)
        self.optimizer.build(self.model.trainable_variables)  # else the first step would
        self.inputs = tf.convert_to_tensor(problem.inputs)
        self.labels = tf.convert_to_tensor(problem.labels)
        self.random = np.random.default_rng(0)

    @tf.function
    def step(self, ids: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self.model(tf.gather(self.inputs, ids), training=True)
            loss = self.loss(tf.gather(self.labels, ids), logits)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        return loss

    def fit(self) -> None:
        steps, batch = self.problem.steps, self.problem.batch_size
        losses = []
        order = self.random.permutation(len(self.problem.inputs))[: steps * batch]
        for ids in order.reshape(steps, batch):
            losses.append(self.step(tf.constant(ids)))
        tf.reduce_mean(tf.stack(losses)).numpy()
        tf.test.experimental.sync_devices()


def make(problem: Problem) -> TensorFlowLoop:
    return TensorFlowLoop(problem)

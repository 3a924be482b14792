"""The trainer: a ``GradientTape`` loop over Keras layers, as TensorFlow's guides write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fwcompare.data.batches import Feed
from fwcompare.graph import Weights
from fwcompare.plugin import Job
from fwcompare.probe import Probe
from fwcompare_keras import optimizers, own
from fwcompare_keras.backends import Backend
from fwcompare_keras.backends import tensorflow_backend as backend
from fwcompare_keras.float64 import set_precision
from fwcompare_keras.inspection import Inspection
from fwcompare_keras.layers import Style
from fwcompare_keras.trainer import loss_scale
from fwcompare_tensorflow.parallel import Processes, together

#: How each execution turns a Python function into one that TensorFlow runs.
EXECUTIONS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "native": tf.function,
    "eager": lambda function: function,
    "compiled": partial(tf.function, jit_compile=True),
}


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, _whole(logits)))


def _binary_cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(targets, _whole(logits)))


def _mse(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.math.squared_difference(_whole(outputs), targets))


def _whole(outputs: tf.Tensor) -> tf.Tensor:
    """Outputs in the type of the weights, as Keras's own losses take them."""
    return tf.cast(outputs, keras.config.floatx())


#: Losses by name, each the mean over the batch.
LOSSES = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "mse": _mse,
}


class TensorFlowTrainer(Inspection):
    """The ``Trainer`` of the engine ``tensorflow``; see ``fwcompare.plugin.Trainer``."""

    def __init__(self, job: Job) -> None:
        """Raises ``UnsupportedError`` where the device or a part of the model is not there."""
        spec = job.spec
        self.spec, self.job = spec, job
        self.together = together(job)  # before anything is computed
        self.backend: Backend = backend
        self.device = backend.prepare(spec)
        set_precision(spec.precision)
        with self.together.strategy.scope() if self.together else nullcontext():
            self._build()
        if self.together:
            self.together.prepare(self.network, self.optimizer)
        self.stream = job.stream
        execution = EXECUTIONS[spec.execution]
        #: One that is given a batch.
        self.batch_step = self.together.run(self._step) if self.together else self._step
        if self.stream is None:
            self.inputs = tf.convert_to_tensor(job.train.inputs)
            self.targets = tf.convert_to_tensor(job.train.targets)
        self.step = execution(self._gathering_step if self.stream is None else self.batch_step)
        self.infer = execution(partial(self.model, training=False))

    def _build(self) -> None:
        """Model and optimizer."""
        spec, job = self.spec, self.job
        self.network = own.network(spec, Style(spec.aligned, spec.dtype.name, spec.seed))
        self.network.load(job.initial_weights)
        self.model = self.network.model
        self.variables = self.model.trainable_variables
        self.loss = LOSSES[spec.task.loss]
        self.optimizer = optimizers.make(
            spec.optimizer,
            None if job.constant_learning_rate else job.learning_rates,
            self.network,
            spec.aligned,
            spec.dtype.name,
        )
        #: What is applied: the optimizer, within one that scales the loss where float16 needs it.
        self.applied: keras.optimizers.Optimizer = self.optimizer
        if spec.compute_type == "float16":
            self.applied = keras.optimizers.LossScaleOptimizer(self.optimizer)
            self.applied.build(self.variables)

    def _gathering_step(self, ids: tf.Tensor) -> tf.Tensor:
        """Train on the samples of one batch; its loss before the update."""
        return self.batch_step(tf.gather(self.inputs, ids), tf.gather(self.targets, ids))

    def _step(self, inputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Train on one batch; its loss before the update."""
        with tf.GradientTape() as tape:
            outputs = self.model(inputs, training=True)
            loss = self.loss(targets, outputs)
            scaled = self.applied.scale_loss(loss)
        gradients = tape.gradient(scaled, self.variables)
        if self.together is not None:
            gradients = self.together.mean(gradients)
        self.applied.apply(gradients, self.variables)
        return loss

    def synchronize(self) -> None:
        if not isinstance(self.together, Processes):
            super().synchronize()
        else:  # TensorFlow asks devices of other processes too, and so fails
            np.array(self.optimizer.iterations)

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        if self.together is None:
            return super().gradients(inputs, targets)
        together, variables = self.together, list(self.network.trainable.values())

        def of_share(inputs: tf.Tensor, targets: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = self.loss(targets, self.model(inputs, training=True))
            found = tape.gradient(loss, [variable.value for variable in variables])
            return together.mean([loss, *found])

        with self.network.undisturbed():
            part = together.own(inputs), together.own(targets)
            loss, *found = tf.function(together.run(of_share))(*part)
        named = zip(self.network.trainable, found, strict=True)
        exchange = self.network.exchange
        return float(loss), {name: exchange(name, gradient.numpy()) for name, gradient in named}

    @property
    def stepping(self) -> keras.optimizers.Optimizer:
        return self.applied

    def fit(self, feed: Feed, probe: Probe) -> None:
        step, feed = self.step, self.job.share(feed)
        for epoch in feed.epochs:
            batches = feed.batches(epoch)
            losses: list[tf.Tensor] = []
            probe.epoch_begin(epoch)
            for ids in batches:
                losses.append(step(*self._fed(epoch, ids)))
                probe.step()
            probe.epoch_end(partial(self._fetched, losses))

    def _fetched(self, losses: list[tf.Tensor]) -> np.ndarray:
        """The losses of an epoch's steps, of the whole batches."""
        if self.together is None:
            return fetch(losses)
        return self.together.mean_of(tf.stack(losses)).numpy()

    def _fed(self, epoch: int, ids: np.ndarray) -> tuple[tf.Tensor, ...]:
        """What a step takes: ids alone, which it gathers by itself (a tf.data pipeline costs 1.6
        times as much), or a batch of data that are not held in memory."""
        if self.stream is None:
            return (tf.constant(ids),)
        inputs, targets = self.stream.take(epoch, ids)
        return tf.convert_to_tensor(inputs), tf.convert_to_tensor(targets)

    def batches(self, feed: Feed) -> Iterator[Any]:
        feed = self.job.share(feed)
        return (self._fed(epoch, ids) for epoch in feed.epochs for ids in feed.batches(epoch))

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        outputs = self.infer(tf.convert_to_tensor(inputs)).numpy()
        return np.asarray(outputs, self.spec.dtype)

    def facts(self) -> dict[str, Any]:
        names = {"native": "tf.function", "eager": "eager", "compiled": "tf.function with XLA"}
        return {
            "device": self.device,
            "execution": names[self.spec.execution],
            "jit_compile": self.spec.execution == "compiled",
            "optimizer": type(self.optimizer).__name__,
            **self.precision_policy(),
            **loss_scale(self.applied),
            **({"distributed": self.together.name} if self.together else {}),
            **self._compilations(),
        }

    def _compilations(self) -> dict[str, int]:
        if self.spec.execution == "eager":
            return {}
        functions: tuple[Any, ...] = self.step, self.infer
        return {"compilations": sum(f.experimental_get_tracing_count() for f in functions)}


def fetch(losses: list[tf.Tensor]) -> np.ndarray:
    """The losses of an epoch's steps, in one transfer from the device."""
    fetched: np.ndarray = tf.stack(losses).numpy()
    return fetched

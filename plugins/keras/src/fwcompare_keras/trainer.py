"""The trainer: ``model.compile`` and one ``model.fit``, on whichever backend Keras runs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras
import numpy as np

from fwcompare.data.batches import Arrays, Feed
from fwcompare.graph import Weights
from fwcompare.plugin import Job
from fwcompare.probe import Probe
from fwcompare_keras import backends, optimizers, own
from fwcompare_keras.float64 import set_precision
from fwcompare_keras.inspection import Inspection
from fwcompare_keras.layers import Style
from fwcompare_keras.network import to_numpy
from fwcompare_keras.probing import ProbeCallback, StepLossCallback

#: Losses by name, each the mean over the batch.
LOSSES = {
    "cross_entropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "binary_cross_entropy": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    "mse": keras.losses.MeanSquaredError,
}

#: What each execution asks of ``model.compile``.
COMPILE: dict[str, dict[str, Any]] = {
    "native": {"jit_compile": "auto"},
    "eager": {"run_eagerly": True},
    "compiled": {"jit_compile": True},
}


class KerasTrainer(Inspection):
    """The ``Trainer`` of the three Keras engines; see ``fwcompare.plugin.Trainer``."""

    def __init__(self, job: Job) -> None:
        """Raises ``UnsupportedError`` where device, type or a part of the model is not there."""
        spec = job.spec
        self.spec, self.job = spec, job
        self.together = _met(job) if job.ranks else None  # before anything is computed
        self.backend = backends.load()
        self.device = self.backend.prepare(spec)
        set_precision(spec.precision)
        self.network = own.network(spec, Style(spec.aligned, spec.dtype.name, spec.seed))
        self.network.load(job.initial_weights)
        self.model = self.network.model
        self.loss = LOSSES[spec.task.loss]()
        self.optimizer = optimizers.make(
            spec.optimizer,
            None if job.constant_learning_rate else job.learning_rates,
            self.network,
            spec.aligned,
            spec.dtype.name,
        )
        self.model.compile(optimizer=self.optimizer, loss=self.loss, **COMPILE[spec.execution])
        self.data = self.backend.place(job.train, spec) if job.stream is None else job.stream
        #: Sizes of the batches so far, in training and in prediction.
        self.trained_sizes: set[int] = set()
        self.predicted_sizes: set[int] = set()
        self.loss_scale: dict[str, float] = {}

    def fit(self, feed: Feed, probe: Probe) -> None:
        follow = StepLossCallback if self.spec.measure.step_losses else ProbeCallback
        for part in _from_epoch_starts(feed):
            self.model.fit(
                self.backend.batches(self.data, self.job.share(part), self.spec),
                initial_epoch=part.epochs[0] - 1,
                epochs=part.epochs[-1],
                steps_per_epoch=part.steps(part.epochs[0]),
                shuffle=False,
                verbose=0,
                callbacks=[follow(self.model, part, probe, self.trained_sizes)],
            )
        self.loss_scale = loss_scale(self.model.optimizer)

    def batches(self, feed: Feed) -> Iterator[Any]:
        # A pipeline of tf.data has no end by itself.
        whole = self.backend.batches(self.data, self.job.share(feed), self.spec)
        return islice(iter(whole), feed.step_count)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        self.predicted_sizes.add(len(inputs))
        if self.together is not None:
            return np.asarray(self.together.predict(self.model, inputs), self.spec.dtype)
        outputs = self.model.predict_on_batch(self.backend.host_batch(inputs))
        return np.asarray(outputs, self.spec.dtype)

    def activations(self, inputs: np.ndarray, training: bool) -> dict[str, np.ndarray]:
        if self.together is None:
            return super().activations(inputs, training)
        return self.together.activations(self.network, inputs, training)

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        if self.together is None:
            return super().gradients(inputs, targets)
        variables = list(self.network.trainable.values())
        batch = Arrays(inputs, targets)
        loss, found = self.together.gradients(self.model, self.loss, variables, batch)
        named = zip(self.network.trainable, found, strict=True)
        return loss, {name: self.network.exchange(name, gradient) for name, gradient in named}

    def facts(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "backend": keras.config.backend(),
            "execution": self.backend.execution(self.model),
            "jit_compile": bool(self.model.jit_compile),
            "optimizer": type(self.optimizer).__name__,
            **self.precision_policy(),
            **self.loss_scale,
            **({"distributed": "keras.distribution.DataParallel"} if self.together else {}),
            **self.backend.compilations(
                self.model, len(self.trained_sizes) + len(self.predicted_sizes)
            ),
        }


def _met(job: Job) -> Any:
    """The processes that train together, where Keras has a way of its own for them: on JAX."""
    from fwcompare_keras.parallel import Together

    return Together(job)


def loss_scale(optimizer: keras.optimizers.Optimizer) -> dict[str, float]:
    """The present factor of the loss; empty where it is not scaled."""
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return {}
    return {"loss_scale": float(to_numpy(optimizer.dynamic_scale))}


def _from_epoch_starts(feed: Feed) -> Iterator[Feed]:
    """The feed whole or, where it begins within an epoch, the rest of that epoch by itself.

    ``model.fit`` has one number of steps for all its epochs.
    """
    begun = feed.first_step % max(feed.steps_per_epoch, 1)
    if begun:
        end = min(feed.first_step - begun + feed.steps_per_epoch, feed.total_steps)
        yield feed.part(feed.first_step, end)
        feed = feed.part(end, feed.total_steps)
    if feed.step_count:
        yield feed

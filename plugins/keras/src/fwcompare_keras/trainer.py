"""The trainer: ``model.compile`` and one ``model.fit``, on whichever backend Keras runs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from fwcompare.data.batches import Arrays, Feed
from fwcompare.graph import Weights
from fwcompare.plugin import Job
from fwcompare.probe import Probe
from fwcompare_keras import backends, optimizers
from fwcompare_keras.float64 import set_precision
from fwcompare_keras.layers import Style
from fwcompare_keras.network import Network, to_numpy
from fwcompare_keras.probing import ProbeCallback, StepLossCallback

#: Losses by name, each the mean over the batch.
LOSSES = {
    "cross_entropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    "mse": keras.losses.MeanSquaredError,
}

#: What each execution asks of ``model.compile``.
COMPILE: dict[str, dict[str, Any]] = {
    "native": {"jit_compile": "auto"},
    "eager": {"run_eagerly": True},
    "compiled": {"jit_compile": True},
}


class KerasTrainer:
    """The ``Trainer`` of the three Keras engines; see ``fwcompare.plugin.Trainer``."""

    def __init__(self, job: Job) -> None:
        """Raises ``UnsupportedError`` where device, type or a part of the model is not there."""
        spec = job.spec
        self.spec = spec
        self.backend = backends.load()
        self.device = self.backend.prepare(spec)
        set_precision(spec.precision)
        self.network = Network(job.graph, Style(spec.aligned, spec.precision, spec.seed))
        self.network.load(job.initial_weights)
        self.model = self.network.model
        self.loss = LOSSES[spec.task.loss]()
        self.optimizer = optimizers.make(
            spec.optimizer,
            None if job.constant_learning_rate else job.learning_rates,
            self.network,
            spec.aligned,
            spec.precision,
        )
        self.model.compile(optimizer=self.optimizer, loss=self.loss, **COMPILE[spec.execution])
        self.data = self.backend.place(job.train, spec)

    def fit(self, feed: Feed, probe: Probe) -> None:
        follow = StepLossCallback if self.spec.measure.step_losses else ProbeCallback
        self.model.fit(
            self.backend.batches(self.data, feed, self.spec),
            epochs=len(feed.epochs),
            steps_per_epoch=feed.steps_per_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[follow(self.model, feed, probe)],
        )

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        outputs: np.ndarray = self.model.predict_on_batch(self.backend.host_batch(inputs))
        return outputs

    def synchronize(self) -> None:
        self.backend.synchronize(self.model)

    def weights(self) -> Weights:
        return self.network.weights()

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        # Moving statistics, and the seeds of dropout.
        kept = [(variable, to_numpy(variable)) for variable in self.model.non_trainable_variables]
        loss, found = self.backend.loss_and_gradients(
            self.model, self.loss, list(self.network.trainable.values()), Arrays(inputs, targets)
        )
        for variable, before in kept:
            variable.assign(before)
        return loss, dict(zip(self.network.trainable, found, strict=True))

    def slots(self) -> dict[str, Weights]:
        return optimizers.slots(
            self.optimizer, self.spec.optimizer, self.network, self.spec.aligned
        )

    def facts(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "backend": keras.config.backend(),
            "execution": self.backend.execution(self.model),
            "jit_compile": bool(self.model.jit_compile),
            "optimizer": type(self.optimizer).__name__,
        }

    def peak_device_bytes(self) -> int | None:
        return self.backend.peak_device_bytes()

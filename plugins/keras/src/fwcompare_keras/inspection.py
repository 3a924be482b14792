"""What any trainer of a Keras network answers when it is looked at, whatever loop it trains in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from fwcompare.audit.settings import Settings
from fwcompare.data.batches import Arrays
from fwcompare.graph import Weights
from fwcompare.spec import RunSpec
from fwcompare_keras import audit, checkpoint, optimizers
from fwcompare_keras.backends import Backend
from fwcompare_keras.network import Network


class Inspection:
    """The part of ``fwcompare.plugin.Trainer`` that does not train."""

    spec: RunSpec
    backend: Backend
    network: Network
    model: Any
    loss: Any
    optimizer: Any

    def synchronize(self) -> None:
        self.backend.synchronize(self.model)

    def weights(self) -> Weights:
        return self.network.weights()

    def activations(self, inputs: np.ndarray, training: bool) -> dict[str, np.ndarray]:
        return self.network.activations(inputs, training)

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        variables = list(self.network.trainable.values())
        with self.network.undisturbed():
            loss, found = self.backend.loss_and_gradients(
                self.model, self.loss, variables, Arrays(inputs, targets)
            )
        named = zip(self.network.trainable, found, strict=True)
        return loss, {name: self.network.exchange(name, gradient) for name, gradient in named}

    def slots(self) -> dict[str, Weights]:
        return optimizers.slots(
            self.optimizer, self.spec.optimizer, self.network, self.spec.aligned
        )

    @property
    def stepping(self) -> keras.optimizers.Optimizer:
        """The optimizer that is applied, with what scales the loss around it."""
        found: keras.optimizers.Optimizer = self.model.optimizer
        return found

    def state(self) -> dict[str, np.ndarray]:
        return checkpoint.taken(self.model, self.stepping)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        checkpoint.put_back(state, self.model, self.stepping)

    def settings(self) -> Settings:
        return audit.settings(self.network, self.optimizer)

    def draw(self) -> Weights:
        return self.network.fresh().weights()

    def precision_policy(self) -> dict[str, Any]:
        """The arithmetic as Keras and its backend have it now, as a fact."""
        tf32, settings = self.backend.float32_policy()
        policy = keras.config.dtype_policy()
        mechanism = f"dtype policy {policy.name}" if self.spec.mixed else None
        return {
            "precision_policy": {
                "compute": policy.compute_dtype,
                "mechanism": mechanism,
                "tf32": tf32,
                "settings": settings,
            }
        }

    def peak_device_bytes(self) -> int | None:
        return self.backend.peak_device_bytes()

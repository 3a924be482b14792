"""What differs between Keras's backends: feeding, waiting, gradients, memory.

Each backend is a module with the functions of ``Backend``; only the one in use is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import keras
import numpy as np

from fwcompare.data.batches import Arrays, Feed
from fwcompare.spec import RunSpec


class Backend(Protocol):
    """The functions of a backend module."""

    def prepare(self, spec: RunSpec) -> str:
        """Settle process-wide settings and return the device's name.

        Raises ``UnsupportedError`` where the device is not there.
        """

    def place(self, train: Arrays, spec: RunSpec) -> Any:
        """The training data where this backend is fed from."""

    def batches(self, data: Any, feed: Feed, spec: RunSpec) -> Any:
        """Every batch of every epoch in order, as one object that ``model.fit`` takes.

        ``data`` is what ``place`` made, or a ``Stream`` where data are not held in memory.
        """

    def host_batch(self, inputs: np.ndarray) -> np.ndarray:
        """One batch as ``predict_on_batch`` takes it best."""

    def synchronize(self, model: Any) -> None:
        """Return when all work given to the device is done, also in the middle of ``fit``."""

    def loss_and_gradients(
        self, model: Any, loss: Callable[..., Any], variables: list[Any], batch: Arrays
    ) -> tuple[float, list[np.ndarray]]:
        """Loss in training mode and its gradients; the caller puts changed state back."""

    def execution(self, model: Any) -> str:
        """How the compiled Keras model runs its training step."""

    def float32_policy(self) -> tuple[bool, dict[str, Any]]:
        """Whether float32 may be computed in TF32, and the settings that say so."""

    def compilations(self, model: Any, batch_sizes: int) -> dict[str, int]:
        """Programs compiled so far, as a fact; empty where nothing is compiled.

        ``batch_sizes`` counts the sizes of batches so far, in training and in prediction.
        """

    def peak_device_bytes(self) -> int | None:
        """Peak memory of an accelerator; None on a CPU."""


def load() -> Backend:
    """The module of Keras's present backend."""
    name = f"fwcompare_keras.backends.{keras.config.backend()}_backend"
    return cast(Backend, importlib.import_module(name))

"""Keras on JAX: NumPy batches from a ``PyDataset``; TensorFlow is never imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np

from fwcompare.data.batches import Arrays, Feed
from fwcompare.data.stream import Stream
from fwcompare.errors import UnsupportedError
from fwcompare.spec import RunSpec


def prepare(spec: RunSpec) -> str:
    if spec.device.name == "cpu":
        return "cpu"
    found = jax.devices()[0]
    if found.platform != "gpu":
        raise UnsupportedError(
            "device=cuda: this JAX sees no CUDA device.",
            "Choose device=cpu, or install jax[cuda12] and look at nvidia-smi.",
        )
    return str(found.device_kind)


def place(train: Arrays, spec: RunSpec) -> Arrays:
    # A mapped file is a subclass of ndarray, and slower to take from.
    return Arrays(np.asarray(train.inputs), np.asarray(train.targets))


class Batches(keras.utils.PyDataset):
    """The batches of a feed, counted through all epochs."""

    def __init__(self, data: Arrays | Stream, feed: Feed) -> None:
        super().__init__()
        self._data = data
        self._feed = feed
        self._epoch = 0
        self._ids: list[np.ndarray] = []

    @property
    def num_batches(self) -> int:
        return self._feed.step_count

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        feed = self._feed
        epoch, step = divmod(feed.first_step + index, feed.steps_per_epoch)
        if epoch + 1 != self._epoch:
            self._epoch = epoch + 1
            self._ids = list(feed.batches(self._epoch))
        # A feed that begins within an epoch has only the rest of it.
        ids = self._ids[step - max(feed.first_step - epoch * feed.steps_per_epoch, 0)]
        if isinstance(self._data, Stream):
            return self._data.take(self._epoch, ids)
        return self._data.inputs.take(ids, axis=0), self._data.targets.take(ids, axis=0)


def batches(data: Arrays | Stream, feed: Feed, spec: RunSpec) -> Batches:
    return Batches(data, feed)


def host_batch(inputs: np.ndarray) -> np.ndarray:
    return np.asarray(inputs)


def synchronize(model: Any) -> None:
    """Wait for the newest state: in the middle of ``fit`` it is not in the model's variables but
    with Keras's loop, which keeps it for callbacks."""
    if model._jax_state_synced:
        state = [variable.value for variable in model.variables]
    else:
        # Keras keeps the state in a mapping of its own, which JAX takes for one leaf and does not
        # wait for: hence lists of arrays.
        state = [array for arrays in model._jax_state.values() for array in arrays]
    jax.block_until_ready(state)


def loss_and_gradients(
    model: Any, loss: Callable[..., Any], variables: list[Any], batch: Arrays
) -> tuple[float, list[np.ndarray]]:
    # stateless_call wants the values in the order of the model.
    ordered = {id(v): i for i, v in enumerate(model.trainable_variables)}
    state = [variable.value for variable in model.non_trainable_variables]

    def objective(values: list[Any]) -> Any:
        outputs, _ = model.stateless_call(values, state, batch.inputs, training=True)
        return loss(batch.targets, outputs)

    values = [variable.value for variable in model.trainable_variables]
    value, gradients = jax.jit(jax.value_and_grad(objective))(values)
    return float(value), [np.asarray(gradients[ordered[id(v)]]) for v in variables]


def execution(model: Any) -> str:
    return "jax.jit" if model.jit_compile else "op by op"


def float32_policy() -> tuple[bool, dict[str, Any]]:
    precision = jax.config.jax_default_matmul_precision
    return precision != "highest", {"jax_default_matmul_precision": precision}


def compilations(model: Any, batch_sizes: int) -> dict[str, int]:
    return {"compilations": model.traces} if model.jit_compile else {}


def peak_device_bytes() -> int | None:
    statistics = jax.local_devices()[0].memory_stats()
    return int(statistics["peak_bytes_in_use"]) if statistics else None

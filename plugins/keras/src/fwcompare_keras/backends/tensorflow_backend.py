"""Keras on TensorFlow: a ``tf.data`` pipeline of sample ids, gathered a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from fwcompare.data.batches import Arrays, Feed
from fwcompare.data.stream import Stream
from fwcompare.errors import UnsupportedError
from fwcompare.spec import RunSpec


def prepare(spec: RunSpec) -> str:
    # On by default, with ten bits of float32's mantissa.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    if spec.device.name == "cpu":
        return "cpu"
    found = tf.config.list_physical_devices("GPU")
    if not found:
        raise UnsupportedError(
            "device=cuda: this TensorFlow sees no CUDA device.",
            "Choose device=cpu, or install tensorflow[and-cuda] and look at nvidia-smi.",
        )
    return str(tf.config.experimental.get_device_details(found[0]).get("device_name", "cuda"))


def place(train: Arrays, spec: RunSpec) -> tuple[tf.Tensor, tf.Tensor]:
    # The pipeline runs on the host, whatever the device of the model is.
    with tf.device("CPU:0"):
        return tf.convert_to_tensor(train.inputs), tf.convert_to_tensor(train.targets)


def batches(
    data: tuple[tf.Tensor, tf.Tensor] | Stream, feed: Feed, spec: RunSpec
) -> tf.data.Dataset:
    """Ids in, gathered batches out; with one thread to spend, nothing beside the training runs."""
    with tf.device("CPU:0"):
        dataset = tf.data.Dataset.from_tensor_slices((_epochs(feed), _ids(feed)))
    if isinstance(data, Stream):
        dataset = dataset.map(partial(_streamed, data))
    else:
        inputs, targets = data
        dataset = dataset.map(lambda _, ids: (tf.gather(inputs, ids), tf.gather(targets, ids)))
    if spec.device.threads > 1 or spec.device.name != "cpu":
        dataset = dataset.prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.threading.private_threadpool_size = spec.device.threads
    # Without an end, Keras does not start the pipeline again behind the last epoch.
    return dataset.repeat().with_options(options)


def _streamed(stream: Stream, epoch: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """A batch of data that are not held in memory: NumPy's, by a call out of the pipeline."""
    types = [tf.as_dtype(dtype) for dtype in stream.dtypes]
    taken = tf.numpy_function(stream.take, [epoch, ids], types)
    for tensor, shape in zip(taken, stream.shapes, strict=True):
        tensor.set_shape((ids.shape[0], *shape))
    return tuple(taken)


def _epochs(feed: Feed) -> np.ndarray:
    """The epoch of every batch of the run."""
    return np.repeat(np.array(feed.epochs), [feed.steps(epoch) for epoch in feed.epochs])


def _ids(feed: Feed) -> tf.Tensor | tf.RaggedTensor:
    """Ids of every batch of the run, (steps, batch); ragged where a batch is smaller."""
    found = list(feed.all_batches())
    sizes = [len(ids) for ids in found]
    flat = np.concatenate(found)
    if feed.samples < 2**31:
        flat = flat.astype(np.int32)
    if min(sizes) == max(sizes):
        return tf.constant(flat.reshape(len(sizes), -1))
    return tf.RaggedTensor.from_row_lengths(flat, sizes)


def host_batch(inputs: np.ndarray) -> np.ndarray:
    return np.asarray(inputs)


def synchronize(model: Any) -> None:
    tf.test.experimental.sync_devices()


def loss_and_gradients(
    model: Any, loss: Callable[..., Any], variables: list[Any], batch: Arrays
) -> tuple[float, list[np.ndarray]]:
    places = [variable.value for variable in variables]
    with tf.GradientTape() as tape:
        outputs = model(tf.convert_to_tensor(batch.inputs), training=True)
        value = loss(tf.convert_to_tensor(batch.targets), outputs)
    return float(value), [whole(gradient).numpy() for gradient in tape.gradient(value, places)]


def whole(gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    """A gradient with all rows; that of an embedding has one for each time that a token was looked
    up, so that a row may be there twice or not at all."""
    return tf.convert_to_tensor(gradient)


def execution(model: Any) -> str:
    if model.run_eagerly:
        return "eager"
    return "tf.function with XLA" if model.jit_compile else "tf.function"


def float32_policy() -> tuple[bool, dict[str, Any]]:
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    return tf32, {"tensor_float_32_execution_enabled": tf32}


def compilations(model: Any, batch_sizes: int) -> dict[str, int]:
    if model.run_eagerly:
        return {}
    # Keras traces for batches of any size, but XLA then compiles each size by itself.
    return {"compilations": batch_sizes if model.jit_compile else model.traces}


def peak_device_bytes() -> int | None:
    if not tf.config.list_logical_devices("GPU"):
        return None
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])

"""Several processes, or several devices of one, that train as one by TensorFlow's strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from fwcompare.errors import UnsupportedError
from fwcompare.plugin import Job
from fwcompare.ranks import Ranks
from fwcompare.spec import RunSpec
from fwcompare_keras.backends.tensorflow_backend import whole
from fwcompare_keras.network import Network


class Together:
    """A strategy with as many replicas as a batch has parts.

    What is summed over them is summed here: Keras's optimizer would clip the gradients of a share.
    """

    strategy: tf.distribute.Strategy

    def __init__(self, spec: RunSpec) -> None:
        self.count = spec.distributed.shares
        self.local_norms = spec.distributed.batch_norm == "local"

    @property
    def name(self) -> str:
        """How TensorFlow calls it."""
        return type(self.strategy).__name__

    def prepare(self, network: Network, optimizer: keras.optimizers.Optimizer) -> None:
        """Have normalisation see the whole batch where it is to, give each replica masks of dropout
        of its own, and leave gradients as they are given to the optimizer."""
        for native in network.natives.values():
            if isinstance(native, layers.BatchNormalization):
                native.synchronized = not self.local_norms and self.count > 1
            generator = getattr(native, "seed_generator", None)
            if generator is not None:
                self._tell_apart(generator.state)
        optimizer._all_reduce_sum_gradients = list

    def _tell_apart(self, state: Any) -> None:
        """Move the state of a generator of random numbers on by the number of each replica."""
        raise NotImplementedError

    def own(self, batch: np.ndarray) -> tf.Tensor:
        """Of a whole batch what this process gives to such a function as ``run`` makes."""
        raise NotImplementedError

    def run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that is run by every replica, each with its share of this process's part."""
        raise NotImplementedError

    def mean(self, tensors: list[Any]) -> list[tf.Tensor]:
        """Within such a function: the means over all replicas."""
        replica = tf.distribute.get_replica_context()
        found: list[tf.Tensor] = replica.all_reduce(
            tf.distribute.ReduceOp.MEAN, [whole(tensor) for tensor in tensors]
        )
        return found

    def mean_of(self, tensor: tf.Tensor) -> tf.Tensor:
        """The mean over all replicas of what such functions have returned."""
        raise NotImplementedError


class Processes(Together):
    """All ranks of a job, which ``TF_CONFIG`` has told of each other, with one replica each.

    ``model.fit`` does not train under this strategy.
    """

    def __init__(self, spec: RunSpec, ranks: Ranks) -> None:
        """Must come before TensorFlow has computed anything."""
        super().__init__(spec)
        self.ranks = ranks
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def _tell_apart(self, state: Any) -> None:
        state.assign(_moved(state, self.ranks.rank))

    def own(self, batch: np.ndarray) -> tf.Tensor:
        return tf.convert_to_tensor(batch[self.ranks.share(len(batch))])

    def run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: self.strategy.run(function, arguments)

    def mean_of(self, tensor: tf.Tensor) -> tf.Tensor:
        # An argument is on no device, by which TensorFlow would tell whose it is.
        return tf.function(self.run(lambda own: self.mean([tf.identity(own)])[0]))(tensor)


class Devices(Together):
    """Several devices of this process, with one replica each: GPUs, or parts of the CPU."""

    def __init__(self, spec: RunSpec) -> None:
        """Must come before TensorFlow has computed anything.

        Raises:
            UnsupportedError: there are fewer devices.
        """
        super().__init__(spec)
        if spec.device.name == "cpu":
            (cpu, *_) = tf.config.list_physical_devices("CPU")
            parts = [tf.config.LogicalDeviceConfiguration() for _ in range(self.count)]
            tf.config.set_logical_device_configuration(cpu, parts)
        else:
            there = len(tf.config.list_physical_devices("GPU"))
            if there < self.count:
                raise UnsupportedError(
                    f"distributed.replicas={self.count}: this TensorFlow sees {there} CUDA "
                    f"device{'s' * (there != 1)}.",
                    "Choose as many replicas as there are, or device=cpu.",
                )
        kind = "CPU" if spec.device.name == "cpu" else "GPU"
        devices = [f"{kind}:{number}" for number in range(self.count)]
        self.strategy = tf.distribute.MirroredStrategy(devices)

    def _tell_apart(self, state: Any) -> None:
        for number, copy in enumerate(self.strategy.experimental_local_results(state.value)):
            copy.assign(_moved(state, number))

    def own(self, batch: np.ndarray) -> tf.Tensor:
        return tf.convert_to_tensor(batch)

    def run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What every replica returns is a number of its share; their mean comes back."""

        def of_all(*arguments: tf.Tensor) -> Any:
            found = self.strategy.run(function, [self._split(tensor) for tensor in arguments])
            return tf.nest.map_structure(self._reduced, found)

        return of_all

    def _split(self, tensor: tf.Tensor) -> Any:
        parts = tf.split(tensor, self.count)
        return self.strategy.experimental_distribute_values_from_function(
            lambda replica: parts[replica.replica_id_in_sync_group]
        )

    def _reduced(self, values: Any) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None)

    def mean_of(self, tensor: tf.Tensor) -> tf.Tensor:
        return tensor


def together(job: Job) -> Together | None:
    """What shares the batches of a job; None where nothing does."""
    if job.ranks is not None:
        return Processes(job.spec, job.ranks)
    return Devices(job.spec) if job.spec.distributed.name == "mirrored" else None


def _moved(state: Any, number: int) -> np.ndarray:
    seed = np.array(state)
    return seed + np.array([number, 0], seed.dtype)

"""Several processes that train as one, by TensorFlow's ``MultiWorkerMirroredStrategy``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from fwcompare.plugin import Job
from fwcompare_keras.backends.tensorflow_backend import whole
from fwcompare_keras.network import Network


class Together:
    """The strategy of all ranks of a job, which ``TF_CONFIG`` has told of each other.

    Each has one replica. What is summed over them is summed here: Keras's optimizer would clip the
    gradients of a share, and ``model.fit`` does not train under this strategy.
    """

    def __init__(self, job: Job) -> None:
        """Must come before TensorFlow has computed anything."""
        assert job.ranks is not None
        self.ranks = job.ranks
        self.local_norms = job.spec.distributed.batch_norm == "local"
        self.strategy = tf.distribute.MultiWorkerMirroredStrategy()

    def prepare(self, network: Network, optimizer: keras.optimizers.Optimizer) -> None:
        """Have normalisation see the whole batch where it is to, give each rank masks of dropout of
        its own, and leave gradients as they are given to the optimizer."""
        for native in network.natives.values():
            if isinstance(native, layers.BatchNormalization):
                native.synchronized = not self.local_norms and self.ranks.count > 1
            generator = getattr(native, "seed_generator", None)
            if generator is not None:
                state = np.array(generator.state)
                generator.state.assign(state + np.array([self.ranks.rank, 0], state.dtype))
        optimizer._all_reduce_sum_gradients = list

    def run(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that is run by every replica, each with its own arguments."""
        return lambda *arguments: self.strategy.run(function, arguments)

    def mean(self, tensors: list[Any]) -> list[tf.Tensor]:
        """Within such a function: the means over all replicas."""
        replica = tf.distribute.get_replica_context()
        found: list[tf.Tensor] = replica.all_reduce(
            tf.distribute.ReduceOp.MEAN, [whole(tensor) for tensor in tensors]
        )
        return found

    def mean_of(self, tensor: tf.Tensor) -> tf.Tensor:
        """The mean of one tensor over all replicas, outside such a function."""
        # An argument is on no device, by which TensorFlow would tell whose it is.
        return tf.function(self.run(lambda own: self.mean([tf.identity(own)])[0]))(tensor)

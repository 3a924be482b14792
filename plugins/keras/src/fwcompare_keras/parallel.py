"""Several processes that train as one, by ``keras.distribution`` on JAX."""

from __future__ import annotations

from typing import Any

import jax
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fwcompare.data.batches import Arrays
from fwcompare.plugin import Job
from fwcompare_keras.network import Network


class Together:
    """The devices of all ranks, over which Keras splits every batch of ``model.fit``.

    Variables are on all of them. What a process computes by itself takes those of its own device.
    """

    def __init__(self, job: Job) -> None:
        """Must come before JAX has computed anything."""
        assert job.ranks is not None
        self.ranks = job.ranks
        keras.distribution.initialize()
        self.distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(self.distribution)
        self._infer: Any = None

    def predict(self, model: keras.Model, inputs: np.ndarray) -> np.ndarray:
        """Outputs of a batch that only this process has."""
        if self._infer is None:
            self._infer = jax.jit(
                lambda trainable, others, batch: model.stateless_call(
                    trainable, others, batch, training=False
                )[0]
            )
        return np.asarray(self._infer(*_here(model), np.asarray(inputs)))

    def activations(
        self, network: Network, inputs: np.ndarray, training: bool
    ) -> dict[str, np.ndarray]:
        """The output of every layer, which leaves all variables as they are."""
        model = network.every_layer
        outputs, _ = model.stateless_call(*_here(model), np.asarray(inputs), training=training)
        return {name: np.asarray(output) for name, output in outputs.items()}

    def gradients(
        self, model: keras.Model, loss: Any, variables: list[Any], batch: Arrays
    ) -> tuple[float, list[np.ndarray]]:
        """Loss and gradients of a whole batch, of which each process gives its share."""
        own = self.ranks.share(len(batch.inputs))
        joined = [self._joined(array[own]) for array in (batch.inputs, batch.targets)]
        values = [variable.value for variable in model.trainable_variables]
        state = [variable.value for variable in model.non_trainable_variables]

        def objective(values: list[Any], state: list[Any], inputs: Any, targets: Any) -> Any:
            outputs, _ = model.stateless_call(values, state, inputs, training=True)
            return loss(targets, outputs)

        mesh = joined[0].sharding.mesh
        everywhere = NamedSharding(mesh, PartitionSpec())
        compute = jax.jit(jax.value_and_grad(objective), out_shardings=everywhere)
        value, gradients = compute(values, state, *joined)
        order = {id(v): i for i, v in enumerate(model.trainable_variables)}
        return float(value), [np.asarray(gradients[order[id(v)]]) for v in variables]

    def _joined(self, share: np.ndarray) -> jax.Array:
        layout = self.distribution.get_data_layout(share.shape).backend_layout
        return jax.make_array_from_process_local_data(layout, np.ascontiguousarray(share))


def _here(model: keras.Model) -> tuple[list[Any], list[Any]]:
    """The values of a model's variables on this process's own device."""
    kinds = model.trainable_variables, model.non_trainable_variables
    trainable, others = ([v.value.addressable_data(0) for v in kind] for kind in kinds)
    return trainable, others

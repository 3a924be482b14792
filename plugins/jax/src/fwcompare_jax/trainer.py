"""The trainer: one jitted step, its state donated, fed with sample ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.training.dynamic_scale import DynamicScale

from fwcompare.audit.settings import Settings
from fwcompare.data.batches import Feed
from fwcompare.errors import UnsupportedError
from fwcompare.graph import Weights
from fwcompare.plugin import Job
from fwcompare.probe import Probe
from fwcompare_jax import audit, checkpoint, optimizers, precision
from fwcompare_jax.layers import Path
from fwcompare_jax.model import GraphLayers, Model
from fwcompare_jax.own import OwnModule
from fwcompare_jax.parallel import Together

Leaves = list[jax.Array]


class JaxTrainer:
    """Flax NNX and Optax.

    The model is split once. What goes from step to step are lists of arrays rather than NNX
    states, because JAX flattens lists in C++ (the step of a small MLP: 0.28 ms against 0.33 ms).
    The training split stays on the device and the step gathers its batch there, unless the split
    is not to be held in memory.
    """

    def __init__(self, job: Job) -> None:
        """Raises ``UnsupportedError`` if the device or a layer kind is not there."""
        self._job = job
        self._together = Together(job.ranks) if job.ranks else None
        self._device = _device(job.spec.device.name)
        spec = job.spec
        self._model: Model = OwnModule(spec) if spec.framework.code else GraphLayers(job)
        names = self._model.names
        self._trained: Any = nnx.Param
        if fixed := self._model.fixed:
            self._trained = nnx.All(nnx.Param, lambda path, _: path not in fixed)
        # Every weight is imported, so none is drawn.
        abstract = nnx.eval_shape(self._model.build)
        self._model.check(abstract)
        self._train_def, params, rest = nnx.split(abstract, self._trained, ...)
        abstract.eval()
        self._eval_def = nnx.graphdef(abstract)
        self._params_def, self._rest_def = jax.tree.structure(params), jax.tree.structure(rest)
        self._names = [names[path] for path, _ in nnx.to_flat_state(params)]
        places = [path for path, _ in nnx.to_flat_state(rest)]
        #: Names of moving statistics; None for what is not the graph's, as random streams are not.
        self._rest_names = [names.get(path) for path in places]
        weights = job.initial_weights
        self._params = [
            jnp.array(self._model.native(name, weights[name]).reshape(shape.shape))
            for name, shape in zip(self._names, jax.tree.leaves(params), strict=True)
        ]
        self._rest = _beginnings(self._model, places, jax.tree.leaves(rest), weights)
        roles = {name: parameter.role for name, parameter in job.graph.parameters()}
        self._optimizer = optimizers.make(job, [roles[name] for name in self._names])
        state = self._params, self._rest, self._optimizer.init(self._params)
        # What a step returns is committed to the device of its data. Were the first step given
        # anything that is not, the second would be compiled anew.
        self._params, self._rest, self._slots, self._scale = self._placed(
            (*state, precision.loss_scale(spec))
        )
        self._criterion = LOSSES[job.spec.task.loss]
        self._stream = job.stream
        step = self._traced_step
        if self._stream is None:
            self._inputs = self._placed(job.train.inputs)
            self._targets = self._placed(job.train.targets)
            step = self._traced_gathering_step
        # Over several processes, what a step returns is on every device, as what it is given.
        spread = {"out_shardings": self._together.everywhere} if self._together else {}
        self._step = jax.jit(step, donate_argnums=(0, 1, 2), **spread)
        self._outputs = jax.jit(self._traced_outputs)
        self._activations = jax.jit(self._traced_activations, static_argnames="training")
        self._loss_and_gradients = jax.jit(jax.value_and_grad(self._loss, has_aux=True), **spread)

    def _placed(self, tree: Any) -> Any:
        """Arrays where a step takes them from."""
        if self._together is not None:
            return self._together.spread(tree)
        return jax.device_put(tree, self._device)

    def _own(self) -> tuple[Leaves, Leaves]:
        """Weights and the rest for what this process computes by itself."""
        if self._together is None:
            return self._params, self._rest
        return self._together.here(self._params), self._together.here(self._rest)

    def _merge(self, definition: nnx.GraphDef[Any], params: Leaves, rest: Leaves) -> Any:
        return nnx.merge(
            definition,
            jax.tree.unflatten(self._params_def, params),
            jax.tree.unflatten(self._rest_def, rest),
        )

    def _loss(
        self, params: Leaves, rest: Leaves, inputs: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, Leaves]:
        """Loss of a batch in training mode, and the state that comes after it."""
        model = self._merge(self._train_def, params, rest)
        outputs = self._model.outputs(model, inputs).astype(self._job.spec.dtype)
        loss = self._criterion(outputs, targets)
        return loss, jax.tree.leaves(nnx.state(model, nnx.Not(self._trained)))

    def _traced_step(
        self,
        params: Leaves,
        rest: Leaves,
        slots: optax.OptState,
        scale: DynamicScale | None,
        inputs: jax.Array,
        targets: jax.Array,
    ) -> tuple[Leaves, Leaves, optax.OptState, DynamicScale | None, jax.Array]:
        value_and_grad = precision.value_and_grad(scale, self._loss)
        scale, finite, (loss, rest), gradients = value_and_grad(params, rest, inputs, targets)
        updates, advanced = self._optimizer.update(gradients, slots, params)
        stepped = optax.apply_updates(params, updates), advanced
        if finite is not None:  # or the step is left out, and its place in the schedule with it
            stepped = jax.tree.map(partial(jnp.where, finite), stepped, (params, slots))
        return stepped[0], rest, stepped[1], scale, loss

    def _traced_gathering_step(
        self,
        params: Leaves,
        rest: Leaves,
        slots: optax.OptState,
        scale: DynamicScale | None,
        inputs: jax.Array,
        targets: jax.Array,
        ids: jax.Array,
    ) -> tuple[Leaves, Leaves, optax.OptState, DynamicScale | None, jax.Array]:
        return self._traced_step(params, rest, slots, scale, inputs[ids], targets[ids])

    def _traced_outputs(self, params: Leaves, rest: Leaves, inputs: jax.Array) -> jax.Array:
        model = self._merge(self._eval_def, params, rest)
        return self._model.outputs(model, inputs).astype(self._job.spec.dtype)

    def _traced_activations(
        self, params: Leaves, rest: Leaves, inputs: jax.Array, training: bool
    ) -> dict[str, jax.Array]:
        definition = self._train_def if training else self._eval_def
        return self._model.activations(self._merge(definition, params, rest), inputs)

    def fit(self, feed: Feed, probe: Probe) -> None:
        step, feed = self._step, self._job.share(feed)
        for epoch in feed.epochs:
            probe.epoch_begin(epoch)
            losses: Leaves = []
            for ids in feed.batches(epoch):
                self._params, self._rest, self._slots, self._scale, loss = step(
                    self._params,
                    self._rest,
                    self._slots,
                    self._scale,
                    *self._fed(epoch, ids),
                )
                losses.append(loss)
                probe.step()
            probe.epoch_end(lambda losses=losses: np.array(jax.device_get(losses)))

    def _fed(self, epoch: int, ids: np.ndarray) -> tuple[Any, ...]:
        """What a step takes of the data: all of them and the ids of a batch, which it gathers on
        the device, or a batch of data that are not held in memory."""
        if self._stream is None:
            numbers = ids.astype(np.int32)
            if self._together is not None:
                return self._inputs, self._targets, self._together.joined(numbers)
            return self._inputs, self._targets, numbers
        taken = self._stream.take(epoch, ids)
        return taken if self._together is None else tuple(map(self._together.joined, taken))

    def batches(self, feed: Feed) -> Iterator[Any]:
        feed = self._job.share(feed)
        return (self._fed(epoch, ids) for epoch in feed.epochs for ids in feed.batches(epoch))

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(self._outputs(*self._own(), inputs))

    def synchronize(self) -> None:
        jax.block_until_ready((self._params, self._slots))

    def weights(self) -> Weights:
        found = self._named(self._params)
        for name, leaf in zip(self._rest_names, self._rest, strict=True):
            if name is not None:
                found[name] = self._model.canonical(name, np.array(leaf))
        return found

    def activations(self, inputs: np.ndarray, training: bool) -> dict[str, np.ndarray]:
        found = self._activations(*self._own(), inputs, training=training)
        return {name: np.asarray(output) for name, output in found.items()}

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, Weights]:
        batch: tuple[Any, Any] = inputs, targets
        if self._together is not None:
            own = self._together.ranks.share(len(inputs))
            batch = self._together.joined(inputs[own]), self._together.joined(targets[own])
        (loss, _), gradients = self._loss_and_gradients(self._params, self._rest, *batch)
        return float(loss), self._named(gradients)

    def slots(self) -> dict[str, Weights]:
        found = {
            canonical: optax.tree.get(self._slots, name)
            for name, canonical in optimizers.SLOTS.items()
        }
        return {slot: self._named(leaves) for slot, leaves in found.items() if leaves is not None}

    def _named(self, leaves: Leaves) -> Weights:
        named = zip(self._names, leaves, strict=True)
        return {name: self._model.canonical(name, np.array(leaf)) for name, leaf in named}

    def state(self) -> dict[str, np.ndarray]:
        leaves, names = self._state()
        return checkpoint.taken(leaves, names)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        leaves, names = self._state()
        found = iter(checkpoint.put_back(state, leaves, names))
        whole = self._params, self._rest, self._slots, self._scale
        self._params, self._rest, self._slots, self._scale = jax.tree.map(
            lambda _: next(found), whole
        )

    def _state(self) -> tuple[Leaves, list[str]]:
        """All that goes from step to step, in the order of its tree, by name."""
        beside = jax.tree.leaves((self._slots, self._scale))
        rest = [f"statistics/{name}" if name else "random" for name in self._rest_names]
        return (
            [*self._params, *self._rest, *beside],
            [
                *(f"weights/{name}" for name in self._names),
                *(f"{name}/{i}" if name == "random" else name for i, name in enumerate(rest)),
                *(f"optimizer/{i}" for i in range(len(beside))),
            ],
        )

    def settings(self) -> Settings:
        model = self._merge(self._train_def, self._params, self._rest)
        rates = self._job.learning_rates
        first = float(rates[0]) if len(rates) else self._job.spec.optimizer.lr
        natives = dict(self._model.natives(model))
        return audit.settings(self._job.graph, natives, self._optimizer, first)

    def draw(self) -> Weights:
        fresh = nnx.to_flat_state(nnx.state(self._model.build()))
        names = self._model.names
        return {
            names[path]: self._model.canonical(names[path], np.array(leaf[...]))
            for path, leaf in fresh
            if path in names
        }

    def facts(self) -> dict[str, Any]:
        jitted: tuple[Any, ...] = self._step, self._outputs
        return {
            "device": self._device.device_kind,
            "execution": "jax.jit",
            "compilations": sum(function._cache_size() for function in jitted),
            "precision_policy": precision.facts(self._job.spec),
            **({"loss_scale": float(self._scale.scale)} if self._scale else {}),
            **({"distributed": "jax.distributed, the batch sharded"} if self._together else {}),
        }

    def peak_device_bytes(self) -> int | None:
        if self._device.platform == "cpu":
            return None
        return (self._device.memory_stats() or {}).get("peak_bytes_in_use")


def _beginnings(model: Model, places: Sequence[Path], shapes: Leaves, weights: Weights) -> Leaves:
    """What is not trained, at first: statistics, tensors that are kept at a number, and what a new
    module has of its own, such as random streams."""
    own = {place for place in places if place not in model.names and place not in model.fixed}

    @jax.jit  # which leaves out the weights that nobody asks for
    def drawn() -> Leaves:
        fresh = nnx.to_flat_state(nnx.state(model.build()))
        return [
            leaf for path, variable in fresh if path in own for leaf in jax.tree.leaves(variable)
        ]

    rest = iter(drawn() if own else [])
    return [
        next(rest)
        if place in own
        else jnp.full(shape.shape, model.fixed[place], shape.dtype)
        if place in model.fixed
        else jnp.array(model.native(model.names[place], weights[model.names[place]]))
        for place, shape in zip(places, shapes, strict=True)
    ]


def _device(name: str) -> jax.Device:
    try:
        return jax.local_devices(backend=name)[0]
    except RuntimeError as error:
        raise UnsupportedError(
            f"jax finds no device '{name}' here: {error}.",
            "Install JAX with CUDA (pip install 'jax[cuda12]'), or choose device=cpu.",
        ) from error


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _binary_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.sigmoid_binary_cross_entropy(logits, targets).mean()


def _mse(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.squared_error(outputs, targets).mean()


#: Losses by name, each the mean over the batch.
LOSSES = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "mse": _mse,
}

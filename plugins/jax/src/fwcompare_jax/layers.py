"""The model: a native constructor for each layer kind, wired as the graph says.

Flax keeps kernels in the canonical layout (channels last, inputs before outputs), so tensors are
taken over as they are; only the names of normalisation parameters differ.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import INPUT, Graph, Layer
from fwcompare.graph.kinds import AvgPool2d, BatchNorm, Conv2d, Dense, LayerNorm, MaxPool2d
from fwcompare_jax.activations import activation

#: Where a tensor lives in the NNX state: ("layers", position, attribute).
Path = tuple[Any, ...]

_NORM_ATTRIBUTES = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}


@dataclass(frozen=True)
class Context:
    """What every constructor needs beside its layer."""

    aligned: bool
    #: The type of weights and statistics.
    param_dtype: np.dtype
    #: The type that layers compute in; None means that of their inputs and weights.
    dtype: jnp.dtype | None
    rngs: nnx.Rngs


#: Builds what a layer does: ``(its kind, the layer, the context)``.
Constructor = Callable[[Any, Layer, Context], Callable[..., jax.Array]]


def _dense(kind: Dense, layer: Layer, context: Context) -> nnx.Linear:
    return nnx.Linear(
        layer.input_shapes[0][-1],
        kind.units,
        use_bias=kind.bias,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
    )


def _conv2d(kind: Conv2d, layer: Layer, context: Context) -> nnx.Conv:
    return nnx.Conv(
        layer.input_shapes[0][-1],
        kind.filters,
        kind.kernel_size,
        kind.stride,
        padding=kind.padding.upper(),
        feature_group_count=kind.groups,
        use_bias=kind.bias,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
    )


def _max_pool2d(kind: MaxPool2d, layer: Layer, context: Context) -> Callable[..., jax.Array]:
    return partial(
        nnx.max_pool,
        window_shape=kind.pool_size,
        strides=kind.stride,
        padding=kind.padding.upper(),
    )


def _avg_pool2d(kind: AvgPool2d, layer: Layer, context: Context) -> Callable[..., jax.Array]:
    cure = {"count_include_pad": False} if context.aligned else {}
    return partial(
        nnx.avg_pool,
        window_shape=kind.pool_size,
        strides=kind.stride,
        padding=kind.padding.upper(),
        **cure,
    )


def _batch_norm(kind: BatchNorm, layer: Layer, context: Context) -> nnx.BatchNorm:
    cure: dict[str, Any] = {}
    if context.aligned:
        cure = {
            "momentum": kind.momentum,
            "epsilon": kind.epsilon,
            "use_fast_variance": False,
        }
    return nnx.BatchNorm(
        layer.input_shapes[0][-1],
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
        **cure,
    )


def _layer_norm(kind: LayerNorm, layer: Layer, context: Context) -> nnx.LayerNorm:
    cure: dict[str, Any] = {}
    if context.aligned:
        cure = {"epsilon": kind.epsilon, "use_fast_variance": False}
    return nnx.LayerNorm(
        layer.input_shapes[0][-1],
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
        **cure,
    )


def _reshape(shape: tuple[int, ...], inputs: jax.Array) -> jax.Array:
    return inputs.reshape(len(inputs), *shape)


def _add(*inputs: jax.Array) -> jax.Array:
    return reduce(operator.add, inputs)


def _concat(*inputs: jax.Array) -> jax.Array:
    return jnp.concatenate(inputs, axis=-1)


#: Layer kind to its native constructor.
CONSTRUCTORS: dict[str, Constructor] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "global_avg_pool2d": lambda kind, layer, context: partial(jnp.mean, axis=(1, 2)),
    "global_max_pool2d": lambda kind, layer, context: partial(jnp.max, axis=(1, 2)),
    "flatten": lambda kind, layer, context: partial(_reshape, layer.shape),
    "reshape": lambda kind, layer, context: partial(_reshape, layer.shape),
    "activation": lambda kind, layer, context: activation(kind, context.aligned),
    "dropout": lambda kind, layer, context: nnx.Dropout(kind.rate, rngs=context.rngs),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "add": lambda kind, layer, context: _add,
    "concat": lambda kind, layer, context: _concat,
}


class GraphModel(nnx.Module):
    """The layers of a graph, called in its order."""

    def __init__(
        self,
        graph: Graph,
        aligned: bool,
        seed: int,
        param_dtype: np.dtype,
        dtype: jnp.dtype | None,
    ) -> None:
        """``seed`` is that of dropout. Raises ``UnsupportedError`` for an unknown layer kind."""
        context = Context(aligned, param_dtype, dtype, nnx.Rngs(params=0, dropout=seed))
        self.wiring = tuple((layer.name, layer.inputs) for layer in graph.layers)
        self.layers = nnx.List([_construct(layer, context) for layer in graph.layers])

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return self.activations(inputs)[self.wiring[-1][0]]

    def activations(self, inputs: jax.Array) -> dict[str, jax.Array]:
        """The output of every layer by name; what is not used is dropped when jit compiles."""
        values = {INPUT: inputs}
        for (name, sources), layer in zip(self.wiring, self.layers, strict=True):
            values[name] = layer(*(values[source] for source in sources))
        del values[INPUT]
        return values


def _construct(layer: Layer, context: Context) -> Callable[..., jax.Array]:
    kind = layer.kind.kind
    if kind not in CONSTRUCTORS:
        raise UnsupportedError(
            f"jax cannot build layer '{layer.name}' of kind '{kind}'.",
            f"It builds: {choices(CONSTRUCTORS)}.",
        )
    return CONSTRUCTORS[kind](layer.kind, layer, context)


def canonical_names(graph: Graph) -> Mapping[Path, str]:
    """Where each tensor of the graph lives in the model's state, to its canonical name."""
    return {
        ("layers", position, _NORM_ATTRIBUTES.get(parameter.name, parameter.name)): (
            f"{layer.name}/{parameter.name}"
        )
        for position, layer in enumerate(graph.layers)
        for parameter in layer.parameters
    }

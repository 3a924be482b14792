"""The model: a native constructor for each layer kind, wired as the graph says.

Flax keeps kernels in the canonical layout (channels last, inputs before outputs), so tensors are
taken over in their order; names of parameters differ, and where Flax joins two axes the shape.
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
from flax.nnx.nn import initializers
from flax.nnx.nn.attention import dot_product_attention_weights

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import INPUT, Graph, Layer
from fwcompare.graph.attention import MultiHeadAttention
from fwcompare.graph.convolutions import Conv2dTranspose, Convolution, DepthwiseConv2d
from fwcompare.graph.embedding import Embedding, SinusoidalPosition
from fwcompare.graph.kinds import Dense
from fwcompare.graph.kinds import Scale as ScaleKind
from fwcompare.graph.masks import PaddingMask
from fwcompare.graph.norms import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from fwcompare.graph.pooling import GlobalAvgPool1d, GlobalMaxPool1d, Pooling
from fwcompare.graph.recurrent import Recurrent as RecurrentKind
from fwcompare.graph.resizing import ZeroPad2d
from fwcompare_jax import recurrent
from fwcompare_jax.activations import activation
from fwcompare_jax.recurrent import Recurrent

#: Where a tensor lives in the NNX state: ("layers", position, attribute).
Path = tuple[Any, ...]

#: Attributes that have another name than the tensor.
_ATTRIBUTES = {
    "embeddings": "embedding",
    "output": "out",
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


def _convolution(kind: Convolution | DepthwiseConv2d, layer: Layer, context: Context) -> nnx.Conv:
    channels = layer.input_shapes[0][-1]
    return nnx.Conv(
        channels,
        layer.shape[-1],
        kind.kernel_size,
        kind.stride,
        padding=kind.padding.upper(),
        kernel_dilation=kind.dilation,
        feature_group_count=kind.groups if isinstance(kind, Convolution) else channels,
        use_bias=kind.bias,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
    )


def _conv2d_transpose(kind: Conv2dTranspose, layer: Layer, context: Context) -> nnx.ConvTranspose:
    return nnx.ConvTranspose(
        layer.input_shapes[0][-1],
        kind.filters,
        kind.kernel_size,
        kind.stride,
        padding=kind.padding.upper(),
        use_bias=kind.bias,
        # The kernel as the contract has it; Flax's own is (kh, kw, in, out) and turned around.
        transpose_kernel=True,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
    )


def _max_pool(kind: Pooling, layer: Layer, context: Context) -> Callable[..., jax.Array]:
    return partial(
        nnx.max_pool,
        window_shape=kind.pool_size,
        strides=kind.stride,
        padding=kind.padding.upper(),
    )


def _avg_pool(kind: Pooling, layer: Layer, context: Context) -> Callable[..., jax.Array]:
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


def _group_norm(kind: GroupNorm, layer: Layer, context: Context) -> nnx.GroupNorm:
    cure: dict[str, Any] = {}
    if context.aligned:
        cure = {"epsilon": kind.epsilon, "use_fast_variance": False}
    return nnx.GroupNorm(
        layer.input_shapes[0][-1],
        kind.groups,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
        **cure,
    )


def _rms_norm(kind: RmsNorm, layer: Layer, context: Context) -> nnx.RMSNorm:
    cure = {"epsilon": kind.epsilon} if context.aligned else {}
    return nnx.RMSNorm(
        layer.input_shapes[0][-1],
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
        **cure,
    )


class Scale(nnx.Module):
    """A factor for everything and, where it is learned, one for each channel."""

    def __init__(self, kind: ScaleKind, layer: Layer, context: Context) -> None:
        self.factor = kind.factor
        shape, dtype = layer.shape[-1:], context.param_dtype
        self.scale = nnx.Param(jnp.ones(shape, dtype)) if kind.learned else nnx.data(None)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        scaled = inputs * self.factor
        if self.scale is None:
            return scaled
        return scaled * self.scale[...].astype(inputs.dtype)


def _zero_pad2d(kind: ZeroPad2d, layer: Layer, context: Context) -> Callable[..., jax.Array]:
    return partial(jnp.pad, pad_width=((0, 0), *kind.padding, (0, 0)))


def _repeat(size: tuple[int, int], inputs: jax.Array) -> jax.Array:
    return inputs.repeat(size[0], axis=1).repeat(size[1], axis=2)


def _embedding(kind: Embedding, layer: Layer, context: Context) -> nnx.Embed:
    return nnx.Embed(
        kind.tokens,
        kind.features,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
    )


def _multi_head_attention(
    kind: MultiHeadAttention, layer: Layer, context: Context
) -> nnx.MultiHeadAttention | Restricted:
    exact = context.aligned and context.param_dtype == np.float64
    attention = _stepwise_attention if exact else nnx.dot_product_attention
    native = nnx.MultiHeadAttention(
        kind.heads,
        layer.input_shapes[0][-1],
        in_kv_features=layer.data_shapes[-1][-1],
        use_bias=kind.bias,
        decode=False,
        attention_fn=attention,
        dtype=context.dtype,
        param_dtype=context.param_dtype,
        rngs=context.rngs,
    )
    return Restricted(native, kind) if _restricted(kind) else native


def _restricted(kind: MultiHeadAttention) -> bool:
    """Whether a step does not see every step."""
    return kind.causal or kind.mask


def _stepwise_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    is_causal: bool = False,
    **_: Any,
) -> jax.Array:
    """Attention by Flax's own weights. JAX's fused one, which Flax takes where it may, has its
    softmax in float32 whatever the type."""
    shares = dot_product_attention_weights(query, key, mask=mask, is_causal=is_causal)
    return jnp.einsum("...hqk,...khd->...qhd", shares, value)


class Restricted(nnx.Module):
    """Attention in which a step does not see those behind it, or those that a mask leaves out."""

    def __init__(self, native: nnx.MultiHeadAttention, kind: MultiHeadAttention) -> None:
        self.native = native
        self.causal, self.masked = kind.causal, kind.mask

    def __call__(self, *inputs: jax.Array) -> jax.Array:
        outputs: jax.Array
        if self.masked:
            *data, steps = inputs
            outputs = self.native(*data, mask=self._seen(steps))
        else:
            outputs = self.native(*inputs, is_causal=self.causal)
        return outputs

    def _seen(self, steps: jax.Array) -> jax.Array:
        """Which steps each step sees, (n, 1, steps or 1, steps)."""
        each = steps[:, jnp.newaxis, jnp.newaxis, :]
        if not self.causal:
            return each
        causal = nnx.make_causal_mask(steps, dtype=jnp.bool_)
        return nnx.combine_masks(each, causal, dtype=jnp.bool_)


def _global_avg_pool1d(
    kind: GlobalAvgPool1d, layer: Layer, context: Context
) -> Callable[..., jax.Array]:
    return _masked_mean if kind.mask else partial(jnp.mean, axis=1)


def _masked_mean(inputs: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.mean(inputs, axis=1, where=mask[..., jnp.newaxis])


def _global_max_pool1d(
    kind: GlobalMaxPool1d, layer: Layer, context: Context
) -> Callable[..., jax.Array]:
    return _masked_max if kind.mask else partial(jnp.max, axis=1)


def _masked_max(inputs: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.max(inputs, axis=1, initial=-jnp.inf, where=mask[..., jnp.newaxis])


def _padding_mask(kind: PaddingMask, layer: Layer, context: Context) -> Callable[..., jax.Array]:
    return partial(jnp.not_equal, kind.padding)


class PositionEmbedding(nnx.Module):
    """Adds a learned vector to each step; the table is called ``embedding``, as in ``nnx.Embed``.

    It is drawn as in there too. Every position is used each time, so nothing is looked up.
    """

    def __init__(self, kind: Any, layer: Layer, context: Context) -> None:
        draw = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)
        self.embedding = nnx.Param(draw(context.rngs.params(), layer.shape, context.param_dtype))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        return inputs + self.embedding[...].astype(inputs.dtype)


def _sinusoidal_position(
    kind: SinusoidalPosition, layer: Layer, context: Context
) -> Callable[..., jax.Array]:
    return partial(_add_table, kind.table(layer.shape))


def _add_table(table: np.ndarray, inputs: jax.Array) -> jax.Array:
    return inputs + jnp.asarray(table, inputs.dtype)


def _reshape(shape: tuple[int, ...], inputs: jax.Array) -> jax.Array:
    return inputs.reshape(len(inputs), *shape)


def _add(*inputs: jax.Array) -> jax.Array:
    return reduce(operator.add, inputs)


def _concat(*inputs: jax.Array) -> jax.Array:
    return jnp.concatenate(inputs, axis=-1)


#: Layer kind to its native constructor.
CONSTRUCTORS: dict[str, Constructor] = {
    "dense": _dense,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "depthwise_conv2d": _convolution,
    "conv2d_transpose": _conv2d_transpose,
    "max_pool1d": _max_pool,
    "avg_pool1d": _avg_pool,
    "global_avg_pool1d": _global_avg_pool1d,
    "global_max_pool1d": _global_max_pool1d,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "global_avg_pool2d": lambda kind, layer, context: partial(jnp.mean, axis=(1, 2)),
    "global_max_pool2d": lambda kind, layer, context: partial(jnp.max, axis=(1, 2)),
    "flatten": lambda kind, layer, context: partial(_reshape, layer.shape),
    "reshape": lambda kind, layer, context: partial(_reshape, layer.shape),
    "activation": lambda kind, layer, context: activation(kind, context.aligned),
    "dropout": lambda kind, layer, context: nnx.Dropout(kind.rate, rngs=context.rngs),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "zero_pad2d": _zero_pad2d,
    "upsample2d": lambda kind, layer, context: partial(_repeat, kind.size),
    "softmax": lambda kind, layer, context: nnx.softmax,
    "scale": Scale,
    "embedding": _embedding,
    "padding_mask": _padding_mask,
    "multi_head_attention": _multi_head_attention,
    "lstm": Recurrent,
    "gru": Recurrent,
    "position_embedding": PositionEmbedding,
    "sinusoidal_position": _sinusoidal_position,
    "add": lambda kind, layer, context: _add,
    "concat": lambda kind, layer, context: _concat,
}


class Streams(nnx.Rngs):
    """Random streams where no weight is ever drawn: each is imported.

    NNX counts the draws of a stream, and under ``nnx.eval_shape`` asks a tracer for its sharding at
    each count, which took a third of what a deep model takes to build.
    """

    def params(self) -> jax.Array:
        """The same key for every weight."""
        with jax.ensure_compile_time_eval():
            return jax.random.key(0)


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
        context = Context(aligned, param_dtype, dtype, Streams(dropout=seed))
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


def _path(layer: Layer, name: str) -> Path:
    """Where a tensor lives in the state of its layer."""
    if isinstance(layer.kind, RecurrentKind):
        return recurrent.path(layer.kind, name)
    if isinstance(layer.kind, MultiHeadAttention):
        part, _, tensor = name.partition("/")
        own = (_ATTRIBUTES.get(part, part), tensor)
        return ("native", *own) if _restricted(layer.kind) else own
    return (_ATTRIBUTES.get(name, name),)


def canonical_names(graph: Graph) -> Mapping[Path, str]:
    """Where each tensor of the graph lives in the model's state, to its canonical name."""
    return {
        ("layers", position, *_path(layer, parameter.name)): f"{layer.name}/{parameter.name}"
        for position, layer in enumerate(graph.layers)
        for parameter in layer.parameters
    }

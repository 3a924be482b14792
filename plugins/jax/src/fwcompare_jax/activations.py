"""Activation functions by canonical name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
from flax import nnx

from fwcompare.graph.kinds import Activation

Function = Callable[[jax.Array], jax.Array]

_PLAIN: dict[str, Function] = {
    "relu": nnx.relu,
    "relu6": nnx.relu6,
    "selu": nnx.selu,
    "gelu_tanh": partial(nnx.gelu, approximate=True),
    "silu": nnx.silu,
    "mish": jax.nn.mish,
    "tanh": nnx.tanh,
    "sigmoid": nnx.sigmoid,
    "softplus": nnx.softplus,
    "softsign": nnx.soft_sign,
    "linear": nnx.identity,
}


def activation(kind: Activation, aligned: bool) -> Function:
    """The function of an activation layer; ``gelu`` is Flax's own default unless aligned."""
    match kind.function:
        case "leaky_relu":
            return partial(nnx.leaky_relu, negative_slope=kind.alpha)
        case "elu":
            return partial(nnx.elu, alpha=kind.alpha)
        case "gelu":
            return partial(nnx.gelu, approximate=False) if aligned else nnx.gelu
    return _PLAIN[kind.function]

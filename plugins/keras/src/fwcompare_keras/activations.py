"""From the name of an activation function to Keras's own, or to an exact form of it.

Some kernels hold their constants in float32, or cut off at a value chosen for float32. In float32
that is below rounding; in float64 it is the largest error of a whole network: TensorFlow's leaky
ReLU is off by 4e-8, its GELU by 5e-9, PyTorch's softplus by 2e-9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import activations, ops

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph.kinds import Activation

Function = Callable[[Any], Any]

#: Functions by name; each takes ``alpha`` and may leave it aside.
ACTIVATIONS: dict[str, Callable[[float], Function]] = {
    "relu": lambda _: activations.relu,
    "relu6": lambda _: activations.relu6,
    "leaky_relu": lambda alpha: lambda x: activations.leaky_relu(x, negative_slope=alpha),
    "elu": lambda alpha: lambda x: activations.elu(x, alpha=alpha),
    "selu": lambda _: activations.selu,
    "gelu": lambda _: activations.gelu,
    "gelu_tanh": lambda _: lambda x: activations.gelu(x, approximate=True),
    "silu": lambda _: activations.silu,
    "mish": lambda _: activations.mish,
    "tanh": lambda _: activations.tanh,
    "sigmoid": lambda _: activations.sigmoid,
    "softplus": lambda _: activations.softplus,
    "softsign": lambda _: activations.softsign,
    "linear": lambda _: activations.linear,
}


def _leaky_relu(x: Any, alpha: float) -> Any:
    return ops.where(x > 0, x, alpha * x)


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1.0 + ops.erf(x * 0.7071067811865476))  # 1 / sqrt(2)


def _gelu_tanh(x: Any) -> Any:
    """Hendrycks and Gimpel (2016): the tanh of sqrt(2 / pi) * (x + 0.044715 x**3)."""
    return 0.5 * x * (1.0 + ops.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def _softplus(x: Any) -> Any:
    return ops.logaddexp(x, 0.0)


#: By backend, the functions that need an exact form in float64.
EXACT: dict[str, dict[str, Callable[[float], Function]]] = {
    "tensorflow": {
        "leaky_relu": lambda alpha: lambda x: _leaky_relu(x, alpha),
        "gelu": lambda _: _gelu,
        "gelu_tanh": lambda _: _gelu_tanh,
    },
    "torch": {"softplus": lambda _: _softplus},
}


def activation(kind: Activation, exact: bool) -> Function:
    """The function of an activation layer, for ``keras.layers.Activation``.

    ``exact`` asks for the form that holds in float64. Raises ``UnsupportedError`` for a function
    that Keras does not have.
    """
    table = ACTIVATIONS
    if exact:
        table = ACTIVATIONS | EXACT.get(keras.config.backend(), {})
    if kind.function not in table:
        raise UnsupportedError(
            f"The Keras plugin has no activation '{kind.function}'.",
            f"It has: {choices(table)}.",
        )
    return table[kind.function](kind.alpha)

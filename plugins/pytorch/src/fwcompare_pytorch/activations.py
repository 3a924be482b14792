"""From the name of an activation function to a native module."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph.kinds import Activation

#: From here on PyTorch returns x itself for softplus(x). Its default of 20 is wrong by 2e-9, at 40
#: the difference is below the last bit of float64.
EXACT_SOFTPLUS_THRESHOLD = 40.0

#: Functions by name; each takes ``alpha`` and may leave it aside.
ACTIVATIONS: dict[str, Callable[[float], nn.Module]] = {
    "relu": lambda _: nn.ReLU(),
    "relu6": lambda _: nn.ReLU6(),
    "leaky_relu": lambda alpha: nn.LeakyReLU(alpha),
    "elu": lambda alpha: nn.ELU(alpha),
    "selu": lambda _: nn.SELU(),
    "gelu": lambda _: nn.GELU(),
    "gelu_tanh": lambda _: nn.GELU(approximate="tanh"),
    "silu": lambda _: nn.SiLU(),
    "mish": lambda _: nn.Mish(),
    "tanh": lambda _: nn.Tanh(),
    "sigmoid": lambda _: nn.Sigmoid(),
    "softplus": lambda _: nn.Softplus(),
    "softsign": lambda _: nn.Softsign(),
    "linear": lambda _: nn.Identity(),
}


def activation(kind: Activation, aligned: bool) -> nn.Module:
    """The module of an activation. Raises ``UnsupportedError`` for a function it does not know."""
    if kind.function not in ACTIVATIONS:
        raise UnsupportedError(
            f"PyTorch's plugin has no activation '{kind.function}'.",
            f"It has: {choices(ACTIVATIONS)}.",
        )
    if kind.function == "softplus" and aligned:
        return nn.Softplus(threshold=EXACT_SOFTPLUS_THRESHOLD)
    return ACTIVATIONS[kind.function](kind.alpha)

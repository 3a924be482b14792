"""The layer kinds: for each its options, output shape, parameters and FLOPs.

Shapes are those of one sample, channels last, without the batch axis. A multiply-add counts as two
FLOPs; an element-wise operation as one an element. FLOPs are those of the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from fwcompare.errors import unknown
from fwcompare.typed import build

Shape = tuple[int, ...]

#: What a parameter is for. Kernels alone are drawn by the initialiser; ``kernels`` as a decay scope
#: means the parameters of this role.
ROLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Parameter:
    """One tensor of a layer in canonical layout (channels last)."""

    name: str
    shape: Shape
    role: str
    fan_in: int = 0
    fan_out: int = 0

    @property
    def trainable(self) -> bool:
        """Moving statistics are state, not parameters: no gradient, no decay, not counted."""
        return self.role not in ("moving_mean", "moving_variance")

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Misfit(Exception):
    """A layer's options or inputs do not fit together; the graph adds the layer's name."""


@dataclass(frozen=True)
class Kind:
    """Base of every layer kind. Subclasses are frozen dataclasses whose fields are the options."""

    kind: ClassVar[str]
    #: How many inputs the kind takes: (least, most); None for no upper bound.
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    #: Whether it takes token ids, whole numbers, and nothing else.
    takes_tokens: ClassVar[bool] = False
    #: Whether it gives a mask: for each step of a sample, whether it counts.
    gives_mask: ClassVar[bool] = False

    @property
    def masked(self) -> bool:
        """Whether its last input is a mask: what the option ``mask`` says, where it has one.

        ``arity`` and the shapes that the methods below are given leave this input out.
        """
        return bool(getattr(self, "mask", False))

    def check(self) -> None:
        """Raise ``Misfit`` if an option is out of range."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of one output sample. Raises ``Misfit`` if the inputs do not fit."""
        return inputs[0]

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        """The tensors that this layer owns, given its input shapes."""
        return ()

    def flops(self, *inputs: Shape) -> int:
        """Floating-point operations of the forward pass for one sample."""
        return math.prod(self.output_shape(*inputs))

    def options(self) -> dict[str, Any]:
        """Every option with its value, JSON-able, none left to a default."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


KINDS: dict[str, type[Kind]] = {}


def register(cls: type[Kind]) -> type[Kind]:
    """Make a kind known by its name, for model files."""
    KINDS[cls.kind] = cls
    return cls


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def positive(value: int, what: str) -> None:
    """Raise ``Misfit`` unless ``value`` is at least 1."""
    if value < 1:
        raise Misfit(f"{what} must be at least 1, got {value}")


@register
@dataclass(frozen=True)
class Dense(Kind):
    """A fully connected layer over the last axis: ``y = x @ kernel + bias``."""

    kind = "dense"
    units: int
    bias: bool = True

    def check(self) -> None:
        positive(self.units, "units")

    def output_shape(self, *inputs: Shape) -> Shape:
        return (*inputs[0][:-1], self.units)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        features = inputs[0][-1]
        kernel = Parameter("kernel", (features, self.units), "kernel", features, self.units)
        return (kernel, Parameter("bias", (self.units,), "bias"))[: 1 + self.bias]

    def flops(self, *inputs: Shape) -> int:
        return math.prod(inputs[0]) * self.units * 2 + self.bias * math.prod(
            self.output_shape(*inputs)
        )


@register
@dataclass(frozen=True)
class Flatten(Kind):
    """All axes into one, in the order height, width, channel."""

    kind = "flatten"

    def output_shape(self, *inputs: Shape) -> Shape:
        return (math.prod(inputs[0]),)

    def flops(self, *inputs: Shape) -> int:
        return 0


@register
@dataclass(frozen=True)
class Reshape(Kind):
    """Another shape for the same numbers, in the order height, width, channel."""

    kind = "reshape"
    shape: tuple[int, ...]

    def output_shape(self, *inputs: Shape) -> Shape:
        if math.prod(self.shape) != math.prod(inputs[0]):
            raise Misfit(f"cannot reshape {list(inputs[0])} into {list(self.shape)}")
        return self.shape

    def flops(self, *inputs: Shape) -> int:
        return 0


#: Every activation function, by name. ``gelu`` is the exact one (erf).
FUNCTIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
    "linear",
)


@register
@dataclass(frozen=True)
class Activation(Kind):
    """An element-wise function. ``alpha`` is leaky_relu's slope and elu's scale, else unused."""

    kind = "activation"
    function: str
    alpha: float = 0.01

    def check(self) -> None:
        if self.function not in FUNCTIONS:
            raise unknown("activation function", self.function, FUNCTIONS)


@register
@dataclass(frozen=True)
class Dropout(Kind):
    """Inverted dropout: in training a share ``rate`` is zeroed, the rest divided by 1 - rate."""

    kind = "dropout"
    rate: float

    def check(self) -> None:
        if not 0 <= self.rate < 1:
            raise Misfit(f"rate must be in [0, 1), got {self.rate}")


@register
@dataclass(frozen=True)
class Softmax(Kind):
    """``exp(x) / sum(exp(x))`` over the last axis.

    A loss on class scores wants them before the softmax; this is for gates and weights within a
    model.
    """

    kind = "softmax"

    def flops(self, *inputs: Shape) -> int:
        # Maximum, difference, exponential, sum, quotient.
        return 5 * math.prod(inputs[0])


@register
@dataclass(frozen=True)
class Scale(Kind):
    """``x * factor`` or, where ``learned``, ``x * factor * gamma``: one gamma for each channel, one
    at first, so that ``factor`` is what the learned scale starts from (as in LayerScale, Touvron et
    al., 2021).
    """

    kind = "scale"
    factor: float = 1.0
    learned: bool = False

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        return (Parameter("gamma", (inputs[0][-1],), "gamma"),)[: int(self.learned)]

    def flops(self, *inputs: Shape) -> int:
        return math.prod(inputs[0]) * (1 + self.learned)


@register
@dataclass(frozen=True)
class Add(Kind):
    """The sum of two or more inputs of one shape: a residual connection."""

    kind = "add"
    arity = (2, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(set(inputs)) > 1:
            raise Misfit(f"inputs differ in shape: {', '.join(str(list(s)) for s in inputs)}")
        return inputs[0]

    def flops(self, *inputs: Shape) -> int:
        return math.prod(inputs[0]) * (len(inputs) - 1)


@register
@dataclass(frozen=True)
class Concat(Kind):
    """Two or more inputs joined along the last axis (channels or features)."""

    kind = "concat"
    arity = (2, None)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len({shape[:-1] for shape in inputs}) > 1:
            raise Misfit(
                "inputs differ before the last axis: "
                + ", ".join(str(list(shape)) for shape in inputs)
            )
        return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))

    def flops(self, *inputs: Shape) -> int:
        return 0


def make(kind: str, options: Mapping[str, Any]) -> Kind:
    """Build a kind from plain data.

    Raises:
        RequestError: the kind is unknown, or an option is unknown, missing or of the wrong type.
        Misfit: an option is out of range.
    """
    if kind not in KINDS:
        raise unknown("layer kind", kind, KINDS)
    made = build(KINDS[kind], options)
    made.check()
    return made

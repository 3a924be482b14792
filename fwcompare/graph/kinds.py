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


def _register(cls: type[Kind]) -> type[Kind]:
    KINDS[cls.kind] = cls
    return cls


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _positive(value: int, what: str) -> None:
    if value < 1:
        raise Misfit(f"{what} must be at least 1, got {value}")


def _is_image(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise Misfit(f"needs an image input (height, width, channels), got {list(shape)}")
    return shape


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Cells of padding (before, after) so that the output has ceil(size / stride) cells.

    The odd cell goes after, as in TensorFlow's SAME; with an even size and stride 2 the two sides
    differ, which is where a symmetric ``padding=k//2`` computes something else.
    """
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _window_output(size: int, window: int, stride: int, padding: str, axis: str) -> int:
    if padding == "same":
        return math.ceil(size / stride)
    if window > size:
        raise Misfit(f"a window of {window} does not fit into {axis} {size} with padding=valid")
    return (size - window) // stride + 1


@dataclass(frozen=True)
class _Window(Kind):
    """What convolution and pooling share."""

    def _spatial(self, shape: Shape, window: Shape, stride: Shape, padding: str) -> Shape:
        height, width, _ = _is_image(shape)
        return (
            _window_output(height, window[0], stride[0], padding, "height"),
            _window_output(width, window[1], stride[1], padding, "width"),
        )

    @staticmethod
    def _check_window(window: Shape, stride: Shape, padding: str) -> None:
        for value in (*window, *stride):
            _positive(value, "window and stride")
        if padding not in ("same", "valid"):
            raise Misfit(f"padding must be same or valid, got '{padding}'")


@_register
@dataclass(frozen=True)
class Dense(Kind):
    """A fully connected layer over the last axis: ``y = x @ kernel + bias``."""

    kind = "dense"
    units: int
    bias: bool = True

    def check(self) -> None:
        _positive(self.units, "units")

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


@_register
@dataclass(frozen=True)
class Conv2d(_Window):
    """A 2-D cross-correlation, channels last, kernel (kh, kw, in/groups, out)."""

    kind = "conv2d"
    filters: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: str = "same"
    groups: int = 1
    bias: bool = True

    def check(self) -> None:
        _positive(self.filters, "filters")
        _positive(self.groups, "groups")
        self._check_window(self.kernel_size, self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        channels = _is_image(inputs[0])[2]
        if channels % self.groups or self.filters % self.groups:
            raise Misfit(
                f"groups={self.groups} must divide both input channels {channels} "
                f"and filters {self.filters}"
            )
        spatial = self._spatial(inputs[0], self.kernel_size, self.stride, self.padding)
        return (*spatial, self.filters)

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        per_group = inputs[0][2] // self.groups
        area = math.prod(self.kernel_size)
        kernel = Parameter(
            "kernel",
            (*self.kernel_size, per_group, self.filters),
            "kernel",
            area * per_group,
            area * self.filters // self.groups,
        )
        return (kernel, Parameter("bias", (self.filters,), "bias"))[: 1 + self.bias]

    def flops(self, *inputs: Shape) -> int:
        outputs = math.prod(self.output_shape(*inputs))
        fan_in = math.prod(self.kernel_size) * inputs[0][2] // self.groups
        return outputs * (2 * fan_in + self.bias)


@dataclass(frozen=True)
class _Pool(_Window):
    pool_size: tuple[int, int]
    stride: tuple[int, int]
    padding: str = "valid"

    def check(self) -> None:
        self._check_window(self.pool_size, self.stride, self.padding)

    def output_shape(self, *inputs: Shape) -> Shape:
        spatial = self._spatial(inputs[0], self.pool_size, self.stride, self.padding)
        return (*spatial, inputs[0][2])

    def flops(self, *inputs: Shape) -> int:
        return math.prod(self.output_shape(*inputs)) * math.prod(self.pool_size)


@_register
@dataclass(frozen=True)
class MaxPool2d(_Pool):
    """The largest value of each window; padding counts as minus infinity."""

    kind = "max_pool2d"


@_register
@dataclass(frozen=True)
class AvgPool2d(_Pool):
    """The mean of each window; padding is left out of the mean."""

    kind = "avg_pool2d"


@dataclass(frozen=True)
class _GlobalPool(Kind):
    def output_shape(self, *inputs: Shape) -> Shape:
        return (_is_image(inputs[0])[2],)

    def flops(self, *inputs: Shape) -> int:
        return math.prod(inputs[0])


@_register
@dataclass(frozen=True)
class GlobalAvgPool2d(_GlobalPool):
    """The mean over height and width."""

    kind = "global_avg_pool2d"


@_register
@dataclass(frozen=True)
class GlobalMaxPool2d(_GlobalPool):
    """The largest value over height and width."""

    kind = "global_max_pool2d"


@_register
@dataclass(frozen=True)
class Flatten(Kind):
    """All axes into one, in the order height, width, channel."""

    kind = "flatten"

    def output_shape(self, *inputs: Shape) -> Shape:
        return (math.prod(inputs[0]),)

    def flops(self, *inputs: Shape) -> int:
        return 0


@_register
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


@_register
@dataclass(frozen=True)
class Activation(Kind):
    """An element-wise function. ``alpha`` is leaky_relu's slope and elu's scale, else unused."""

    kind = "activation"
    function: str
    alpha: float = 0.01

    def check(self) -> None:
        if self.function not in FUNCTIONS:
            raise unknown("activation function", self.function, FUNCTIONS)


@_register
@dataclass(frozen=True)
class Dropout(Kind):
    """Inverted dropout: in training a share ``rate`` is zeroed, the rest divided by 1 - rate."""

    kind = "dropout"
    rate: float

    def check(self) -> None:
        if not 0 <= self.rate < 1:
            raise Misfit(f"rate must be in [0, 1), got {self.rate}")


@_register
@dataclass(frozen=True)
class BatchNorm(Kind):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy, 2015).

    ``momentum`` is the share of the old moving statistic that is kept at each step; the moving
    variance is the biased one (divided by n).
    """

    kind = "batch_norm"
    momentum: float = 0.9
    epsilon: float = 1e-5

    def check(self) -> None:
        if not 0 <= self.momentum < 1:
            raise Misfit(f"momentum must be in [0, 1), got {self.momentum}")
        if self.epsilon <= 0:
            raise Misfit(f"epsilon must be positive, got {self.epsilon}")

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        shape = (inputs[0][-1],)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        return tuple(Parameter(name, shape, name) for name in names)

    def flops(self, *inputs: Shape) -> int:
        return 4 * math.prod(inputs[0])


@_register
@dataclass(frozen=True)
class LayerNorm(Kind):
    """Layer normalisation over the last axis (Ba, Kiros and Hinton, 2016)."""

    kind = "layer_norm"
    epsilon: float = 1e-5

    def check(self) -> None:
        if self.epsilon <= 0:
            raise Misfit(f"epsilon must be positive, got {self.epsilon}")

    def parameters(self, *inputs: Shape) -> tuple[Parameter, ...]:
        shape = (inputs[0][-1],)
        return (Parameter("gamma", shape, "gamma"), Parameter("beta", shape, "beta"))

    def flops(self, *inputs: Shape) -> int:
        return 7 * math.prod(inputs[0])


@_register
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


@_register
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

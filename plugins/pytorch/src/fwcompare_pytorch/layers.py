"""From a layer's kind to a native module.

An image, that is a sample of three axes, travels through the model as (n, channels, height, width)
in PyTorch's ``channels_last`` memory format; every other sample as in the contract, channels last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import Layer
from fwcompare.graph.kinds import Shape
from fwcompare_pytorch.activations import activation
from fwcompare_pytorch.norms import BiasedBatchNorm
from fwcompare_pytorch.windows import conv2d, pool2d

#: Builds the module of a layer: ``(layer, its kind, aligned, device=..., dtype=...)``.
Constructor = Callable[..., nn.Module]


def is_image(shape: Shape) -> bool:
    """Whether samples of this shape travel channels first."""
    return len(shape) == 3


def to_channels_last(x: Tensor) -> Tensor:
    """(n, c, h, w) seen as (n, h, w, c); no copy."""
    return x.permute(0, 2, 3, 1)


def to_channels_first(x: Tensor) -> Tensor:
    """(n, h, w, c) seen as (n, c, h, w); no copy."""
    return x.permute(0, 3, 1, 2)


class Adapter(nn.Module):
    """Shows its input to the module within under another shape."""

    def __init__(self, within: nn.Module) -> None:
        super().__init__()
        self.within = within


class OverChannels(Adapter):
    """Lets a module that works on the last axis see an image channels last."""

    def forward(self, x: Tensor) -> Tensor:
        shown: Tensor = self.within(to_channels_last(x))
        return to_channels_first(shown)


class AsRows(Adapter):
    """Lets a module that works on (rows, features) see every position of a sample as a row."""

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.within(x.reshape(-1, x.shape[-1]))
        return rows.reshape(x.shape)


class Reshape(nn.Module):
    """Another shape in the order height, width, channel, which is not that of ``nn.Flatten``."""

    def __init__(self, before: Shape, after: Shape) -> None:
        super().__init__()
        self.from_image, self.to_image = is_image(before), is_image(after)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        if self.from_image:
            x = to_channels_last(x)
        x = x.reshape(x.shape[0], *self.after)
        return to_channels_first(x) if self.to_image else x


class GlobalPool(nn.Module):
    """A reduction over height and width. The maximum divides its gradient evenly among equals."""

    def __init__(self, reduce: Callable[..., Tensor]) -> None:
        super().__init__()
        self.reduce = reduce

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(x, (2, 3))


class Add(nn.Module):
    """The sum of its inputs, from left to right."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    """Its inputs joined along the channels."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.cat(inputs, self.axis)


def _on_last_axis(layer: Layer, module: nn.Module) -> nn.Module:
    return OverChannels(module) if is_image(layer.input_shapes[0]) else module


def _dense(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    features = layer.input_shapes[0][-1]
    return _on_last_axis(layer, nn.Linear(features, kind.units, bias=kind.bias, **factory))


def _batch_norm(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    shape = layer.input_shapes[0]
    if aligned:
        norm: nn.Module = BiasedBatchNorm(shape[-1], kind.momentum, kind.epsilon, **factory)
    else:
        native = nn.BatchNorm2d if is_image(shape) else nn.BatchNorm1d
        norm = native(shape[-1], **factory)
    return norm if is_image(shape) or len(shape) == 1 else AsRows(norm)


def _layer_norm(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    constants = {"eps": kind.epsilon} if aligned else {}
    norm = nn.LayerNorm(layer.input_shapes[0][-1], **constants, **factory)
    return _on_last_axis(layer, norm)


def _pool(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return pool2d(layer, kind, aligned)


def _reshape(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return Reshape(layer.input_shapes[0], layer.shape)


LAYERS: dict[str, Constructor] = {
    "dense": _dense,
    "conv2d": conv2d,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "global_avg_pool2d": lambda *_, **__: GlobalPool(torch.mean),
    "global_max_pool2d": lambda *_, **__: GlobalPool(torch.amax),
    "flatten": _reshape,
    "reshape": _reshape,
    "activation": lambda layer, kind, aligned, **_: activation(kind, aligned),
    "dropout": lambda layer, kind, aligned, **_: nn.Dropout(kind.rate),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "add": lambda *_, **__: Add(),
    "concat": lambda layer, *_, **__: Concat(1 if is_image(layer.shape) else -1),
}

#: Native attributes of canonical tensors.
ATTRIBUTES = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}

#: Canonical axes of a kernel in the order in which PyTorch keeps them, by the number of axes:
#: dense (in, out) as (out, in), convolution (kh, kw, in, out) as (out, in, kh, kw).
KERNEL_AXES = {2: (1, 0), 4: (3, 2, 0, 1)}


def build(layer: Layer, aligned: bool, **factory: Any) -> nn.Module:
    """The module of a layer, on the device and of the dtype that ``factory`` names.

    Raises:
        UnsupportedError: no constructor for its kind.
    """
    kind = layer.kind.kind
    if kind not in LAYERS:
        raise UnsupportedError(
            f"PyTorch's plugin cannot build layer '{layer.name}' of kind '{kind}'.",
            f"It can build: {choices(LAYERS)}.",
        )
    return LAYERS[kind](layer, layer.kind, aligned, **factory)


def owner(module: nn.Module) -> nn.Module:
    """The module that holds the tensors: the one within an adapter, or the module itself."""
    return module.within if isinstance(module, Adapter) else module

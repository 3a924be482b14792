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
from fwcompare_pytorch.attention import Attention
from fwcompare_pytorch.norms import BiasedBatchNorm
from fwcompare_pytorch.positions import FixedPosition, PositionEmbedding
from fwcompare_pytorch.recurrent import Recurrent
from fwcompare_pytorch.windows import conv2d_transpose, convolution, pooling

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


class ChannelsSecond(Adapter):
    """Lets a module that wants the channels behind the batch see a sequence so."""

    def forward(self, x: Tensor) -> Tensor:
        shown: Tensor = self.within(x.movedim(-1, 1))
        return shown.movedim(1, -1)


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
    """A reduction over some axes. The maximum divides its gradient evenly among equals."""

    def __init__(self, reduce: Callable[..., Tensor], axes: tuple[int, ...]) -> None:
        super().__init__()
        self.reduce, self.axes = reduce, axes

    def forward(self, x: Tensor) -> Tensor:
        return self.reduce(x, self.axes)


class MaskedMean(nn.Module):
    """The mean over the steps that count."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        counts = mask.unsqueeze(-1).to(x.dtype)
        return (x * counts).sum(1) / counts.sum(1)


class MaskedMaximum(nn.Module):
    """The largest value over the steps that count."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)


class PaddingMask(nn.Module):
    """True where a token is not padding."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, ids: Tensor) -> Tensor:
        return ids != self.padding


class Add(nn.Module):
    """The sum of its inputs, from left to right."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = first + other
        return first


class Scale(nn.Module):
    """A factor for everything and, where it is learned, one for each channel of the last axis."""

    def __init__(self, factor: float, channels: int | None, **factory: Any) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.ones(channels, **factory)) if channels else None

    def forward(self, x: Tensor) -> Tensor:
        scaled = x * self.factor
        return scaled if self.weight is None else scaled * self.weight


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


def _group_norm(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    constants = {"eps": kind.epsilon} if aligned else {}
    shape = layer.input_shapes[0]
    norm = nn.GroupNorm(kind.groups, shape[-1], **constants, **factory)
    return norm if is_image(shape) or len(shape) == 1 else ChannelsSecond(norm)


def _rms_norm(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    constants = {"eps": kind.epsilon} if aligned else {}
    norm = nn.RMSNorm(layer.input_shapes[0][-1], **constants, **factory)
    return _on_last_axis(layer, norm)


def _zero_pad2d(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    rows, columns = kind.padding
    return nn.ZeroPad2d((*columns, *rows))


def _softmax(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return nn.Softmax(1 if is_image(layer.shape) else -1)


def _scale(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    channels = layer.shape[-1] if kind.learned else None
    return _on_last_axis(layer, Scale(kind.factor, channels, **factory))


def _embedding(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    return nn.Embedding(kind.tokens, kind.features, **factory)


def _conv1d(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
    return ChannelsSecond(convolution(layer, kind, aligned, **factory))


def _pool1d(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return ChannelsSecond(pooling(layer, kind, aligned))


def _pool2d(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return pooling(layer, kind, aligned)


def _global_avg_pool1d(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return MaskedMean() if kind.mask else GlobalPool(torch.mean, (1,))


def _global_max_pool1d(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return MaskedMaximum() if kind.mask else GlobalPool(torch.amax, (1,))


def _reshape(layer: Layer, kind: Any, aligned: bool, **_: Any) -> nn.Module:
    return Reshape(layer.input_shapes[0], layer.shape)


LAYERS: dict[str, Constructor] = {
    "dense": _dense,
    "conv1d": _conv1d,
    "conv2d": convolution,
    "depthwise_conv2d": convolution,
    "conv2d_transpose": conv2d_transpose,
    "max_pool1d": _pool1d,
    "avg_pool1d": _pool1d,
    "global_avg_pool1d": _global_avg_pool1d,
    "global_max_pool1d": _global_max_pool1d,
    "max_pool2d": _pool2d,
    "avg_pool2d": _pool2d,
    "global_avg_pool2d": lambda *_, **__: GlobalPool(torch.mean, (2, 3)),
    "global_max_pool2d": lambda *_, **__: GlobalPool(torch.amax, (2, 3)),
    "flatten": _reshape,
    "reshape": _reshape,
    "activation": lambda layer, kind, aligned, **_: activation(kind, aligned),
    "dropout": lambda layer, kind, aligned, **_: nn.Dropout(kind.rate),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "zero_pad2d": _zero_pad2d,
    "upsample2d": lambda layer, kind, aligned, **_: nn.Upsample(scale_factor=kind.size),
    "softmax": _softmax,
    "scale": _scale,
    "add": lambda *_, **__: Add(),
    "embedding": _embedding,
    "padding_mask": lambda layer, kind, aligned, **_: PaddingMask(kind.padding),
    "multi_head_attention": lambda layer, kind, aligned, **factory: Attention(
        layer, kind, **factory
    ),
    "lstm": lambda layer, kind, aligned, **factory: Recurrent(layer, kind, **factory),
    "gru": lambda layer, kind, aligned, **factory: Recurrent(layer, kind, **factory),
    "position_embedding": lambda layer, kind, aligned, **factory: PositionEmbedding(
        *layer.shape, **factory
    ),
    "sinusoidal_position": lambda layer, kind, aligned, **factory: FixedPosition(
        kind.table(layer.shape), **factory
    ),
    "concat": lambda layer, *_, **__: Concat(1 if is_image(layer.shape) else -1),
}


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

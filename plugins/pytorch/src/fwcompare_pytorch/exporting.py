"""A run's weights as the ``state_dict`` of a module whose attributes are called like the layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fwcompare.graph import Layer, Weights
from fwcompare.graph.norms import BatchNorm
from fwcompare.spec import RunSpec
from fwcompare_pytorch.layers import is_image, owner
from fwcompare_pytorch.model import GraphModel
from fwcompare_pytorch.norms import BiasedBatchNorm
from fwcompare_pytorch.recurrent import Recurrent


def state_dict(spec: RunSpec, weights: Weights, path: Path) -> Sequence[str]:
    """Write plain tensors by ``torch.save`` or, by the file's ending, as safetensors."""
    graph = spec.model.graph
    model = GraphModel(graph, spec.aligned, device="cpu", dtype=getattr(torch, spec.dtype.name))
    model.fill(weights)
    layers = list(zip(graph.layers, model.layers, strict=True))
    tensors = {name: tensor for layer, made in layers for name, tensor in _tensors(layer, made)}
    if path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({name: tensor.numpy() for name, tensor in tensors.items()}, path)
        loading = ["from safetensors.torch import load_file", f"state = load_file({str(path)!r})"]
    else:
        torch.save(tensors, path)
        loading = ["import torch", f"state = torch.load({str(path)!r}, weights_only=True)"]
    described = [line for layer, made in layers for line in _described(layer, made)]
    return [
        *loading,
        "# model: an nn.Module whose attributes are called and built like these:",
        *(f"#   {line}" for line in described),
        "model.load_state_dict(state)",
        "model.eval()",
    ]


def _native(module: nn.Module) -> nn.Module:
    """PyTorch's own module within this plugin's."""
    within = owner(module)
    return within.native if isinstance(within, Recurrent) else within


def _name(layer: Layer) -> str:
    return layer.name.replace("/", ".")


def _tensors(layer: Layer, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that PyTorch's own module has, in its plain memory format."""
    for name, tensor in _native(module).state_dict().items():
        # A view of a view would carry its whole storage into the file.
        yield f"{_name(layer)}.{name}", tensor.clone(memory_format=torch.contiguous_format)
    if isinstance(layer.kind, BatchNorm) and isinstance(owner(module), BiasedBatchNorm):
        yield f"{_name(layer)}.num_batches_tracked", torch.tensor(0)


def _described(layer: Layer, module: nn.Module) -> Iterator[str]:
    """A layer as PyTorch's users write it, where it has weights or is often written otherwise."""
    native = _native(module)
    if isinstance(native, BiasedBatchNorm):
        rank = "2d" if is_image(layer.shape) else "1d"
        yield (
            f"{_name(layer)} = nn.BatchNorm{rank}({layer.shape[-1]}, eps={native.epsilon:g}, "
            f"momentum={native.share_of_new:g})"
        )
    elif layer.parameters:
        children = list(native.named_children()) or [("", native)]
        for name, child in children:
            yield f"{_name(layer)}{'.' + name if name else ''} = {_constructor(child)}"
    elif layer.kind.kind in ("flatten", "reshape") and is_image(layer.input_shapes[0]):
        yield f"{_name(layer)}: height, width, channel: x.permute(0, 2, 3, 1).flatten(1)"


def _constructor(module: nn.Module) -> str:
    text = repr(module)
    return f"nn.{text}" if type(module).__module__.startswith("torch.nn.") else text

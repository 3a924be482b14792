"""A model of the user's own in the place of the graph's layers, by way of a weight map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fwcompare.errors import RequestError, RunError
from fwcompare.graph import Layer, Parameter, Weights
from fwcompare.graph.attention import MultiHeadAttention
from fwcompare.graph.convolutions import DepthwiseConv2d
from fwcompare.graph.recurrent import Recurrent
from fwcompare.native import code
from fwcompare.native.mapping import Fit, Step, WeightMap
from fwcompare.native.template import described
from fwcompare.spec import RunSpec
from fwcompare_pytorch.layers import is_image, to_channels_first, to_channels_last
from fwcompare_pytorch.places import KERNEL_AXES

#: Canonical axes of an attention's kernels in native order.
_ATTENTION_AXES = {"query": (1, 2, 0), "key": (1, 2, 0), "value": (1, 2, 0), "output": (2, 0, 1)}


@dataclass(frozen=True)
class OwnPlace:
    """Where a canonical tensor lives in the user's model. Looked up at each use: moving a module
    replaces buffers."""

    module: nn.Module
    attribute: str
    parameter: Parameter
    fit: Fit

    @property
    def tensor(self) -> Tensor:
        """The native tensor, whole."""
        found: Tensor = getattr(self.module, self.attribute)
        return found

    def fill(self, array: np.ndarray) -> None:
        """Copy a canonical array in."""
        with torch.no_grad():
            self.tensor[self.fit.rows].copy_(torch.tensor(self.fit.native(array)))

    def canonical(self, tensor: Tensor) -> np.ndarray:
        """A copy of a tensor laid out as the native one (a weight, its gradient, a slot)."""
        return self.fit.canonical(tensor.detach().cpu().numpy())


class OwnModel(nn.Module):
    """The user's module, with what a trainer asks of a ``GraphModel``."""

    def __init__(self, spec: RunSpec, **factory: Any) -> None:
        """Raises ``RunError`` where the code, or its weight map, does not do."""
        super().__init__()
        assert spec.framework.code is not None
        self.spec, self.factory = spec, factory
        self.graph = graph = spec.model.graph
        self.module = _built(spec).to(**factory)
        native = native_tensors(self.module)
        shapes = {path: tuple(tensor.shape) for path, tensor in native.items()}
        try:
            self.map = WeightMap.of(spec.framework.code.map, graph)
            fits = self.map.fits(graph, shapes, customary)
            self.places = {name: _place(self.module, fit) for name, fit in fits.items()}
            self.submodules = {
                name: self.module.get_submodule(each.path) for name, each in self.map.layers.items()
            }
        except RequestError as error:
            raise RunError(f"{spec.framework.code.shown}: {error.message}", error.hint) from error
        except AttributeError as error:
            raise RunError(f"{spec.framework.code.shown}: layers: {error}.") from error
        for path, number in self.map.fixed.items():
            native[path].requires_grad_(False).fill_(number)
        first = self.map.layout == "channels_first"
        self.turned_in = first and is_image(graph.input_shape)
        self.turned_out = first and is_image(graph.output_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch; both are channels last."""
        output: Tensor = self.module(to_channels_first(x) if self.turned_in else x)
        return to_channels_last(output) if self.turned_out else output

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """The output of every layer that the map names, and of the whole, channels last."""
        found: dict[str, Tensor] = {}
        hooks = [
            module.register_forward_hook(partial(self._keep, found, name))
            for name, module in self.submodules.items()
        ]
        try:
            output = self(x)
        finally:
            for hook in hooks:
                hook.remove()
        return {**found, self.graph.layers[-1].name: output}

    def _keep(
        self, found: dict[str, Tensor], name: str, module: nn.Module, given: Any, output: Any
    ) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        first = self.map.layers[name].layout == "channels_first"
        turned = first and is_image(self.graph[name].shape) and tensor.ndim == 4
        found[name] = to_channels_last(tensor) if turned else tensor

    def natives(self) -> Iterator[tuple[str, nn.Module]]:
        """The native module of each layer that the map names."""
        yield from self.submodules.items()

    def trainable(self) -> Iterator[tuple[str, OwnPlace]]:
        """Tensors that have a gradient, by canonical name, in graph order."""
        return ((name, place) for name, place in self.places.items() if place.parameter.trainable)

    def fill(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take canonical weights over."""
        for name, place in self.places.items():
            place.fill(weights[name])

    def weights(self) -> Weights:
        """The present weights in canonical layout."""
        return {name: place.canonical(place.tensor) for name, place in self.places.items()}

    def fresh(self) -> OwnModel:
        """Another one, as its initialisers draw it."""
        return OwnModel(self.spec, **self.factory)


def _built(spec: RunSpec) -> nn.Module:
    made = code.build(spec)
    if not isinstance(made, nn.Module):
        assert spec.framework.code is not None
        raise RunError(
            f"{spec.framework.code.shown} gives a {type(made).__name__}, not a torch.nn.Module."
        )
    return made


def native_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters, and the buffers that a state has, by path; counters are left out."""
    kept = module.state_dict(keep_vars=True)
    parameters = dict(module.named_parameters())
    return {**parameters, **{
        path: tensor
        for path, tensor in kept.items()
        if path not in parameters
        and not isinstance(tensor, nn.Parameter)  # one that is used twice has another path
        and tensor.is_floating_point()
    }}  # fmt: skip


def _place(module: nn.Module, fit: Fit) -> OwnPlace:
    """Raises ``RequestError`` where what is trained is no parameter, or what is not is one."""
    within, _, attribute = fit.path.rpartition(".")
    place = OwnPlace(module.get_submodule(within), attribute, fit.parameter, fit)
    if isinstance(place.tensor, nn.Parameter) != fit.parameter.trainable:
        is_one = "is" if fit.parameter.trainable else "is not"
        raise RequestError(f"'{fit.name}' {is_one} trained, '{fit.path}' is otherwise.")
    return place


def customary(layer: Layer, parameter: Parameter) -> Sequence[Step]:
    """How PyTorch's own modules keep a tensor of this layer."""
    rank = len(parameter.shape)
    if isinstance(layer.kind, Recurrent):
        return ["transpose"]
    if isinstance(layer.kind, MultiHeadAttention):
        part, _, name = parameter.name.partition("/")
        return [{"axes": list(_ATTENTION_AXES[part])}] if name == "kernel" else []
    if parameter.name != "kernel":
        return []
    if isinstance(layer.kind, DepthwiseConv2d):
        return [{"axes": [2, 3, 0, 1]}]
    return [{"axes": list(KERNEL_AXES[rank])}]


def template(spec: RunSpec) -> Sequence[str]:
    """A weight map's part for the code of the spec, as far as it can be matched."""
    native = {path: tuple(tensor.shape) for path, tensor in native_tensors(_built(spec)).items()}
    return list(described(spec.model.graph, native, customary, "channels_first"))

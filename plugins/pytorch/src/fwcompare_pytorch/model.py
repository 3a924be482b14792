"""The graph as one module, and its weights in canonical layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fwcompare.graph import INPUT, Graph, Weights
from fwcompare_pytorch.layers import (
    build,
    is_image,
    owner,
    to_channels_first,
    to_channels_last,
)
from fwcompare_pytorch.places import Place, place_of


class GraphModel(nn.Module):
    """The layers of a graph, run in its order.

    Each output is kept in a register that is used again once nothing needs the output any more, so
    that evaluation holds no more activations than a model written by hand.
    """

    def __init__(self, graph: Graph, aligned: bool, **factory: Any) -> None:
        super().__init__()
        self.graph, self.aligned = graph, aligned
        self.layers = nn.ModuleList(build(layer, aligned, **factory) for layer in graph.layers)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.places: dict[str, Place] = {
            f"{layer.name}/{parameter.name}": place_of(owner(module), parameter)
            for layer, module in zip(graph.layers, self.layers, strict=True)
            for parameter in layer.parameters
        }
        self.image_in, self.image_out = is_image(graph.input_shape), is_image(graph.output_shape)
        registers = _registers(graph)
        self.register_count = 1 + max(target for _, target in registers)
        self.plan = [
            (module, sources, target)
            for module, (sources, target) in zip(self.layers, registers, strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch; both are channels last."""
        registers = [to_channels_first(x) if self.image_in else x] * self.register_count
        for module, sources, target in self.plan:
            registers[target] = module(*[registers[source] for source in sources])
        output = registers[target]
        return to_channels_last(output) if self.image_out else output

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """The output of every layer by name, channels last."""
        outputs = {INPUT: to_channels_first(x) if self.image_in else x}
        for layer, module in zip(self.graph.layers, self.layers, strict=True):
            outputs[layer.name] = module(*[outputs[source] for source in layer.inputs])
        return {
            layer.name: to_channels_last(outputs[layer.name])
            if is_image(layer.shape)
            else outputs[layer.name]
            for layer in self.graph.layers
        }

    def natives(self) -> Iterator[tuple[str, nn.Module]]:
        """The native module of each layer."""
        return zip((layer.name for layer in self.graph.layers), self.layers, strict=True)

    def fresh(self) -> GraphModel:
        """Another one, as its initialisers draw it, on the CPU and in float32."""
        return GraphModel(self.graph, self.aligned)

    def trainable(self) -> Iterator[tuple[str, Place]]:
        """Tensors that have a gradient, by canonical name, in graph order."""
        return ((name, place) for name, place in self.places.items() if place.parameter.trainable)

    def fill(self, weights: Mapping[str, np.ndarray]) -> None:
        """Take canonical weights over."""
        for name, place in self.places.items():
            place.fill(weights[name])

    def weights(self) -> Weights:
        """The present weights in canonical layout."""
        return {name: place.canonical(place.tensor) for name, place in self.places.items()}


def _registers(graph: Graph) -> Sequence[tuple[tuple[int, ...], int]]:
    """For each layer the registers that it reads and the one that it writes; 0 holds the input."""
    last_use = {source: step for step, layer in enumerate(graph.layers) for source in layer.inputs}
    held = {INPUT: 0}
    free: list[int] = []
    assigned = []
    for step, layer in enumerate(graph.layers):
        sources = tuple(held[source] for source in layer.inputs)
        free.extend(held.pop(s) for s in dict.fromkeys(layer.inputs) if last_use[s] == step)
        held[layer.name] = target = free.pop() if free else len(held)
        assigned.append((sources, target))
    return assigned

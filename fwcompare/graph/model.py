"""The layer graph: named layers with inputs, checked and with every shape inferred."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph.kinds import Kind, Misfit, Parameter, Shape, make

#: The name by which layers refer to the model's input.
INPUT = "input"


@dataclass(frozen=True)
class Layer:
    """One named node: a kind and where its inputs come from."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.kind.parameters(*self.input_shapes)

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass for one sample."""
        return self.kind.flops(*self.input_shapes)

    @property
    def trainable_count(self) -> int:
        return sum(p.size for p in self.parameters if p.trainable)


@dataclass(frozen=True)
class Graph:
    """A whole model: its input shape and its layers in order of execution.

    The last layer is the output.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    _by_name: Mapping[str, Layer] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {layer.name: layer for layer in self.layers})

    @classmethod
    def from_layers(cls, input_shape: Sequence[int], layers: Sequence[Mapping[str, Any]]) -> Graph:
        """Check a layer list and infer every shape.

        Each entry holds ``name``, ``kind``, the kind's options and, where the input is not the
        layer before, ``inputs``: a list of names.

        Raises:
            RequestError: naming the layer and what does not fit.
        """
        if not isinstance(layers, list | tuple) or not layers:
            raise RequestError("A model needs a list of at least one layer.")
        built: list[Layer] = []
        shapes: dict[str, Shape] = {INPUT: tuple(input_shape)}
        previous = INPUT
        for position, entry in enumerate(layers, 1):
            layer = _layer(entry, position, previous, shapes)
            shapes[layer.name] = layer.shape
            built.append(layer)
            previous = layer.name
        used = {name for layer in built for name in layer.inputs}
        for layer in built[:-1]:
            if layer.name not in used:
                raise RequestError(
                    f"Layer '{layer.name}' leads nowhere: no layer takes it as an input.",
                    "Name it in the inputs of a later layer, or remove it.",
                )
        return cls(tuple(input_shape), tuple(built))

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    @property
    def output_shape(self) -> Shape:
        return self.layers[-1].shape

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every tensor as (``layer/name``, parameter), in graph order."""
        for layer in self.layers:
            for parameter in layer.parameters:
                yield f"{layer.name}/{parameter.name}", parameter

    @property
    def parameter_count(self) -> int:
        """Trainable parameters; moving statistics are not counted."""
        return sum(layer.trainable_count for layer in self.layers)

    @property
    def flops_per_sample(self) -> int:
        """FLOPs of one forward pass for one sample; a multiply-add counts as two."""
        return sum(layer.flops for layer in self.layers)

    def to_layers(self) -> list[dict[str, Any]]:
        """The layer list with every option and every input written out, JSON-able."""
        return [
            {
                "name": layer.name,
                "kind": layer.kind.kind,
                "inputs": list(layer.inputs),
                **layer.kind.options(),
            }
            for layer in self.layers
        ]

    @property
    def digest(self) -> str:
        """SHA-256 over the input shape and the resolved layers."""
        text = json.dumps([self.input_shape, self.to_layers()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _layer(entry: Any, position: int, previous: str, shapes: Mapping[str, Shape]) -> Layer:
    where = f"Layer {position}"
    if not isinstance(entry, Mapping):
        raise RequestError(f"{where} must be a mapping with name and kind, got {entry!r}.")
    options = dict(entry)
    name, kind_name = options.pop("name", None), options.pop("kind", None)
    if not isinstance(name, str) or not name or "/" in name or "." in name:
        raise RequestError(f"{where} needs a name: a word without '/' or '.', got {name!r}.")
    where = f"Layer '{name}'"
    if name in shapes:
        raise RequestError(f"{where} appears twice; every layer needs a name of its own.")
    if not isinstance(kind_name, str):
        raise RequestError(f"{where} needs a kind: one of the words that name a layer kind.")
    inputs = options.pop("inputs", None) or [previous]
    if not isinstance(inputs, list | tuple):
        inputs = [inputs]
    for source in inputs:
        if source not in shapes:
            error = unknown("input", source, shapes)
            raise RequestError(
                f"{where} takes '{source}' as an input, which no earlier layer is called.",
                error.hint,
            )
    incoming = tuple(shapes[source] for source in inputs)
    shown = ", ".join(str(list(shape)) for shape in incoming)
    try:
        kind = make(kind_name, options)
        least, most = kind.arity
        if len(inputs) < least or (most is not None and len(inputs) > most):
            count = f"{least}" if least == most else f"{least} or more"
            raise Misfit(f"takes {count} input(s), got {len(inputs)}: {choices(inputs)}")
        shape = kind.output_shape(*incoming)
    except Misfit as misfit:
        raise RequestError(f"{where} ({kind_name}) with input {shown}: {misfit}.") from misfit
    except RequestError as error:
        raise RequestError(f"{where} ({kind_name}): {error.message}", error.hint) from error
    return Layer(name, kind, tuple(inputs), incoming, shape)

"""The layer graph: named layers with inputs, checked and with every shape inferred."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph.kinds import KINDS, Kind, Misfit, Parameter, Shape, make

#: The name by which layers refer to the model's input.
INPUT = "input"

#: What the model's input holds: numbers in the run's type, or token ids, which are int32.
VALUES, TOKENS = "values", "tokens"

#: What a layer may give instead of numbers: for each step whether it counts.
MASK = "mask"

#: Bits of a dimension beyond which a layer is refused. Shapes and counts are exact at any size;
#: this only keeps them within what Python writes out as digits.
_MOST_BITS = 4000

#: How messages call what an input holds.
_WORDS = {VALUES: "numbers", TOKENS: "token ids", MASK: "a mask"}


@dataclass(frozen=True)
class Layer:
    """One named node: a kind and where its inputs come from."""

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape

    @property
    def data_shapes(self) -> tuple[Shape, ...]:
        """The shapes of the inputs without that of a mask, which is the last."""
        return self.input_shapes[:-1] if self.kind.masked else self.input_shapes

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.kind.parameters(*self.data_shapes)

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass for one sample."""
        return self.kind.flops(*self.data_shapes)

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
    #: ``VALUES`` or ``TOKENS``.
    input_type: str = VALUES
    _by_name: Mapping[str, Layer] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {layer.name: layer for layer in self.layers})

    @classmethod
    def from_layers(
        cls,
        input_shape: Sequence[int],
        layers: Sequence[Mapping[str, Any]],
        input_type: str = VALUES,
    ) -> Graph:
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
        types = {INPUT: input_type}
        previous = INPUT
        names = {str(entry.get("name")) for entry in layers if isinstance(entry, Mapping)}
        for position, entry in enumerate(layers, 1):
            layer = _layer(entry, position, previous, shapes, types, names)
            shapes[layer.name] = layer.shape
            types[layer.name] = MASK if layer.kind.gives_mask else VALUES
            built.append(layer)
            previous = layer.name
        used = {name for layer in built for name in layer.inputs}
        for layer in built[:-1]:
            if layer.name not in used:
                raise RequestError(
                    f"Layer '{layer.name}' leads nowhere: no layer takes it as an input.",
                    "Name it in the inputs of a later layer, or remove it.",
                )
        if types[previous] == MASK:
            raise RequestError(
                f"The last layer '{previous}' gives a mask, not what the model is asked for."
            )
        return cls(tuple(input_shape), tuple(built), input_type)

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    def owner(self, tensor: str) -> Layer:
        """The layer of a tensor such as ``block1/conv/kernel``. Names of layers and of tensors may
        both hold slashes, so that the name alone does not tell where one ends."""
        parts = tensor.split("/")
        names = ("/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
        return next(self._by_name[name] for name in names if name in self._by_name)

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
        """SHA-256 over the input shape, the resolved layers, and that the input is token ids."""
        tokens = [TOKENS] if self.input_type == TOKENS else []
        text = json.dumps([self.input_shape, self.to_layers(), *tokens], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _maskable() -> list[str]:
    return [name for name, kind in KINDS.items() if any(f.name == "mask" for f in fields(kind))]


#: What to do where an input holds something else than a layer takes.
_HINTS = {
    TOKENS: "Give it the model's input, on a dataset of token ids such as synthetic_tokens.",
    VALUES: 'Begin with {kind: embedding, tokens: "${tokens}", features: 64}.',
    MASK: "Name a layer of kind padding_mask last: inputs: [before, padding].",
}


def _check_types(
    kind: Kind, inputs: Sequence[str], types: Mapping[str, str], shapes: Mapping[str, Shape]
) -> None:
    """Raise ``RequestError`` where an input holds something else than the layer takes there."""
    data = TOKENS if kind.takes_tokens else VALUES
    for position, source in enumerate(inputs, 1):
        wanted = MASK if kind.masked and position == len(inputs) else data
        given = types[source]
        if given == wanted:
            continue
        if given == MASK:
            raise RequestError(
                f"it takes {_WORDS[wanted]}, but '{source}' is a mask.",
                f"With mask: true, these take one, as their last input: {choices(_maskable())}.",
            )
        shown = "the dataset's inputs are" if given == TOKENS else f"'{source}' holds"
        last = " as its last input" if wanted == MASK else ""
        raise RequestError(
            f"it takes {_WORDS[wanted]}{last}, but {shown} {_WORDS[given]}, of shape "
            f"{list(shapes[source])}.",
            _HINTS[wanted],
        )


def _layer(
    entry: Any,
    position: int,
    previous: str,
    shapes: Mapping[str, Shape],
    types: Mapping[str, str],
    names: Collection[str],
) -> Layer:
    where = f"Layer {position}"
    if not isinstance(entry, Mapping):
        raise RequestError(f"{where} must be a mapping with name and kind, got {entry!r}.")
    options = dict(entry)
    name, kind_name = options.pop("name", None), options.pop("kind", None)
    if not isinstance(name, str) or "." in name or not all(name.split("/")):
        raise RequestError(
            f"{where} needs a name: words without '.', with '/' between blocks, got {name!r}."
        )
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
            raise RequestError(
                f"{where} takes '{source}' as an input, which no earlier layer is called.",
                _order_hint(name, source, names) or unknown("input", source, shapes).hint,
            )
    incoming = tuple(shapes[source] for source in inputs)
    shown = ", ".join(str(list(shape)) for shape in incoming)
    try:
        kind = make(kind_name, options)
        _check_types(kind, inputs, types, shapes)
        shape = kind.output_shape(*_data_shapes(kind, inputs, incoming))
        if any(size.bit_length() > _MOST_BITS for size in shape):
            raise Misfit("a dimension of the output has more than a thousand digits")
    except Misfit as misfit:
        raise RequestError(f"{where} ({kind_name}) with input {shown}: {misfit}.") from misfit
    except RequestError as error:
        raise RequestError(f"{where} ({kind_name}): {error.message}", error.hint) from error
    return Layer(name, kind, tuple(inputs), incoming, shape)


def _order_hint(name: str, source: Any, names: Collection[str]) -> str | None:
    """What to say of an input that is the layer itself or a later one, in its block or around it;
    None where there is no such layer."""
    around = name.split("/")[:-1]
    meant = ("/".join([*around[:depth], str(source)]) for depth in range(len(around), -1, -1))
    found = next((layer for layer in meant if layer in names), None)
    if found is None:
        return None
    return (
        f"'{found}' is {'that layer itself' if found == name else 'a later one'}. Layers stand in "
        "the order in which they are computed, and none can wait for its own output."
    )


def _data_shapes(
    kind: Kind, inputs: Sequence[str], incoming: tuple[Shape, ...]
) -> tuple[Shape, ...]:
    """The shapes of a layer's inputs without that of a mask.

    Raises ``Misfit`` for a wrong number of inputs, or a mask of other steps.
    """
    least, most = kind.arity
    data = incoming[:-1] if kind.masked else incoming
    if len(data) < least or (most is not None and len(data) > most):
        count = f"{least}" if least == most else f"{least} {f'to {most}' if most else 'or more'}"
        mask = " and a mask" if kind.masked else ""
        raise Misfit(f"takes {count} input(s){mask}, got {len(inputs)}: {choices(inputs)}")
    if kind.masked and incoming[-1] != data[-1][:1]:
        raise Misfit(
            f"the mask '{inputs[-1]}' has {incoming[-1][0]} steps, '{inputs[-2]}' has {data[-1][0]}"
        )
    return data

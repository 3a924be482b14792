"""The memory that training a graph needs, told from shapes alone, in whole numbers of any size.

``least`` is what no engine can do without; ``expected`` is what an engine is seen to take.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fwcompare.footprint import Footprint
from fwcompare.graph import INPUT, TOKENS, Graph, Layer
from fwcompare.graph.attention import MultiHeadAttention
from fwcompare.graph.convolutions import Convolution
from fwcompare.graph.recurrent import Recurrent
from fwcompare.work import UPDATES, multiplies, shows_its_input

#: Bytes of a token id or a label.
_ID_BYTES = 4

MIB = 2**20


@dataclass(frozen=True)
class Setting:
    """What memory depends on besides the graph."""

    optimizer: str
    batch_size: int
    #: Bytes of a weight, and of a number that layers compute with.
    weight_bytes: int
    number_bytes: int
    #: Copies of the model in one memory, which share the batch.
    replicas: int = 1

    @property
    def slots(self) -> int:
        """Tensors of state that the optimizer keeps for each parameter."""
        return UPDATES[self.optimizer][1]


@dataclass(frozen=True)
class Need:
    """What a layer needs at the very least, in bytes."""

    layer: Layer
    #: Its weights with their gradients and slots.
    weights: int
    #: Inputs that it must keep for the gradient of its weights, where no layer before it does.
    inputs: int

    @property
    def bytes(self) -> int:
        return self.weights + self.inputs


def least(graph: Graph, setting: Setting) -> Iterator[Need]:
    """Each layer's need in any engine: weights, one gradient and the slots of each, and what enters
    a product with a trained kernel, which its gradient is made of."""
    kept: set[str] = set()
    sizes = {INPUT: math.prod(graph.input_shape)}
    for layer in graph.layers:
        sizes[layer.name] = math.prod(layer.shape)
        copies = (2 + setting.slots) * setting.replicas
        weights = layer.trainable_count * setting.weight_bytes * copies
        inputs = 0
        if multiplies(layer):
            fresh = set(layer.inputs[: len(layer.data_shapes)]) - kept
            kept |= fresh
            inputs = setting.batch_size * setting.number_bytes * sum(sizes[name] for name in fresh)
        yield Need(layer, weights, inputs)


@dataclass(frozen=True)
class Memory:
    """Bytes that a training process is expected to hold, by what they are for."""

    weights: int
    gradients: int
    slots: int
    #: The most that a step holds at once besides gradients of weights: what layers keep, and
    #: gradients of their outputs.
    step: int
    #: Of that, what layers keep from the forward pass for the backward pass.
    kept: int
    #: The initial weights, which the worker holds beside those in training, and copies.
    copies: int
    batch: int
    data: int
    #: Compiled programs.
    program: int
    #: The process with its framework, before any model.
    base: int

    @property
    def above_base(self) -> int:
        """While training. A step's activations are gone when the last gradients of weights are
        made, but allocators keep what they have had."""
        held = self.weights + self.copies + self.slots + self.data + self.program
        return held + self.step + self.gradients

    @property
    def peak(self) -> int:
        """Of the whole process: training, or writing the weights behind it."""
        writing = self.weights * 2 + self.weights + self.copies + self.slots + self.gradients
        return self.base + max(self.above_base, writing + self.data + self.program)


def expected(graph: Graph, setting: Setting, footprint: Footprint, data_bytes: int) -> Memory:
    """What an engine of that footprint is expected to hold."""
    everything = sum(p.size for _, p in graph.parameters()) * setting.weight_bytes
    trained = graph.parameter_count * setting.weight_bytes
    replicas = setting.replicas
    kept, step, largest = _step(graph, setting, footprint)
    convolutions = (layer for layer in graph.layers if isinstance(layer.kind, Convolution))
    kernels = sum(layer.trainable_count for layer in convolutions)
    loops = sum(_loops(layer, footprint) for layer in graph.layers)
    return Memory(
        weights=everything * replicas,
        gradients=trained * replicas,
        slots=trained * setting.slots * replicas,
        step=scaled(step, footprint.slack)
        + min(step, 2 * largest, scaled(MIB, footprint.held_mib)),
        kept=kept,
        copies=everything
        + scaled(trained, footprint.weights)
        + scaled(kernels * setting.weight_bytes, footprint.kernels),
        batch=_batch(graph, setting),
        data=scaled(data_bytes, footprint.data),
        program=scaled(len(graph.layers) * 1024 * replicas, footprint.layer_kib)
        + scaled(loops * 1024 * replicas, footprint.loop_kib),
        base=scaled(MIB, footprint.base_mib),
    )


def _loops(layer: Layer, footprint: Footprint) -> int:
    """How many loops a program has for a layer that is not the input in another shape."""
    kind = layer.kind
    if shows_its_input(layer):
        return 0
    if isinstance(kind, Recurrent):
        ways = len(list(kind.directions(layer.data_shapes[0][-1])))
        return footprint.keep(kind.kind).loops * ways
    return footprint.keep(kind.kind).loops


def scaled(count: int, factor: float) -> int:
    """A whole number of any size times a factor; a float would not hold the largest."""
    return count * round(factor * 1000) // 1000


def _batch(graph: Graph, setting: Setting) -> int:
    """Bytes of a batch's inputs."""
    each = _ID_BYTES if graph.input_type == TOKENS else setting.weight_bytes
    return setting.batch_size * math.prod(graph.input_shape) * each


def _step(graph: Graph, setting: Setting, footprint: Footprint) -> tuple[int, int, int]:
    """Bytes that layers keep for the backward pass, the most that a step holds at once, and its
    largest tensor.

    The step is walked through: forward, each layer's output lives until the last layer that takes
    or keeps it; backward, the gradient of an output lives until its layer has used it up, and what
    was kept is let go. Where an engine works in place, what an element-wise layer takes is gone
    before what it gives is there.
    """
    tensors = _Tensors(graph, setting, footprint)
    live = peak = tensors.size[INPUT]
    for i, layer in enumerate(graph.layers):
        in_place = footprint.in_place and _is_element_wise(layer)
        ended = sum(
            tensors.size[name]
            for name in tensors.inputs(layer)
            if tensors.last_use[name] == i and name not in tensors.first_keeper
        )
        live += tensors.own[i]
        if tensors.root[layer.name] == layer.name:
            live += tensors.size[layer.name]
        peak = max(peak, live - (ended if in_place else 0))
        live -= ended
    kept = live

    trained = _trained(graph)
    let_go: dict[int, int] = {}
    for name, i in tensors.first_keeper.items():
        let_go[i] = let_go.get(i, 0) + tensors.size[name]
    outputs = tensors.root[graph.layers[-1].name]
    gradients = {outputs}
    # The loss keeps a share for each output, and gives its gradient.
    live += 2 * tensors.size[outputs]
    for i, layer in reversed(list(enumerate(graph.layers))):
        fresh = {name for name in tensors.inputs(layer) if trained[name]} - gradients
        gradients |= fresh
        in_place = footprint.in_place and _is_element_wise(layer)
        ended = tensors.size[layer.name] if layer.name in gradients else 0
        live += sum(tensors.size[name] for name in fresh)
        peak = max(peak, live + tensors.work[i] - (ended if in_place else 0))
        live -= ended + tensors.own[i] + let_go.get(i, 0)
    return kept, peak, max(tensors.size.values())


def _is_element_wise(layer: Layer) -> bool:
    """Whether each number of the output is made of the one that it can take the place of."""
    return layer.kind.kind in ("activation", "dropout", "scale", "add")


class _Tensors:
    """What a step computes, each by the name of the layer that gives it."""

    def __init__(self, graph: Graph, setting: Setting, footprint: Footprint) -> None:
        unit = setting.batch_size * setting.number_bytes
        #: Whose numbers a name shows: a view's are those of its input.
        self.root = {INPUT: INPUT}
        self.size = {INPUT: _batch(graph, setting)}
        #: Positions of the last layer that takes a tensor, and of the first that keeps it.
        self.last_use: dict[str, int] = {}
        self.first_keeper: dict[str, int] = {}
        #: Bytes that each layer keeps besides its inputs and its output.
        self.own: list[int] = []
        #: Bytes that it takes besides while its gradient is worked out.
        self.work: list[int] = []
        for i, layer in enumerate(graph.layers):
            view = shows_its_input(layer)
            name = layer.name
            self.root[name] = self.root[layer.inputs[0]] if view else name
            if not view:
                self.size[name] = unit * math.prod(layer.shape)
            keep = footprint.keep(str(layer.kind.options().get("function", layer.kind.kind)))
            taken = sum(self.size[self.root[source]] for source in layer.inputs)
            own = _own(layer, keep.more, keep.marks, setting, footprint)
            self.own.append(0 if view else own + scaled(taken, keep.turned))
            self.work.append(scaled(taken, keep.work))
            for source in self.inputs(layer):
                self.last_use[source] = i
                if keep.input and not view:
                    self.first_keeper.setdefault(source, i)
            if keep.output and not view and self.root[name] != INPUT:
                self.first_keeper.setdefault(self.root[name], i)

    def inputs(self, layer: Layer) -> set[str]:
        """The tensors that a layer takes; the batch itself lives as long as the step."""
        return {self.root[name] for name in layer.inputs} - {INPUT}


def _trained(graph: Graph) -> dict[str, bool]:
    """For each name whether a gradient goes back to it."""
    found = {INPUT: False}
    for layer in graph.layers:
        found[layer.name] = layer.trainable_count > 0 or any(found[n] for n in layer.inputs)
    return found


def _own(layer: Layer, more: float, marks: int, setting: Setting, footprint: Footprint) -> int:
    """Bytes that a layer keeps besides its inputs and its output."""
    kind = layer.kind
    scores = 0
    if isinstance(kind, MultiHeadAttention):
        (steps, features), (seen, _) = layer.data_shapes[0], layer.data_shapes[-1]
        numbers = 2 * (steps + seen) * features
        scores = scaled(steps * seen * kind.heads, footprint.scores)
    elif isinstance(kind, Recurrent):
        steps, features = layer.data_shapes[0]
        numbers = steps * kind.units * len(list(kind.directions(features)))
    else:
        numbers = math.prod(layer.shape)
    each = setting.number_bytes * (scaled(numbers, more) + scores)
    return setting.batch_size * (each + marks * math.prod(layer.shape))

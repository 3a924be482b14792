"""The arithmetic and the memory traffic that a step of training cannot do without.

Both are those of the mathematics, whatever an engine makes of it, so that engines can be set
against the machine's peak (as the model FLOPs utilisation of Chowdhery et al., *PaLM*, 2022,
appendix B, which counts no recomputation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fwcompare.graph import INPUT, Graph, Layer
from fwcompare.graph.convolutions import Convolution
from fwcompare.graph.kinds import Activation, Dropout
from fwcompare.spec import Optimizer

#: For each update rule: FLOPs a parameter, and slots (tensors of state) a parameter. A square root
#: and a division count as one.
UPDATES = {
    "sgd": (2, 0),
    "momentum": (4, 1),
    "nesterov": (6, 1),
    "adam": (12, 2),
    "adamw": (12, 2),
    "rmsprop": (9, 1),
    "adagrad": (7, 1),
}

#: Kinds that show the same numbers under another shape.
_VIEWS = ("flatten", "reshape", "padding_mask")

#: FLOPs a parameter that weight decay and clipping by norm add to an update.
_DECAY_FLOPS = 2
_CLIP_FLOPS = 3


@dataclass(frozen=True)
class Work:
    """FLOPs and bytes of memory traffic."""

    flops: float
    bytes: float

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.bytes


def training_step(graph: Graph, optimizer: Optimizer, batch_size: int, itemsize: int) -> Work:
    """The least work of one step: forward, backward and update.

    ``itemsize`` is the bytes of a number. Traffic is what remains if caches hold nothing from one
    pass to the next and lose nothing within it: the batch is read; every layer's output is written,
    and read again going backward; a weight is read in each of the three passes and written once,
    its gradient is written and read, each slot read and written.
    """
    parameters, slots = graph.parameter_count, UPDATES[optimizer.name][1]
    flops = batch_size * sample_flops(graph) + update_flops(optimizer) * parameters
    activations = math.prod(graph.input_shape) + sum(
        2 * math.prod(layer.shape) for layer in graph.layers
    )
    numbers = batch_size * activations + parameters * (6 + 2 * slots)
    return Work(float(flops), float(numbers * itemsize))


def update_flops(optimizer: Optimizer) -> int:
    """FLOPs of the update of one parameter."""
    decay = _DECAY_FLOPS * (optimizer.decay != "none")
    return UPDATES[optimizer.name][0] + decay + _CLIP_FLOPS * bool(optimizer.clip_norm)


def sample_flops(graph: Graph) -> int:
    """FLOPs of the forward and the backward pass for one sample."""
    return sum(layer.flops * count for layer, count in passes(graph))


def passes(graph: Graph) -> Iterator[tuple[Layer, int]]:
    """Each layer, and how often the work of its forward pass is done in a step: once, twice or
    three times.

    The gradient with respect to a layer's weights costs as much as its forward pass, and so does
    that with respect to its inputs, together the usual "backward is twice forward" (Kaplan et al.,
    *Scaling laws for neural language models*, 2020, section 2.1). The inputs' gradient is left out
    where nothing in front of a layer can be trained: in the first one.
    """
    trained = {INPUT: False}
    for layer in graph.layers:
        behind = any(trained[name] for name in layer.inputs)
        owns = layer.trainable_count > 0
        trained[layer.name] = behind or owns
        yield layer, 1 + behind + owns


def multiplies(layer: Layer) -> bool:
    """Whether a layer multiplies by a kernel, which is most of what there is to calculate."""
    return any(parameter.name.endswith("kernel") for parameter in layer.parameters)


def shows_its_input(layer: Layer) -> bool:
    """Whether a layer's output is its input, perhaps under another shape: it costs nothing.

    Every framework gives back what went into a dropout that leaves nothing out, and into an
    activation that is none.
    """
    kind = layer.kind
    if isinstance(kind, Activation):
        return kind.function == "linear"
    return kind.kind in _VIEWS or (isinstance(kind, Dropout) and kind.rate == 0)


def windows(layer: Layer) -> int:
    """How many numbers all windows of a convolution hold, each with all of its channels; none where
    a window is a single cell, and need not be gathered."""
    kind = layer.kind
    if not isinstance(kind, Convolution) or math.prod(kind.kernel_size) == 1:
        return 0
    cells = math.prod(layer.shape[:-1]) * math.prod(kind.kernel_size)
    return cells * layer.data_shapes[0][-1]

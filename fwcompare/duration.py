"""How long training a graph is expected to take, from the machine's measured peak."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fwcompare.footprint import BEYOND_IMAGE, Footprint
from fwcompare.graph import Graph, Layer
from fwcompare.graph.convolutions import Convolution
from fwcompare.graph.recurrent import Recurrent
from fwcompare.spec import Optimizer
from fwcompare.work import UPDATES, multiplies, passes, shows_its_input, update_flops, windows

#: How often an element-wise layer's numbers are read or written: two forward, three backward.
_TRAVELS = 5


@dataclass(frozen=True)
class Machine:
    """What the machine does at best."""

    flops_per_s: float
    copy_bytes_per_s: float


@dataclass(frozen=True)
class Duration:
    """Seconds that training is expected to take."""

    step_s: float
    steps_per_epoch: int
    steps: int
    #: From the start of the process to the end of its first step, without that step itself.
    start_s: float

    @property
    def epoch_s(self) -> float:
        return self.step_s * self.steps_per_epoch

    @property
    def whole_s(self) -> float:
        return self.start_s + self.step_s * self.steps


def step_flops(graph: Graph, optimizer: Optimizer, batch_size: int) -> int:
    """FLOPs of a step, a whole number of any size: forward, backward and update."""
    samples = sum(layer.flops * count for layer, count in passes(graph))
    return batch_size * samples + update_flops(optimizer) * graph.parameter_count


def step_seconds(
    graph: Graph,
    optimizer: Optimizer,
    batch_size: int,
    number_bytes: int,
    machine: Machine,
    footprint: Footprint,
) -> float:
    """Seconds of a step: products at a share of the peak, everything else at a share of the speed
    of copying, and what layers and steps cost by themselves. Infinite beyond what a float holds.
    """
    seconds = footprint.step_us * 1e-6
    moved = graph.parameter_count * (4 + 2 * UPDATES[optimizer.name][1]) * number_bytes
    try:
        for layer, count in passes(graph):
            seconds += footprint.layer_us * 1e-6
            if multiplies(layer):
                share = footprint.share(_word(layer)) * machine.flops_per_s
                seconds += batch_size * layer.flops * count / share
                seconds += batch_size * count * windows(layer) * footprint.window_ns * 1e-9
            elif not shows_its_input(layer):
                moved += _TRAVELS * batch_size * math.prod(layer.shape) * number_bytes
            if isinstance(layer.kind, Recurrent):
                steps, features = layer.data_shapes[0]
                ways = len(list(layer.kind.directions(features)))
                seconds += steps * ways * footprint.sequence_us * 1e-6
        return seconds + moved / (footprint.copy_share * machine.copy_bytes_per_s)
    except OverflowError:
        return math.inf


def _word(layer: Layer) -> str:
    """By what the share of a layer is looked up."""
    kind = layer.kind
    if isinstance(kind, Convolution):
        image = math.prod(layer.data_shapes[0][:-1])
        return BEYOND_IMAGE if math.prod(kind.kernel_size) > image else kind.kind
    return kind.kind


def start_seconds(graph: Graph, footprint: Footprint) -> float:
    """Seconds until training goes: imports, building, compiling."""
    return footprint.start_s + footprint.compile_ms * 1e-3 * len(graph.layers)

"""Whether a run will fit into the memory that there is, said before any framework is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from fwcompare import memory
from fwcompare.capacity import Capacity
from fwcompare.data.batches import DataFolder
from fwcompare.data.stream import most_resident_bytes
from fwcompare.errors import RequestError, UnsupportedError, unknown
from fwcompare.footprint import Footprint
from fwcompare.graph import Graph, Layer
from fwcompare.memory import MIB, Memory, Need, Setting
from fwcompare.spec import RunSpec

#: What is done with a run that will not fit.
MODES = ("refuse", "warn", "skip")

#: The estimate is within a quarter of what is measured, so a run is refused when even less than
#: four fifths of it is too much, and warned of when it comes near.
_SURE = 1.25
_TIGHT = 0.8

#: No framework counts a dimension, and no machine a byte, beyond.
_MOST = 2**63 - 1

#: What may be stated as memory; beyond it a number of bytes would be none.
MOST_MIB = 1e15

#: Kernels that count in 32 bits stop here.
_MOST_32 = 2**31 - 1


@dataclass(frozen=True)
class Preflight:
    """What is done with a run that will not fit, and the memory to plan with.

    ``refuse`` it before any work, ``warn`` and run it, or ``skip`` looking.
    """

    mode: str
    #: Mebibytes; None: what the machine, or the GPU, has available.
    memory_mib: float | None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("preflight.mode", self.mode, MODES)
        if self.memory_mib is not None and not 0 < self.memory_mib <= MOST_MIB:
            raise RequestError(
                f"preflight.memory_mib must be more than 0 and at most {MOST_MIB:g}, "
                f"got {self.memory_mib:g}."
            )

    def capacity(self, measured: Callable[[], Capacity | None]) -> Capacity | None:
        """The memory to plan with; it is looked for only where nobody states it."""
        if self.memory_mib is None:
            return measured()
        return Capacity(round(self.memory_mib * MIB), "preflight.memory_mib allows")


@dataclass(frozen=True)
class Subject:
    """What is looked at: a graph under the settings of a run."""

    name: str
    graph: Graph
    setting: Setting
    #: Samples of the training split, and their bytes.
    samples: int
    data_bytes: int
    #: How many such subjects share a batch, each in a memory of its own.
    shares: int = 1

    @classmethod
    def of(cls, spec: RunSpec, graph: Graph, data: DataFolder) -> Subject:
        numbers = math.prod(data.input_shape) + math.prod(data.output_shape[:-1])
        setting = Setting(
            spec.optimizer.name,
            spec.training.batch_size,
            spec.dtype.itemsize,
            2 if spec.mixed else spec.dtype.itemsize,
            spec.distributed.replicas if spec.device.name == "cpu" else 1,
        )
        samples = data.size("train")
        size = samples * numbers * spec.dtype.itemsize
        most = most_resident_bytes(spec.training.resident_mib)
        if spec.augment.active or data.held_bytes("train", spec.dtype) > most:
            size = 0  # it is read from disk, batch by batch
        return cls(spec.model.name, graph, setting, samples, size)

    def but(self, graph: Graph | None = None, batch_size: int | None = None) -> Subject:
        """The same with another graph or batch."""
        setting = self.setting
        if batch_size is not None:
            setting = replace(setting, batch_size=batch_size)
        return replace(self, graph=graph or self.graph, setting=setting)

    @property
    def needs(self) -> list[Need]:
        return list(memory.least(self.graph, self.setting))

    @property
    def least(self) -> int:
        """Bytes that no engine can do without."""
        return sum(need.bytes for need in self.needs)

    def expected(self, footprint: Footprint) -> Memory:
        return memory.expected(self.graph, self.setting, footprint, self.data_bytes)


@dataclass(frozen=True)
class Verdict:
    """Whether a run fits: ``yes``, ``tight``, ``no``, or ``never``, in no engine at all; or
    ``unsupported``, where the engine cannot do it, however much memory there is."""

    fits: str
    message: str = ""
    hint: str = ""

    @property
    def error(self) -> RequestError | UnsupportedError:
        """The refusal: what never fits is asked wrongly, what one engine alone takes too much for
        is a cell that this engine cannot do."""
        cls = RequestError if self.fits == "never" else UnsupportedError
        return cls(self.message, self.hint)


#: The graph with another value of its param ``depth``; None where it has none, or not that deep.
Shallower = Callable[[int], Graph | None]


def judge(
    subject: Subject,
    engine: str,
    footprint: Footprint,
    capacity: Capacity | None,
    depth: int | None = None,
    shallower: Shallower | None = None,
) -> Verdict:
    """Whether an engine can train the subject in the memory that there is.

    ``depth`` is the value of the model's param of that name, if it has one.
    """
    if (layer := _uncountable(subject.graph)) is not None:
        return Verdict(
            "never",
            f"Layer '{layer.name}' of {subject.name} has a dimension beyond 2**63 - 1 "
            f"({_dimensions(layer)}): no framework can count so far.",
            _advice(subject, footprint, capacity, depth, shallower),
        )
    if capacity is None:
        return Verdict("yes")
    least = subject.least
    expected = subject.expected(footprint)
    available = f"{capacity.words} {size_words(capacity.bytes)}"
    if least > capacity.bytes:
        return Verdict(
            "never",
            f"{subject.name} will not fit: its training needs at least {size_words(least)}, "
            f"{available}. {_first_misfit(subject, capacity)}",
            _advice(subject, footprint, capacity, depth, shallower),
        )
    words = f"{size_words(expected.peak)} in {engine}, {available}"
    if expected.peak > capacity.bytes * _SURE:
        return Verdict(
            "no",
            f"{subject.name} will not fit: its training is expected to take {words}. "
            f"{_largest(subject, expected)}",
            _advice(subject, footprint, capacity, depth, shallower),
        )
    if expected.peak > capacity.bytes * _TIGHT:
        return Verdict(
            "tight",
            f"memory is tight: the training of {subject.name} is expected to take {words}.",
        )
    return Verdict("yes")


def hopeless(subject: Subject) -> bool:
    """Whether not even somebody who knows better could run it: numbers beyond 64 bits."""
    return _uncountable(subject.graph) is not None or subject.least > _MOST


def _uncountable(graph: Graph) -> Layer | None:
    """The first layer with a dimension beyond 64 bits."""
    for layer in graph.layers:
        if max(layer.shape) > _MOST or any(max(p.shape) > _MOST for p in layer.parameters):
            return layer
    return None


def beyond_32_bits(subject: Subject) -> Layer | None:
    """The first layer with a tensor of more numbers than 32 bits count, in a batch or as weights:
    some kernels of some frameworks refuse it, or are wrong."""
    for layer in subject.graph.layers:
        most = max([math.prod(layer.shape) * subject.setting.batch_size]
                   + [p.size for p in layer.parameters])  # fmt: skip
        if most > _MOST_32:
            return layer
    return None


def _first_misfit(subject: Subject, capacity: Capacity) -> str:
    """The first layer that no longer fits behind those before it, in a sentence."""
    total = 0
    before: Layer | None = None
    for need in subject.needs:
        total += need.bytes
        if total > capacity.bytes:
            found = need
            break
        before = need.layer
    layer, setting = found.layer, subject.setting
    parameters = layer.trainable_count
    bytes_ = parameters * setting.weight_bytes
    slots = f" and {setting.slots} slots" if setting.slots else ""
    said = (
        f"The first layer that cannot fit is '{layer.name}' ({layer.kind.kind}, "
        f"{_dimensions(layer)}): {count_words(parameters)} parameters of {size_words(bytes_)}, "
        f"with their gradients{slots} {size_words(found.weights)}"
    )
    if found.inputs:
        said += f", and {size_words(found.inputs)} of inputs to keep"
    last = f" '{before.name}' is the last before it that would." if before else ""
    return f"{said}.{last}"


def _largest(subject: Subject, expected: Memory) -> str:
    """Where most of the memory goes, in a sentence."""
    weights = expected.weights + expected.copies + expected.gradients + expected.slots
    if expected.data > max(weights, expected.step):
        return f"Most of it, {size_words(expected.data)}, is the training split."
    if weights > expected.step:
        need = max(subject.needs, key=lambda need: need.weights)
        return (
            f"Most of it, {size_words(weights)}, is weights, gradients and slots; the most of "
            f"them has layer '{need.layer.name}', {count_words(need.layer.trainable_count)} "
            "parameters."
        )
    return f"Most of it, {size_words(expected.step)}, is what layers keep for the backward pass."


def _dimensions(layer: Layer) -> str:
    return "×".join(count_words(size) for size in layer.shape)


def _advice(
    subject: Subject,
    footprint: Footprint,
    capacity: Capacity | None,
    depth: int | None,
    shallower: Shallower | None,
) -> str:
    """What would fit, and how to have it all the same."""
    knows_better = "" if hopeless(subject) else " preflight.mode=warn runs it all the same."
    if capacity is None:
        return "Choose a smaller model."

    def fits(other: Subject) -> bool:
        return other.expected(footprint).peak <= capacity.bytes * _TIGHT

    if depth is not None and shallower is not None:

        def builds(value: int) -> bool:
            graph = shallower(value)
            return graph is not None and fits(subject.but(graph))

        if deepest := _most(depth - 1, builds):
            return (
                f"The deepest prefix that fits here is model.params.depth={deepest}.{knows_better}"
            )
    batch = _most(subject.setting.batch_size - 1, lambda n: fits(subject.but(batch_size=n)))
    if batch := batch - batch % subject.setting.replicas:
        whole = batch * subject.shares
        return f"It would fit with trainer.batch_size={whole}.{knows_better}"
    slots = " an optimizer with fewer slots," if subject.setting.slots else ""
    return f"Choose a smaller model,{slots} or a machine with more memory.{knows_better}"


def _most(limit: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to ``limit`` for which something holds that holds for all smaller
    ones; 0 for none."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


#: Units of memory, each 1024 times the one before.
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

#: Numbers up to here are written out.
_WRITTEN_OUT = 10**24


def size_words(size: int) -> str:
    """Bytes in the unit that fits; of any size."""
    unit = 0
    while unit < len(_UNITS) - 1 and size >= 1024 ** (unit + 1):
        unit += 1
    whole = size // 1024**unit
    if whole >= 100_000:
        return f"{count_words(whole, 100_000)} {_UNITS[unit]}"
    return f"{size / 1024**unit:,.{0 if unit == 0 else 1}f} {_UNITS[unit]}"


def count_words(count: int, most: int = _WRITTEN_OUT) -> str:
    """A whole number with commas or, from ``most`` on, by its power of ten; of any size."""
    if count < most:
        return f"{count:,}"
    power = int(math.log10(count))
    return f"{count / 10**power:.2f}e{power}"

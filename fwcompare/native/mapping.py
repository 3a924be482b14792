"""Where each canonical tensor is in a model of the user's own, and how it is laid out there.

A layout is a reordering: it moves numbers and changes none. So it serves weights, gradients and the
slots of optimizers alike, in both directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwcompare.errors import RequestError, choices, unknown
from fwcompare.graph import Graph, Layer, Parameter
from fwcompare.graph.kinds import Shape

LAYOUTS = ("channels_last", "channels_first")

#: Names of steps to the canonical axes in native order.
_AXES: dict[str, tuple[int, ...]] = {"oihw": (3, 2, 0, 1), "oiw": (2, 1, 0)}

#: Steps that have a name of one word.
STEPS = (*_AXES, "none", "transpose", "rows_chw")

#: One step of a layout: a name, or a mapping of one key.
Step = Any

#: The steps by which a framework's users keep a tensor, unless a map says otherwise.
Customary = Callable[[Layer, Parameter], Sequence[Step]]


@dataclass(frozen=True)
class Entry:
    """Where one canonical tensor is: a path, and what the map says of its layout there."""

    path: str
    #: None: as the framework's users keep such a tensor.
    steps: tuple[Step, ...] | None = None
    #: The rows of the native tensor that are it; None: the whole.
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Submodule:
    """What gives a layer's output."""

    path: str
    layout: str


@dataclass(frozen=True)
class WeightMap:
    """One framework's part of a weight map, checked against the graph."""

    #: How images come to the model, and leave it.
    layout: str
    weights: Mapping[str, Entry]
    #: Native tensors that the graph does not have, and the number that each is kept at.
    fixed: Mapping[str, float]
    layers: Mapping[str, Submodule]

    @classmethod
    def of(cls, data: Mapping[str, Any], graph: Graph) -> WeightMap:
        """Check what a file holds.

        Raises:
            RequestError: a key, a name or a layout that there is not.
        """
        for key in data:
            if key not in ("layout", "weights", "fixed", "layers"):
                raise unknown("key of a weight map", key, ("layout", "weights", "fixed", "layers"))
        layout = str(data.get("layout", LAYOUTS[0]))
        if layout not in LAYOUTS:
            raise unknown("layout", layout, LAYOUTS)
        known = [name for name, _ in graph.parameters()]
        weights = {}
        for name, given in _mapping(data, "weights").items():
            if name not in known:
                raise unknown("tensor", name, known)
            weights[str(name)] = _entry(str(name), given)
        fixed = {}
        for path, number in _mapping(data, "fixed").items():
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise RequestError(f"fixed: '{path}' must be kept at a number, got {number!r}.")
            fixed[str(path)] = float(number)
        names = [layer.name for layer in graph.layers]
        layers = {}
        for name, given in _mapping(data, "layers").items():
            if name not in names:
                raise unknown("layer", name, names)
            layers[str(name)] = _submodule(str(name), given, layout)
        return cls(layout, weights, fixed, layers)

    def fits(
        self, graph: Graph, native: Mapping[str, Shape], customary: Customary
    ) -> dict[str, Fit]:
        """Each canonical tensor in the native ones, whose shapes are given by path.

        Raises:
            RequestError: tensors without a counterpart on either side, all named, or shapes that do
                not fit.
        """
        self._close(graph, native)
        found = {}
        for layer in graph.layers:
            for parameter in layer.parameters:
                name = f"{layer.name}/{parameter.name}"
                entry = self.weights[name]
                steps = customary(layer, parameter) if entry.steps is None else entry.steps
                found[name] = fit(name, parameter, entry, steps, native[entry.path], graph, layer)
        _check_rows(found, native)
        return found

    def missing(self, graph: Graph) -> list[str]:
        """Canonical tensors that it does not name."""
        return [name for name, _ in graph.parameters() if name not in self.weights]

    def _close(self, graph: Graph, native: Mapping[str, Shape]) -> None:
        """Raise ``RequestError`` for what has no counterpart."""
        used = {entry.path for entry in self.weights.values()} | set(self.fixed)
        absent, unused = sorted(used - set(native)), sorted(set(native) - used)
        gaps = [
            f"{what}: {', '.join(names)}"
            for what, names in (
                ("without a place in the native model", self.missing(graph)),
                ("without a place in the map", unused),
                ("not in the native model", absent),
            )
            if names
        ]
        if gaps:
            raise RequestError(
                f"The weight map has gaps. {'; '.join(gaps)}.",
                "`fwcompare native template` writes what can be matched; what the model has beside "
                "the graph's tensors is kept at a number under 'fixed:'.",
            )


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[Any, Any]:
    found = data.get(key) or {}
    if not isinstance(found, Mapping):
        raise RequestError(f"'{key}:' of a weight map must be a mapping, got {found!r}.")
    return found


def _entry(name: str, given: Any) -> Entry:
    if isinstance(given, str):
        return Entry(given)
    if not isinstance(given, Mapping) or not isinstance(given.get("path"), str):
        raise RequestError(f"weights: '{name}' needs the path of a native tensor, got {given!r}.")
    for key in given:
        if key not in ("path", "transform", "rows"):
            raise unknown(f"key of '{name}'", key, ("path", "transform", "rows"))
    steps, rows = given.get("transform"), given.get("rows")
    if rows is not None and not (
        isinstance(rows, list | tuple)
        and len(rows) == 2
        and all(isinstance(row, int) for row in rows)
        and 0 <= rows[0] < rows[1]
    ):
        raise RequestError(f"rows of '{name}' must be [first, behind the last], got {rows!r}.")
    if steps is not None:
        steps = tuple(steps) if isinstance(steps, list | tuple) else (steps,)
        for step in steps:
            _check_step(name, step)
    return Entry(given["path"], steps, tuple(rows) if rows is not None else None)


def _check_step(name: str, step: Step) -> None:
    if isinstance(step, str):
        if step not in STEPS:
            raise unknown(f"transform of '{name}'", step, STEPS)
        return
    if isinstance(step, Mapping) and len(step) == 1:
        ((key, order),) = step.items()
        whole = isinstance(order, list | tuple) and sorted(order) == list(range(len(order)))
        if key in ("axes", "blocks") and whole:
            return
    raise RequestError(
        f"transform of '{name}': {step!r} is none.",
        f"Choose from: {choices(STEPS)}, {{axes: [1, 0]}}, {{blocks: [1, 0, 2]}}.",
    )


def _submodule(name: str, given: Any, layout: str) -> Submodule:
    if isinstance(given, str):
        return Submodule(given, layout)
    if isinstance(given, Mapping) and isinstance(given.get("path"), str):
        own = str(given.get("layout", layout))
        if set(given) <= {"path", "layout"} and own in LAYOUTS:
            return Submodule(given["path"], own)
    raise RequestError(f"layers: '{name}' needs the path of a submodule, got {given!r}.")


@dataclass(frozen=True)
class Fit:
    """One canonical tensor in a native one."""

    name: str
    parameter: Parameter
    path: str
    #: The shape of the native part, and its rows in the whole tensor.
    shape: Shape
    rows: slice
    #: For each place of the native part the place in the canonical tensor, both counted in C order.
    order: np.ndarray

    def native(self, array: np.ndarray) -> np.ndarray:
        """A canonical array in native layout."""
        moved: np.ndarray = np.ascontiguousarray(array).reshape(-1)[self.order]
        return moved.reshape(self.shape)

    def canonical(self, array: np.ndarray) -> np.ndarray:
        """What of a whole native array (a weight, a gradient, a slot) is the tensor, canonical."""
        found = np.empty(self.order.size, array.dtype)
        found[self.order] = np.ascontiguousarray(array[self.rows] if array.ndim else array).ravel()
        return found.reshape(self.parameter.shape)

    @cached_property
    def whole(self) -> bool:
        """Whether the native tensor is nothing but this one."""
        return self.rows == slice(None)


def fit(
    name: str,
    parameter: Parameter,
    entry: Entry,
    steps: Sequence[Step],
    native: Shape,
    graph: Graph,
    layer: Layer,
) -> Fit:
    """One tensor laid out by steps, held against a native shape. Raises ``RequestError``."""
    order = laid_out(name, parameter, steps, graph, layer)
    rows = slice(None) if entry.rows is None else slice(*entry.rows)
    part = native if entry.rows is None else (len(range(native[0])[rows]), *native[1:])
    if not regroups(order.shape, part):
        shown = ", ".join(map(str, steps)) or "none"
        raise RequestError(
            f"The weight map: '{name}' {list(parameter.shape)} is {list(order.shape)} by transform "
            f"{shown}, '{entry.path}' has {list(part)}.",
            "Say another transform, or correct the model.",
        )
    return Fit(name, parameter, entry.path, tuple(part), rows, order.reshape(-1))


def laid_out(
    name: str, parameter: Parameter, steps: Sequence[Step], graph: Graph, layer: Layer
) -> np.ndarray:
    """The places of a canonical tensor, in C order, moved by steps. Raises ``RequestError``."""
    order = np.arange(math.prod(parameter.shape)).reshape(parameter.shape)
    for step in steps:
        try:
            order = _moved(order, step, graph, layer)
        except ValueError as error:
            raise RequestError(
                f"The weight map: transform {step!r} does not fit '{name}' "
                f"{list(parameter.shape)}: {error}."
            ) from error
    return order


def _moved(order: np.ndarray, step: Step, graph: Graph, layer: Layer) -> np.ndarray:
    if step == "none":
        return order
    if step == "transpose":
        return order.T
    if step == "rows_chw":
        height, width, channels = flattened(graph, layer)
        by_place = order.reshape(height, width, channels, -1)
        return by_place.transpose(2, 0, 1, 3).reshape(order.shape)
    if isinstance(step, str):
        return order.transpose(_AXES[step])
    ((key, numbers),) = step.items()
    if key == "axes":
        return order.transpose(numbers)
    blocks = np.split(order, len(numbers), axis=-1)
    return np.concatenate([blocks[number] for number in numbers], axis=-1)


def flattened(graph: Graph, layer: Layer) -> Shape:
    """The image whose flattening a layer takes. Raises ``ValueError`` if there is none."""
    while layer.inputs and layer.inputs[0] in {each.name for each in graph.layers}:
        layer = graph[layer.inputs[0]]
        if layer.kind.kind in ("flatten", "reshape"):
            shape = layer.input_shapes[0]
            if len(shape) == 3:
                return shape
            break
        if layer.kind.kind not in ("dropout", "activation"):
            break
    raise ValueError("no image is flattened before this layer")


def regroups(one: Shape, other: Shape) -> bool:
    """Whether two shapes differ in neighbouring axes that are joined, or of one cell."""
    if math.prod(one) != math.prod(other):
        return False
    a, b = ({1, *np.cumprod(shape, dtype=object).tolist()} for shape in (one, other))
    return a <= b or b <= a


def _check_rows(found: Mapping[str, Fit], native: Mapping[str, Shape]) -> None:
    """Raise ``RequestError`` where tensors overlap in a native one, or leave rows of it."""
    for path in {each.path for each in found.values()}:
        parts = [each for each in found.values() if each.path == path]
        if len(parts) == 1 and parts[0].whole:
            continue
        length = native[path][0] if native[path] else 1
        taken = sorted((p.rows.start or 0, length if p.rows.stop is None else p.rows.stop)
                       for p in parts)  # fmt: skip
        ends = [0, *(stop for _, stop in taken)]
        if [start for start, _ in taken] != ends[:-1] or ends[-1] != length:
            raise RequestError(
                f"The weight map: the rows of '{path}', of which there are {length}, are not "
                f"divided among {choices(each.name for each in parts)}.",
                "Give each of them rows: [first, behind the last].",
            )

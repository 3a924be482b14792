"""In the worker: a weight map to begin with, from the graph and the model that the code builds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fwcompare.graph import Graph, Layer
from fwcompare.graph.kinds import Shape
from fwcompare.native.mapping import LAYOUTS, Customary, flattened, laid_out
from fwcompare.plugin import load_template
from fwcompare.record import SPEC_FILE
from fwcompare.spec import RunSpec

TEMPLATE_FILE = "template.yaml"


def write(folder: Path, template: str) -> None:
    """Write the part of a weight map for the code that the spec of ``folder`` names."""
    lines = load_template(template)(RunSpec.read(folder / SPEC_FILE))
    (folder / TEMPLATE_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def described(
    graph: Graph, native: Mapping[str, Shape], customary: Customary, layout: str
) -> Iterator[str]:
    """The part of a weight map that can be matched, in YAML; the rest as comments to fill in.

    A tensor is matched by its role and its shape in the framework's customary layout, and among
    several of one shape by their order, where there are as many on either side. ``layout`` is that
    of images, where the framework's users have one.
    """
    shapes = {
        f"{layer.name}/{parameter.name}": laid_out(
            parameter.name, parameter, customary(layer, parameter), graph, layer
        ).shape
        for layer in graph.layers
        for parameter in layer.parameters
    }
    matched = _matched(shapes, native)
    if len(graph.input_shape) == 3:
        yield f"layout: {layout}   # of images: {' or '.join(LAYOUTS)}"
    yield "weights:"
    for name, shape in shapes.items():
        if name not in matched:
            yield f"  # {name}: ?   # {list(shape)}"
            continue
        yield f"  {name}: {_word(matched[name])}"
        if layout == "channels_first" and name.endswith("/kernel") and _flat(graph, name):
            rows = f"{{path: {matched[name]}, transform: [rows_chw, transpose]}}"
            yield f"  # {name}: {rows}   # if it is flattened channels first"
    left = [path for path in native if path not in matched.values()]
    if left:
        yield "# Not matched; what the graph does not have is kept at a number: fixed: {PATH: 0}"
        for path in left:
            yield f"#   {path}: {list(native[path])}"
    yield "layers:   # whose outputs are compared, besides the last one's"
    for layer in graph.layers[:-1]:
        if place := _submodule(layer, matched):
            yield f"  {layer.name}: {_word(place)}"


def _word(path: str) -> str:
    """A path as YAML takes it for a word: that of a list of modules may be a number."""
    return f'"{path}"' if path[0].isdigit() else path


def _flat(graph: Graph, name: str) -> bool:
    """Whether a tensor belongs to a dense layer behind an image that is flattened."""
    layer = graph.owner(name)
    if layer.kind.kind != "dense":
        return False
    try:
        flattened(graph, layer)
    except ValueError:
        return False
    return True


def _submodule(layer: Layer, matched: Mapping[str, str]) -> str:
    """What holds all tensors of a layer; empty where nothing does."""
    paths = [matched.get(f"{layer.name}/{parameter.name}", "") for parameter in layer.parameters]
    within = {re.sub(r"[./][^./]*$", "", path) for path in paths}
    return within.pop() if len(within) == 1 else ""


def _matched(shapes: Mapping[str, Shape], native: Mapping[str, Shape]) -> dict[str, str]:
    """Canonical names to native paths: equal names first, then equal shapes in order."""
    found: dict[str, str] = {}
    groups: dict[tuple[Shape, str], tuple[list[str], list[str]]] = {}
    for name, shape in shapes.items():
        groups.setdefault((_squeezed(shape), _role(name)), ([], []))[0].append(name)
    for path, shape in native.items():
        groups.setdefault((_squeezed(shape), _role(path)), ([], []))[1].append(path)
    for names, paths in groups.values():
        if len(names) == len(paths):
            found |= dict(zip(names, paths, strict=True))
    return found


#: Words by which frameworks call tensors, to one for each role.
_ROLES = {
    "weight": "kernel", "embedding": "kernel", "embeddings": "kernel", "gamma": "kernel",
    "scale": "kernel", "beta": "bias", "running_mean": "mean", "moving_mean": "mean",
    "running_var": "variance", "moving_variance": "variance", "var": "variance",
}  # fmt: skip


def _role(name: str) -> str:
    last = name.replace(".", "/").rpartition("/")[2]
    return _ROLES.get(last, last)


def _squeezed(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)

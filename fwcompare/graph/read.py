"""Reading a model file: a YAML list of layers, with the model's params put in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.graph.blocks import expand
from fwcompare.graph.model import VALUES, Graph
from fwcompare.safe_yaml import read_yaml


def read(
    path: Path,
    params: Mapping[str, Any],
    input_shape: tuple[int, ...],
    input_type: str = VALUES,
) -> Graph:
    """Read a layer list, put ``params`` in, write its blocks out, and check it.

    ``${width}`` or ``${width * 2}`` in the file is replaced by its value, see ``expressions``; an
    entry with layers of its own is a block, see ``blocks``.

    Raises:
        RequestError: the file is missing, not YAML, too large, or does not fit.
    """
    loaded = read_yaml(path, "The model file")
    layers = loaded.get("layers") if isinstance(loaded, Mapping) else loaded
    if not isinstance(layers, list):
        raise RequestError(
            f"The model file {path} must hold a list under 'layers:'.",
            "Each entry needs a name and a kind; see `fwcompare show cnn`.",
        )
    if isinstance(loaded, Mapping) and (others := sorted(map(str, {*loaded} - {"layers"}))):
        raise RequestError(
            f"The model file {path} holds '{others[0]}' beside 'layers:'.",
            "Sizes that are to be chosen stand under params: in the .yaml file of the model.",
        )
    try:
        return Graph.from_layers(input_shape, expand(layers, params), input_type)
    except RequestError as error:
        raise RequestError(f"{path.name}: {error.message}", error.hint) from error

"""Canonical weights: drawn once in NumPy, kept in one safetensors layout for every framework."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fwcompare.atomic import replacing
from fwcompare.errors import RequestError
from fwcompare.graph.kinds import Parameter
from fwcompare.graph.model import Graph

#: Tensors by canonical name, ``layer/parameter``, in the layouts that ``Parameter.shape`` states.
Weights = dict[str, np.ndarray]

#: Version of the canonical layout, written into the header of every weights file.
FORMAT_VERSION = "1"

SCHEMES = ("kaiming", "glorot", "lecun", "normal", "zeros")
DISTRIBUTIONS = ("uniform", "normal")

_OTHER_MODEL = (
    "Give the weights of a run with this model and its params (`fwcompare runs` lists runs), or "
    "choose the model that these were saved from."
)

_CONSTANTS = {"gamma": 1.0, "moving_variance": 1.0}


def draw(graph: Graph, scheme: str, distribution: str, gain: float, seed: int) -> Weights:
    """Draw the initial weights of a graph, in float64.

    Kernels follow the scheme; gammas and moving variances are one, everything else is zero. Each
    tensor has a random stream of its own, keyed by seed and name, so that a change in one layer
    leaves the others as they were.

    The variance of a kernel entry is ``gain**2`` times 2/fan_in for ``kaiming`` (He et al., 2015),
    2/(fan_in + fan_out) for ``glorot`` (Glorot and Bengio, 2010), 1/fan_in for ``lecun`` (LeCun et
    al., 1998) and one for ``normal``, whose gain is thus its standard deviation.
    """
    return {
        name: _draw_one(name, parameter, scheme, distribution, gain, seed)
        for name, parameter in graph.parameters()
    }


def _draw_one(
    name: str, parameter: Parameter, scheme: str, distribution: str, gain: float, seed: int
) -> np.ndarray:
    if parameter.role != "kernel":
        return np.full(parameter.shape, _CONSTANTS.get(parameter.role, 0.0))
    if scheme == "zeros":
        return np.zeros(parameter.shape)
    variance = {
        "kaiming": 2 / parameter.fan_in,
        "glorot": 2 / (parameter.fan_in + parameter.fan_out),
        "lecun": 1 / parameter.fan_in,
        "normal": 1.0,
    }[scheme]
    deviation = gain * math.sqrt(variance)
    key = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    if distribution == "uniform":
        # A uniform variable on [-a, a] has the variance a**2 / 3.
        bound = math.sqrt(3) * deviation
        return generator.uniform(-bound, bound, parameter.shape)
    return generator.normal(0.0, deviation, parameter.shape)


def save(weights: Mapping[str, np.ndarray], path: Path) -> None:
    """Write weights atomically as safetensors. Raises ``OSError`` where that cannot be done."""
    write_arrays(weights, path, {"format_version": FORMAT_VERSION})


def write_arrays(arrays: Mapping[str, np.ndarray], path: Path, header: Mapping[str, str]) -> None:
    """Write any arrays atomically as safetensors, with text in the header.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replacing(path) as part:
        try:
            save_file(in_order, part, metadata=dict(header))
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def load(path: Path, graph: Graph) -> Weights:
    """Read weights and check them against the graph.

    Raises:
        RequestError: the file is missing, unreadable, of another format version, or its names or
            shapes are not those of the graph.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RequestError(
            f"There is no weights file {path}.",
            "Give the weights/final.safetensors of a run, or the run itself.",
        )
    try:
        with safe_open(path, framework="numpy") as file:
            version = (file.metadata() or {}).get("format_version")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise RequestError(
            f"{path} cannot be read as a safetensors file: {error}.",
            "Give the weights/final.safetensors of a run, or the run itself.",
        ) from error
    if version != FORMAT_VERSION:
        raise RequestError(
            f"{path} has weights format {version!r}, this release reads {FORMAT_VERSION!r}.",
            "Export the run again with this release.",
        )
    expected = dict(graph.parameters())
    missing, extra = sorted(set(expected) - set(weights)), sorted(set(weights) - set(expected))
    if missing or extra:
        raise RequestError(
            f"{path} does not belong to this model: "
            + "; ".join(
                f"{what} {_some(names)}"
                for what, names in (("missing", missing), ("unexpected", extra))
                if names
            )
            + ".",
            _OTHER_MODEL,
        )
    for name, parameter in expected.items():
        if weights[name].shape != parameter.shape:
            raise RequestError(
                f"{path}: '{name}' has shape {list(weights[name].shape)}, "
                f"the model needs {list(parameter.shape)}.",
                _OTHER_MODEL,
            )
        if weights[name].dtype.kind != "f":
            raise RequestError(
                f"{path}: '{name}' is of type {weights[name].dtype}, weights are floating-point "
                "numbers.",
                _OTHER_MODEL,
            )
        if not np.isfinite(weights[name]).all():
            raise RequestError(
                f"{path}: '{name}' holds NaN or infinity.",
                "Give the weights of a run that ended ok: fwcompare runs --status ok",
            )
    return {name: weights[name] for name in expected}


def _some(names: Sequence[str], most: int = 4) -> str:
    """The first of many names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and bytes."""
    state = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        state.update(f"{name}{array.dtype}{array.shape}".encode())
        state.update(array.tobytes())
    return state.hexdigest()

"""Two runs side by side: what was asked, what ran it, and what came out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.errors import RequestError
from fwcompare.graph import load
from fwcompare.record import FINAL_WEIGHTS, INITIAL_WEIGHTS, SPEC_FILE, RunRecord
from fwcompare.spec import RunSpec

#: Parts of a spec that name one run and say nothing of the experiment.
_OWN = {"run", "sweep", "attempt", "schema_version"}

#: Sections in their order.
_SECTIONS = ("configuration", "versions", "digests", "environment", "metrics", "weights")


@dataclass(frozen=True)
class Entry:
    """One value in both runs; None where a run has none."""

    section: str
    name: str
    first: Any
    second: Any

    @property
    def differs(self) -> bool:
        return bool(self.first != self.second)

    @property
    def ratio(self) -> float | None:
        """Second over first, for numbers other than zero."""
        a, b = self.first, self.second
        if not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (a, b)):
            return None
        return b / a if a else None


@dataclass(frozen=True)
class Side:
    """A run as it is compared."""

    folder: Path
    spec: RunSpec
    record: RunRecord | None

    @classmethod
    def read(cls, folder: Path) -> Side:
        """Raises ``RequestError`` if the folder holds no spec."""
        return cls(folder, RunSpec.read(folder / SPEC_FILE), RunRecord.read(folder))


def difference(first: Side, second: Side) -> list[Entry]:
    """Every value of both runs, by section, in the order of the sections."""
    found = []
    for section in _SECTIONS:
        a, b = (dict(_values(section, side)) for side in (first, second))
        for name in dict.fromkeys([*a, *b]):
            found.append(Entry(section, name, a.get(name), b.get(name)))
    return found + list(_weights(first, second))


def _values(section: str, side: Side) -> Iterator[tuple[str, Any]]:
    record = side.record
    if section == "configuration":
        yield from _flat(_configuration(side.spec))
    elif record is None:
        return
    elif section == "versions":
        yield from record.versions.items()
    elif section == "digests":
        yield from _flat(record.digests)
    elif section == "environment":
        keep = ("platform", "cpu", "cores", "executable")
        yield from ((key, record.environment.get(key)) for key in keep)
        yield from _flat({"facts": record.facts})
    elif section == "metrics":
        yield "status", record.status
        yield from record.metrics.items()


def _configuration(spec: RunSpec) -> dict[str, Any]:
    data = {key: value for key, value in spec.to_json().items() if key not in _OWN}
    del data["versions"], data["expected"]
    data["dataset"].pop("folder")
    # Layers are told apart by the digest; layer by layer they would hide the rest.
    del data["model"]["layers"]
    return data


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and len(json.dumps(value)) > 60:
        yield name, f"{len(value)} values"
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _weights(first: Side, second: Side) -> Iterator[Entry]:
    """The relative distance of each tensor, where the models are the same."""
    if first.spec.model.digest != second.spec.model.digest:
        return
    graph = first.spec.model.graph
    for file, what in ((INITIAL_WEIGHTS, "initial"), (FINAL_WEIGHTS, "final")):
        try:
            a, b = load(first.folder / file, graph), load(second.folder / file, graph)
        except (RequestError, OSError):
            continue
        for name in a:
            distance = relative_distance(a[name], b[name])
            yield Entry("weights", f"{what} {name}", 0.0, distance)


def relative_distance(first: np.ndarray, second: np.ndarray) -> float:
    """``|second - first| / |first|`` in the L2 norm; infinite where one is not finite or the first
    is zero and the second is not."""
    a, b = (array.astype(np.float64).ravel() for array in (first, second))
    distance = float(np.linalg.norm(b - a))
    if distance == 0:
        return 0.0
    norm = float(np.linalg.norm(a))
    return distance / norm if norm and math.isfinite(distance) else math.inf


def to_json(entries: list[Entry]) -> str:
    """All entries, for programs; infinity becomes a string."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    rows = [{k: plain(v) for k, v in asdict(entry).items()} for entry in entries]
    return json.dumps(rows, indent=1) + "\n"

"""The settings of several engines side by side, those that differ first: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fwcompare.audit.settings import Settings, same
from fwcompare.graph import Graph

#: Quantities in which frameworks name their own things: shown, but no difference in themselves.
NAMES = ("class",)


@dataclass(frozen=True)
class Line:
    """One quantity in every engine; None where an engine has no such thing."""

    subject: str
    quantity: str
    values: dict[str, Any]

    @property
    def differs(self) -> bool:
        """Whether the engines resolved it differently."""
        if self.quantity in NAMES:
            return False
        first, *others = self.values.values()
        return any(not same(first, other) for other in others)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "differs": self.differs}


def lines(found: Mapping[str, Settings], graph: Graph) -> list[Line]:
    """Every quantity of every engine; differing ones first, then in the order of the graph.

    Layers of one kind that agree in a quantity within each engine share a line.
    """
    made = [*_plain(found, ("optimizer", "loss", "initialiser")), *_layers(found, graph)]
    return sorted(made, key=lambda line: not line.differs)


def _plain(found: Mapping[str, Settings], subjects: Iterable[str]) -> Iterable[Line]:
    for subject in subjects:
        for quantity in _quantities(found, [subject]):
            yield Line(subject, quantity, _values(found, subject, quantity))


def _layers(found: Mapping[str, Settings], graph: Graph) -> Iterable[Line]:
    kinds: dict[str, list[str]] = {}
    for layer in graph.layers:
        options = layer.kind.options()
        kind = str(options.get("function") or layer.kind.kind)
        kinds.setdefault(kind, []).append(layer.name)
    for kind, names in kinds.items():
        for quantity in _quantities(found, names):
            alike: dict[str, tuple[dict[str, Any], list[str]]] = {}
            for name in names:
                values = _values(found, name, quantity)
                if any(value is not None for value in values.values()):
                    alike.setdefault(repr(values), (values, []))[1].append(name)
            for values, members in alike.values():
                subject = kind if len(alike) == 1 else f"{kind} {', '.join(members)}"
                yield Line(subject, quantity, values)


def _quantities(found: Mapping[str, Settings], subjects: Iterable[str]) -> list[str]:
    seen: dict[str, None] = {}
    for subject in subjects:
        for settings in found.values():
            seen |= dict.fromkeys(settings.get(subject, {}))
    return list(seen)


def _values(found: Mapping[str, Settings], subject: str, quantity: str) -> dict[str, Any]:
    return {engine: s.get(subject, {}).get(quantity) for engine, s in found.items()}

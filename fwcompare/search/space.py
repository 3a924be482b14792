"""What a search varies: options with their values, as Hydra's users write them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fwcompare.cell import ARM_OPTIONS
from fwcompare.errors import RequestError

#: Options that are no part of the space: every point is run with each of their values.
CROSSED = (*ARM_OPTIONS, "seed")

#: Groups that say where things go and how; they change nothing in what is searched.
_ASIDE = ("sweep", "paths", "tracking", "compare", "parity")

Point = Mapping[str, Any]


@dataclass(frozen=True)
class Interval:
    """Numbers from ``low`` to ``high``, both included; on a logarithmic scale if ``log``."""

    option: str
    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise RequestError(
                f"{self.option}=interval({self.low:g}, {self.high:g}) holds no value.",
                "The first number must be less than the second.",
            )
        if self.log and self.low <= 0:
            raise RequestError(
                f"{self.option}: a logarithmic interval begins above 0, got {self.low:g}."
            )

    @property
    def words(self) -> str:
        kind = "whole numbers " if self.integer else ""
        return f"{kind}{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """One of some values, each as it stands on a command line."""

    option: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise RequestError(f"{self.option}: there is no value to choose from.")

    @property
    def words(self) -> str:
        return ", ".join(self.values)


Axis = Interval | Choice


@dataclass(frozen=True)
class Space:
    """The axes of a search, and what every one of its points is run with."""

    axes: tuple[Axis, ...]
    #: Overrides of each run of a point: every combination of frameworks, seeds and their like.
    crossed: tuple[tuple[str, ...], ...]
    #: Overrides that all runs have.
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.axes:
            raise RequestError(
                "The search space is empty: no option has several values.",
                "Give one an interval or a choice: 'optimizer.lr=tag(log, interval(1e-4, 1e-1))' "
                "or 'model.params.width=choice(8, 16)'.",
            )

    def overrides(self, point: Point) -> list[str]:
        """The overrides that make a point of this space."""
        return [
            *self.fixed,
            *(f"{axis.option}={_written(point[axis.option])}" for axis in self.axes),
        ]

    def grid(self) -> dict[str, tuple[str, ...]]:
        """The values of every axis.

        Raises:
            RequestError: an axis is an interval, of which there is no end of values.
        """
        for axis in self.axes:
            if isinstance(axis, Interval):
                raise RequestError(
                    f"A grid needs values to choose from, {axis.option} is an interval.",
                    f"List them: '{axis.option}=choice(...)'; or take "
                    "hydra.sweeper.sampler=random.",
                )
        return {axis.option: axis.values for axis in self.axes if isinstance(axis, Choice)}

    def to_json(self) -> dict[str, Any]:
        """Plain data from which another search tells whether it is the same."""
        return {
            "axes": [{"kind": type(axis).__name__.lower(), **asdict(axis)} for axis in self.axes],
            "crossed": [list(overrides) for overrides in self.crossed],
            "fixed": [one for one in self.fixed if _option(one).split(".")[0] not in _ASIDE],
        }


def _option(override: str) -> str:
    return override.lstrip("+~").split("=", 1)[0]


def _written(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def space(overrides: Sequence[Any]) -> Space:
    """The space of Hydra's parsed overrides: what is swept, but for frameworks, seeds and the like.

    ``interval(a, b)``, ``choice(...)``, ``range(...)`` and lists separated by commas are axes, with
    ``tag(log, ...)`` and ``int(...)`` as Hydra's own search takes them.

    Raises:
        RequestError: a sweep is of a kind that cannot be searched, or there is none.
    """
    axes: list[Axis] = []
    fixed: list[str] = []
    crossed: list[list[str]] = []
    for override in overrides:
        option = str(override.key_or_group)
        if not override.is_sweep_override():
            fixed.append(override.input_line)
        elif option in CROSSED:
            crossed.append([f"{option}={value}" for value in _values(override)])
        else:
            axes.append(_axis(option, override))
    return Space(tuple(axes), tuple(itertools.product(*crossed)), tuple(fixed))


def _axis(option: str, override: Any) -> Axis:
    from hydra.core.override_parser.types import IntervalSweep

    swept = override.value()
    if not isinstance(swept, IntervalSweep):
        return Choice(option, tuple(_values(override)))
    ends = swept.start, swept.end
    if ends[0] is None or ends[1] is None:
        raise RequestError(f"{option}: an interval has two ends.")
    # ``int(interval(1, 9))`` makes whole numbers of the ends, which the type hint does not know.
    integer = "int" in swept.tags or all(type(end) is int for end in ends)
    return Interval(option, float(ends[0]), float(ends[1]), "log" in swept.tags, integer)


def _values(override: Any) -> Iterator[str]:
    """The values of a sweep in Hydra's own spelling."""
    from hydra.core.override_parser.types import IntervalSweep

    if isinstance(override.value(), IntervalSweep):
        raise RequestError(
            f"{override.key_or_group} is run with each of its values; an interval has no end of "
            "them.",
            "List the values, separated by commas.",
        )
    yield from override.sweep_string_iterator()

"""What a search has come to: its points, the best for every arm, and what mattered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwcompare.grid import Grid, score
from fwcompare.limits import read_json
from fwcompare.record import write_json
from fwcompare.search.objective import Objective
from fwcompare.typed import build

#: File in a sweep folder that holds it; a sweep without one was no search.
SEARCH_FILE = "search.json"

#: Points that are listed in a terminal.
_LISTED = 10


@dataclass(frozen=True)
class Tried:
    """A point that was tried."""

    number: int
    #: ``complete``, ``failed``, ``pruned``, ``cut off`` or ``running``.
    state: str
    point: dict[str, Any]
    #: The value of each objective for each arm that has one, a mean over its seeds.
    arms: dict[str, list[float]]
    runs: tuple[str, ...]

    @property
    def words(self) -> str:
        """The point as options."""
        return ", ".join(f"{name}={written(value)}" for name, value in self.point.items())


@dataclass(frozen=True)
class Lane:
    """Points that one study proposed, for the arms that were run with them."""

    arms: tuple[str, ...]
    tried: tuple[Tried, ...]
    #: Share of each option in the variation of each objective.
    importances: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class Searched:
    """A whole search."""

    objectives: tuple[Objective, ...]
    sampler: str
    #: ``shared`` or ``own``; see ``study.Options``.
    points: str
    #: Points that each arm was to be given.
    budget: int
    #: The axes, in words.
    space: tuple[str, ...]
    lanes: tuple[Lane, ...]

    def arms(self) -> dict[str, list[Tried]]:
        """The points that have a value for each arm."""
        return {
            arm: [point for point in lane.tried if point.arms.get(arm)]
            for lane in self.lanes
            for arm in lane.arms
        }

    def best(self) -> dict[str, list[Tried]]:
        """The best point of each arm; with several objectives all that no other point beats, the
        best in the first objective first."""
        return {arm: front(arm, points, self.objectives) for arm, points in self.arms().items()}

    def write(self, folder: Path) -> None:
        """Keep it in a sweep folder."""
        write_json(folder / SEARCH_FILE, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> Searched | None:
        """The search of a sweep folder; None where it was none.

        Raises:
            RequestError: the file is there and cannot be read.
        """
        path = folder / SEARCH_FILE
        return build(cls, read_json(path)) if path.exists() else None


def front(arm: str, points: Sequence[Tried], aims: Sequence[Objective]) -> list[Tried]:
    """The points that no other beats: better in one objective, and not worse in any."""

    def gains(point: Tried) -> list[float]:
        return [aim.sign * value for aim, value in zip(aims, point.arms[arm], strict=True)]

    def beaten(point: Tried) -> bool:
        own = gains(point)
        return any(
            all(o >= s for o, s in zip(gains(other), own, strict=True)) and gains(other) != own
            for other in points
        )

    kept = [point for point in points if not beaten(point)]
    ranked = sorted(kept, key=lambda point: (*(-gain for gain in gains(point)), point.number))
    if len(aims) == 1:
        return ranked[:1]
    return ranked


def written(value: Any) -> str:
    """A value of an axis as one reads it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def grids(searched: Searched, most: int | None = _LISTED) -> Iterator[Grid]:
    """The search as tables: the best points, what mattered, and the points themselves."""
    yield _best(searched)
    if (mattered := _importances(searched)) is not None:
        yield mattered
    for lane in searched.lanes:
        yield _points(searched, lane, most)


def _best(searched: Searched) -> Grid:
    several = len(searched.objectives) > 1
    rows = tuple(
        (arm, str(point.number), point.words, *_values(searched.objectives, point.arms[arm]))
        for arm, best in searched.best().items()
        for point in best[: _LISTED if several else 1]
    )
    if len(searched.arms()) == 1:
        chances = ""
    elif searched.points == "shared":
        chances = ", the same for every engine"
    else:
        chances = " for every engine, of its own"
    said = [f"{searched.budget} points by {searched.sampler}{chances}."]
    if not rows:
        said.append("No point has a value: every trial failed, or none has ended.")
    return Grid(
        "The points that no other beats" if several else "The best point of each engine",
        ("engine", "trial", "point", *(objective.metric for objective in searched.objectives)),
        rows,
        tuple(said),
    )


def _values(aims: Sequence[Objective], values: Sequence[float]) -> Iterator[str]:
    for aim, value in zip(aims, values, strict=True):
        yield score(aim.metric, value) if math.isfinite(value) else "–"


def _importances(searched: Searched) -> Grid | None:
    """Shares of the options in what the objectives differ by."""
    rows = []
    for lane in searched.lanes:
        name = lane.arms[0] if len(lane.arms) == 1 else "all engines"
        for aim, shares in zip(searched.objectives, lane.importances, strict=False):
            for option, share in sorted(shares.items(), key=lambda item: -item[1]):
                rows.append((name, aim.metric, option, f"{share:.0%}"))
    if not rows:
        return None
    return Grid(
        "What mattered",
        ("engine", "objective", "option", "share"),
        tuple(rows),
        ("Share of each option in the variation of the objective (fANOVA).",),
    )


def _points(searched: Searched, lane: Lane, most: int | None) -> Grid:
    arms = list(lane.arms)
    aims = searched.objectives
    points = lane.tried
    shown = points if most is None else points[-most:]
    headings = [arm if len(aims) == 1 else f"{arm} {aim.metric}" for arm in arms for aim in aims]
    rows = tuple(
        (
            str(point.number),
            point.words,
            *(
                cell
                for arm in arms
                for cell in (
                    _values(aims, point.arms[arm])
                    if point.arms.get(arm)
                    else [point.state] * len(aims)
                )
            ),
        )
        for point in shown
    )
    left_out = len(points) - len(shown)
    which = f"The last {len(shown)} of {len(points)} points" if left_out else "The points"
    return Grid(
        f"{which}, {aims[0].metric}" if len(aims) == 1 else which,
        ("trial", "point", *headings),
        rows,
    )


def importance_metrics(searched: Searched) -> Mapping[str, float]:
    """Importances as metrics of the sweep's parent run."""
    found = {}
    for lane in searched.lanes:
        own = f"{lane.arms[0]}/" if searched.points == "own" else ""
        for aim, shares in zip(searched.objectives, lane.importances, strict=False):
            for option, share in shares.items():
                found[f"search/importance/{own}{aim.metric}/{option}"] = share
    return found

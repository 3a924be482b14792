"""What an earlier command has left of a sweep, and what of it need not be run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fwcompare import launch
from fwcompare.arms import SWEEP_FILE, read_listing
from fwcompare.cell import Cell, Identity, identity
from fwcompare.checkpoint import CHECKPOINT_FILE, read_header
from fwcompare.errors import RequestError, unknown
from fwcompare.record import SPEC_FILE, RunRecord
from fwcompare.spec import RunSpec

#: What is run again of an earlier command: what did not end well, nothing that has ended, or all.
RETRIES = ("failed", "none", "all")

#: Statuses that a repetition would not change.
_SETTLED = ("ok", "unsupported", "pruned")


def retries(asked: str) -> str:
    """Check ``sweep.retry``. Raises ``RequestError``."""
    if asked not in RETRIES:
        raise unknown("sweep.retry", asked, RETRIES)
    return asked


@dataclass(frozen=True)
class Earlier:
    """A cell as an earlier command left it."""

    listing: dict[str, Any]
    folder: Path
    #: None where it was refused, or where its folder is gone.
    spec: RunSpec | None
    #: None where it was never begun.
    record: RunRecord | None

    @property
    def run(self) -> str:
        return str(self.listing["run"])

    @property
    def identity(self) -> Identity:
        overrides, control = self.listing.get("overrides", []), self.listing.get("control", False)
        return identity(self.spec, overrides, bool(control))


@dataclass
class Resumption:
    """What a command takes up of an earlier one of the same name."""

    done: int = 0
    #: Statuses of the runs that are made again.
    again: Counter[str] = field(default_factory=Counter)
    #: Cells that the command does not ask for: they stay in the comparison.
    kept: list[dict[str, Any]] = field(default_factory=list)

    def words(self, cells: int) -> str:
        """What a person is told before the first run; empty for a sweep that is new."""
        if not (self.done or self.again or self.kept):
            return ""
        again = ", ".join(f"{count} {status}" for status, count in sorted(self.again.items()))
        parts = [f"{self.done} of {cells} cells were done"]
        if again:
            parts.append(f"run again: {again}")
        if self.kept:
            parts.append(f"{len(self.kept)} of an earlier command stay in the comparison")
        return "; ".join(parts) + "."


def take_up(cells: Sequence[Cell], folder: Path, retry: str) -> Resumption:
    """Mark what is done, and make what is run again an attempt of its own.

    A run that was cut off together with its parent gets its record first.

    Raises:
        RequestError: another process is at a run of this sweep.
    """
    found = Resumption()
    earlier = {each.identity: each for each in _earlier(folder)}
    for cell in cells:
        before = earlier.pop(cell.identity, None)
        if before is not None:
            _take_up(cell, before, retry, found)
    asked = [cell.listing()["overrides"] for cell in cells]
    # A cell that was refused then and is not refused now has its place among the others.
    found.kept = [
        each.listing
        for each in earlier.values()
        if each.spec is not None or each.listing.get("overrides") not in asked
    ]
    return found


def _earlier(folder: Path) -> list[Earlier]:
    if not (folder / SWEEP_FILE).is_file():
        return []
    found = []
    for listing in read_listing(folder)["cells"]:
        place = folder / listing["run"]
        if launch.is_held(place):
            raise RequestError(
                f"The run {listing['run']} of the sweep {folder.name} goes on in another process.",
                "Wait for its end, or give another sweep.name.",
            )
        launch.recover(place)
        try:
            spec = RunSpec.read(place / SPEC_FILE)
        except RequestError:
            spec = None
        found.append(Earlier(listing, place, spec, RunRecord.read(place)))
    return found


def _take_up(cell: Cell, before: Earlier, retry: str, found: Resumption) -> None:
    cell.superseded = list(before.listing.get("superseded", []))
    record = before.record
    if cell.spec is None or before.spec is None or record is None:
        # Refused again, or never begun: its folder is as good as new.
        cell.run = before.run
        if cell.spec and before.spec:
            cell.spec = cell.spec.but(run=cell.run, attempt=before.spec.attempt)
        return
    if _same(before, cell.spec) and retry != "all" and (
        record.status in _SETTLED or retry == "none"
    ):  # fmt: skip
        cell.run, cell.spec, cell.done = before.run, before.spec, True
        found.done += 1
        return
    cell.superseded.append(before.run)
    cell.spec = cell.spec.but(attempt=before.spec.attempt + 1)
    if not _same(before, cell.spec):
        found.again["changed"] += 1
        return
    found.again[record.status] += 1
    left = _checkpoint(before)
    if left is not None and retry != "all" and cell.spec.training.resume is None:
        cell.spec = cell.spec.but(training=replace(cell.spec.training, resume=str(left)))


def _checkpoint(before: Earlier) -> Path | None:
    """The newest checkpoint of a cell, from which its next attempt goes on."""
    places = [before.folder / CHECKPOINT_FILE]
    if before.spec is not None and before.spec.training.resume:
        places.append(Path(before.spec.training.resume))
    for place in places:
        with suppress(RequestError):
            read_header(place)
            return place.absolute()
    return None


def _same(before: Earlier, spec: RunSpec) -> bool:
    """Whether what was run is what would be run now, measured in the same way."""
    assert before.spec is not None
    return bool(before.spec.cell == spec.cell and before.spec.measure == spec.measure)

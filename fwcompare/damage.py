"""What a crash has left in the outputs folder, and how each of it is mended."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fwcompare import report
from fwcompare.arms import SWEEP_FILE, read_listing
from fwcompare.atomic import PART, write_text
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.folders import all_runs
from fwcompare.launch import RESERVE_FILE, is_held, recover
from fwcompare.limits import read_json
from fwcompare.outcome import outcome
from fwcompare.record import EVENTS_FILE, LONGEST_EVENT, RECORD_FILE, RunRecord
from fwcompare.recovery import cut_off
from fwcompare.track.replay import COMPARISON_FILE

#: What is added to the name of a file that cannot be read and is put aside.
DAMAGED = ".damaged"

#: Bytes that are read at once when the end of a file is looked for.
_PIECE = 1 << 20


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it should be."""

    what: str
    where: Path
    #: What repairing it does, in words, and the doing.
    cure: str
    mend: Callable[[], object]


def found(outputs: Path) -> Iterator[Damage]:
    """Everything under an outputs folder, in the order in which it is mended.

    What a living process is at is left alone.
    """
    runs = [folder for folder in all_runs(outputs) if not is_held(folder)]
    for folder in runs:
        yield from _torn(folder)
    for folder in runs:
        yield from _unreadable(folder)
    for folder in cut_off(outputs):
        yield _without_record(folder)
    for folder in [*runs, *outputs.glob("sweeps/*/")]:
        yield from _leftovers(folder)
    for listing in sorted(outputs.glob(f"sweeps/*/{SWEEP_FILE}")):
        yield from _not_compared(listing.parent)


def _torn(folder: Path) -> Iterator[Damage]:
    path = folder / EVENTS_FILE
    whole = _whole(path)
    if whole is not None:
        cure = "the torn line is cut off"
        yield Damage("torn last event", path, cure, lambda: os.truncate(path, whole))


def _whole(path: Path) -> int | None:
    """Bytes up to the end of the last whole line; None where nothing stands behind it, or more than
    an event can be."""
    if not path.is_file():
        return None
    with suppress(OSError), path.open("rb") as file:
        at = size = file.seek(0, os.SEEK_END)
        while at:
            if size - at > LONGEST_EVENT:
                return None
            before = max(at - _PIECE, 0)
            file.seek(before)
            found = file.read(at - before).rfind(b"\n")
            if found >= 0:
                at = before + found + 1
                break
            at = before
        return at if at < size else None
    return None


def _unreadable(folder: Path) -> Iterator[Damage]:
    path = folder / RECORD_FILE
    if path.is_file() and RunRecord.read(folder) is None and _is_garbage(path):

        def mend() -> None:
            path.replace(path.with_name(path.name + DAMAGED))
            recover(folder)

        cure = f"it is kept as {RECORD_FILE}{DAMAGED}, and another is made from the events"
        yield Damage("record that cannot be read", path, cure, mend)


def _is_garbage(path: Path) -> bool:
    """Whether a file is no JSON at all, and not merely that of another release."""
    try:
        return not isinstance(read_json(path), dict)
    except RequestError as error:
        return not isinstance(error.__cause__, OSError)


def _without_record(folder: Path) -> Damage:
    cure = "a record with the status killed is made from its events"
    return Damage("run without a record", folder, cure, lambda: recover(folder))


def _leftovers(folder: Path) -> Iterator[Damage]:
    for path in [*folder.glob(f"*{PART}"), *folder.glob(f"weights/*{PART}")]:
        number = re.search(r"\.(\d+)\.part$", path.name)
        if number is None or not Path(f"/proc/{number[1]}").exists():
            yield Damage("file that was never finished", path, "it is removed", path.unlink)
    reserve = folder / RESERVE_FILE
    if reserve.is_file() and (folder / RECORD_FILE).is_file():
        yield Damage("room kept for a record", reserve, "it is removed", reserve.unlink)


def _not_compared(folder: Path) -> Iterator[Damage]:
    if (folder / COMPARISON_FILE).is_file():
        return
    try:
        runs = [folder / cell["run"] for cell in read_listing(folder)["cells"]]
    except RequestError:
        return
    ended = [run for run in runs if RunRecord.read(run) or not is_held(run)]
    if len(ended) == len(runs) and any(map(RunRecord.read, runs)):
        cure = "what has ended is compared"
        yield Damage("sweep without a comparison", folder, cure, lambda: _compare(folder))


def _compare(folder: Path) -> None:
    comparisons = outcome(folder).comparisons
    write_text(folder / COMPARISON_FILE, report.as_json(comparisons), durable=False)


def mended(damages: Iterator[Damage]) -> Iterator[tuple[Damage, str]]:
    """Mend one after another; with each what hindered it, empty where nothing did."""
    for damage in damages:
        try:
            damage.mend()
        except (OSError, FwcompareError) as error:
            yield damage, getattr(error, "message", None) or str(error)
        else:
            yield damage, ""

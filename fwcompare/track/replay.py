"""``fwcompare sync``: run folders and sweeps into a store, as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.limits import read_json
from fwcompare.record import SPEC_FILE, RunRecord
from fwcompare.track.conclusion import Conclusion
from fwcompare.track.store import Store

SWEEP_FILE = "sweep.json"

#: What a sweep writes when it ends, interrupted or not.
COMPARISON_FILE = "comparison.json"

#: What a sweep folder has come to.
Conclude = Callable[[Path], Conclusion]


@dataclass
class Synced:
    """What a replay did, and what it could not do."""

    runs: int = 0
    sweeps: int = 0
    #: The parent runs of sweeps, by name.
    parents: dict[str, str] = field(default_factory=dict)
    #: Run folders without a record: still running, or cut off.
    unfinished: list[Path] = field(default_factory=list)
    #: Folders that hold no run or sweep that can be read, and why.
    unreadable: dict[Path, str] = field(default_factory=dict)


def sync(
    folders: Iterable[Path], store: Store, conclude: Conclude, *, weights: bool = False
) -> Synced:
    """Replay run folders, and sweep folders with all their runs.

    A sweep folder holds ``sweep.json``: its ``name``, and ``runs``, the paths of its run folders,
    absolute or from the sweep folder. Its parent run is found by name, for the id that a sweep
    knows may belong to another store. ``conclude`` tells what one has come to that has ended.

    Raises:
        RunError: the store cannot be reached; the next call takes up where this one ended.
    """
    done = Synced()
    for folder in folders:
        if (folder / SWEEP_FILE).is_file():
            _sync_sweep(folder, store, conclude, done, weights)
        else:
            _sync_run(folder, store, None, done, weights)
    return done


def _sync_sweep(
    folder: Path, store: Store, conclude: Conclude, done: Synced, weights: bool
) -> None:
    try:
        name, runs = _read_sweep(folder / SWEEP_FILE)
        records = [record for run in runs if (record := RunRecord.read(run))]
        ended = (folder / COMPARISON_FILE).is_file() or len(records) == len(runs)
        conclusion = conclude(folder) if records and ended else None
    except RequestError as error:
        done.unreadable[folder] = error.message
        return
    shown = [run for run in runs if not _refused(run)]
    started = [record.started_ms for run in shown if (record := RunRecord.read(run))]
    parent = store.begin_sweep(name, min(started, default=None))
    for run in shown:
        _sync_run(run, store, parent, done, weights)
    done.sweeps += 1
    done.parents[name] = parent
    if conclusion is not None:  # or else it may be running now
        store.end_sweep(parent, conclusion)


def _refused(folder: Path) -> bool:
    """Whether a run was refused before there was a spec: its sweep's comparison tells of it."""
    return not (folder / SPEC_FILE).is_file() and RunRecord.read(folder) is not None


def _sync_run(folder: Path, store: Store, parent: str | None, done: Synced, weights: bool) -> None:
    if not (folder / SPEC_FILE).is_file():
        done.unreadable[folder] = f"There is no {SPEC_FILE} in {folder}."
    elif RunRecord.read(folder) is None:
        done.unfinished.append(folder)
    else:
        try:
            store.log_run(folder, parent, weights=weights)
            done.runs += 1
        except RequestError as error:
            done.unreadable[folder] = error.message


def _read_sweep(path: Path) -> tuple[str, list[Path]]:
    try:
        data: Any = read_json(path, "The listing")
        return str(data["name"]), [path.parent / run for run in data["runs"]]
    except (TypeError, KeyError) as error:
        raise RequestError(f"{path} is not a sweep: {error!r}.") from error

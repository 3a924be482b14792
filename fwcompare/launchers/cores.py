"""Cores that a job has for itself on its machine: held by locks, which end with their holder."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fwcompare.launch import worker_cores


def _place() -> Path | None:
    """The folder of the locks, of this user alone; None where there can be none."""
    folder = Path(tempfile.gettempdir()) / f"fwcompare-cores-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            return folder
    return None


@contextmanager
def own_cores(threads: int) -> Iterator[list[int]]:
    """Hold so many cores that no other job holds; none where there are not as many."""
    place = _place()
    with ExitStack() as held:
        yield [] if place is None else _taken(place, threads, held)


def _taken(place: Path, threads: int, held: ExitStack) -> list[int]:
    # One job chooses at a time: two that each hold half of what they need would both have none.
    with suppress(OSError), (place / "choosing").open("w") as turn, ExitStack() as mine:
        fcntl.flock(turn, fcntl.LOCK_EX)
        found: list[int] = []
        for core in worker_cores(len(os.sched_getaffinity(0))):
            file = mine.enter_context((place / str(core)).open("w"))
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(core)
            if len(found) == threads:
                held.enter_context(mine.pop_all())
                return found
    return []

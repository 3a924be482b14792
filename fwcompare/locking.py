"""Locks between processes: files that the system lets go of when their holder dies."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fwcompare.errors import RequestError

#: In a sweep folder, held by the process that runs the sweep.
LOCK_FILE = "sweep.lock"


@contextmanager
def locked(path: Path, mode: str) -> Iterator[None]:
    """Hold an exclusive lock on a file; wait until it is free."""
    with path.open(mode) as file:
        with suppress(OSError):  # a file system without locks is no reason to lose a run
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def claimed(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this process alone.

    Raises:
        RequestError: another process holds it; the message says which.
    """
    try:
        opened = (folder / LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{folder} cannot be written: {error.strerror}.") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RequestError(
                f"{what} is being run by {holder}.",
                "Wait until that has ended and repeat the command, or choose another sweep.name.",
            ) from None
        except OSError:
            pass  # a file system without locks
        with suppress(OSError):  # on a full disk the lock holds all the same
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield

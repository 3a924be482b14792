"""Files that a crash leaves as they were or whole, never in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: End of the name of a file that is still being written. One that is left has lost its writer.
PART = ".part"


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` at the end.

    ``durable`` has the disk hold it before it is called written, so that it also outlasts the
    machine; leave that out for what can be made again.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    try:
        yield part
        if durable:
            _flush(part)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    if durable:
        with suppress(OSError):
            _flush(path.parent)


def write_text(path: Path, text: str, durable: bool = True) -> None:
    """Write a text file whole or not at all."""
    with replacing(path, durable) as part:
        part.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some file systems do not do it for folders; the file is whole all the same.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

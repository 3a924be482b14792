"""Rows of an array in a file, read when they are asked for and not before.

For data beyond memory. They are read rather than mapped: pages of a mapped file count as memory of
the process for as long as they stay, and nobody can say how long that is.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO, Any

import numpy as np


class FileRows:
    """An array (n, *shape) whose rows lie one behind another in an open file.

    Numbers come in ``dtype``, whatever the file has. Several threads may read at once.
    """

    def __init__(
        self, file: IO[bytes], offset: int, stored: np.dtype[Any], shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:  # fmt: skip
        self._file = file  # closed with the last reference to it
        self._offset = offset
        self._stored = stored
        self._row_bytes = stored.itemsize * math.prod(shape[1:])
        self.shape = shape
        self.dtype = dtype

    @classmethod
    def open(cls, path: Path, floats: np.dtype[Any]) -> FileRows:
        """The rows of an ``.npy`` file; floating-point numbers come in the type ``floats``."""
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        dtype = floats if mapped.dtype.kind == "f" else mapped.dtype
        file = path.open("rb", buffering=0)
        return cls(file, mapped.offset, mapped.dtype, mapped.shape, dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        """Rows by a slice without steps, or by their numbers: a new array."""
        if isinstance(which, slice):
            start, stop, step = which.indices(len(self))
            if step != 1:
                raise ValueError("rows of a file are read without steps")
            return self._read([(start, max(stop - start, 0))])
        return self._read([(int(number), 1) for number in which])

    def _read(self, runs: list[tuple[int, int]]) -> np.ndarray:
        """Rows from a first one on, run after run."""
        found = np.empty((sum(count for _, count in runs), *self.shape[1:]), self._stored)
        target = found.reshape(-1).view(np.uint8).data if found.size else memoryview(b"")
        descriptor, place = self._file.fileno(), 0
        for first, count in runs:
            end = place + count * self._row_bytes
            at = self._offset + first * self._row_bytes
            while place < end:
                got = os.preadv(descriptor, [target[place:end]], at)
                if not got:
                    raise OSError(f"{self._file.name} is cut off")
                place, at = place + got, at + got
        return found.astype(self.dtype, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of them at once, which is what this class is there to avoid."""
        return np.asarray(self[:], dtype)

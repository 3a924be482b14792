"""Images changed anew in every epoch, drawn once in NumPy so that all engines see the same pixels.

What is drawn for a sample depends on the seed, the epoch and the sample's number alone, neither on
the order nor on the engine. An epoch's images are written to a file before its clock starts.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fwcompare.data.batches import mixed
from fwcompare.data.rows import FileRows
from fwcompare.spec import Augment

#: Images are changed in portions of about this size.
_PORTION_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Drawn:
    """What is done to each sample: whether it is flipped, and where its crop begins."""

    flips: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def drawn(augment: Augment, seed: int, epoch: int, ids: np.ndarray) -> Drawn:
    """The draws of samples by their number, all places of a crop alike."""

    def uniform(what: str) -> np.ndarray:
        digest = hashlib.sha256(f"{seed}/augment/{what}/{epoch}".encode()).digest()[:8]
        numbers = mixed(int.from_bytes(digest, "little"), ids) >> np.uint64(11)
        found: np.ndarray = numbers * 2.0**-53
        return found

    places = 2 * augment.crop + 1
    return Drawn(
        (uniform("flip") < 0.5) & augment.flip,
        (uniform("rows") * places).astype(np.int64),
        (uniform("columns") * places).astype(np.int64),
    )


def changed(images: np.ndarray, crop: int, by: Drawn, fill: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels) padded with ``fill``, cropped to their size, flipped."""
    count, height, width, channels = images.shape
    padded = np.empty((count, height + 2 * crop, width + 2 * crop, channels), images.dtype)
    padded[:] = fill
    padded[:, crop : crop + height, crop : crop + width] = images
    across = np.arange(width)
    columns = by.columns[:, np.newaxis] + np.where(by.flips[:, np.newaxis], across[::-1], across)
    rows = by.rows[:, np.newaxis] + np.arange(height)
    found: np.ndarray = padded[
        np.arange(count)[:, np.newaxis, np.newaxis],
        rows[:, :, np.newaxis],
        columns[:, np.newaxis, :],
    ]
    return found


class Epochs:
    """The training images of each epoch, in files without a name, of which two are kept."""

    def __init__(
        self, images: np.ndarray | FileRows, augment: Augment, seed: int,
        fill: Sequence[float], folder: Path,
    ) -> None:  # fmt: skip
        self._images = images
        self._augment = augment
        self._seed = seed
        self._fill = np.asarray(fill, np.float32)
        self._folder = folder
        self._kept: dict[int, FileRows] = {}
        self._lock = threading.Lock()
        #: SHA-256 of the pixels of each epoch so far, as float32 in the order of the samples.
        self.digests: dict[int, str] = {}

    def __getitem__(self, epoch: int) -> FileRows:
        """The images of an epoch, made if they are not there."""
        with self._lock:
            if epoch not in self._kept:
                for old in sorted(self._kept)[:-1]:
                    del self._kept[old]
                self._kept[epoch] = self._written(epoch)
            return self._kept[epoch]

    def _written(self, epoch: int) -> FileRows:
        file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - kept open
        shape, state = self._images.shape, hashlib.sha256()
        step = max(_PORTION_BYTES // max(int(np.prod(shape[1:])) * 4, 1), 1)
        for start in range(0, shape[0], step):
            ids = np.arange(start, min(start + step, shape[0]))
            by = drawn(self._augment, self._seed, epoch, ids)
            images = np.asarray(self._images[start : start + step], np.float32)
            data = changed(images, self._augment.crop, by, self._fill).data.cast("B")
            state.update(data)
            while data:  # an unbuffered file may take less than it is given
                data = data[file.write(data) :]
        self.digests[epoch] = state.hexdigest()
        return FileRows(file, 0, np.dtype(np.float32), shape, np.dtype(self._images.dtype))

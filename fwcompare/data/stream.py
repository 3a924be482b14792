"""Training batches gathered in NumPy, for engines that cannot hold the training split.

That is so where it is beyond memory, and where its images are other ones in every epoch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.data.augment import Epochs
from fwcompare.data.batches import Arrays

#: Share of the memory of this machine up to which a split is held in memory.
SHARE = 4


def most_resident_bytes(resident_mib: int | None) -> int:
    """Bytes of a split beyond which it is read batch by batch."""
    if resident_mib is not None:
        return resident_mib * 2**20
    found = [_meminfo("MemTotal")]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # of the control group
        try:
            found.append(int((Path("/sys/fs/cgroup") / limit).read_text()))
        except (OSError, ValueError):
            continue
    return min(found) // SHARE


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/meminfo has no {name}")


class Stream:
    """The batches of the training split by epoch and the numbers of their samples.

    Every batch is new memory, contiguous, in the run's types; an engine may keep it.
    """

    def __init__(self, train: Arrays, epochs: Epochs | None) -> None:
        self._train = train
        self._epochs = epochs
        #: Batches that an engine has taken.
        self.taken = 0
        #: Shape of a sample's inputs and of its target, and the types of both.
        self.shapes = train.inputs.shape[1:], train.targets.shape[1:]
        self.dtypes: tuple[np.dtype[Any], np.dtype[Any]] = train.inputs.dtype, train.targets.dtype

    def take(self, epoch: int, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of a batch."""
        self.taken += 1
        inputs = self._train.inputs if self._epochs is None else self._epochs[int(epoch)]
        taken = np.asarray(inputs[ids])
        if self._train.targets is self._train.inputs:  # to be reconstructed
            return taken, taken
        return taken, np.asarray(self._train.targets[ids])

    def prepare(self, epoch: int) -> None:
        """Have the images of an epoch at hand before its clock starts, if they are to be drawn."""
        if self._epochs is not None:
            _ = self._epochs[epoch]

    @property
    def digests(self) -> dict[int, str]:
        """SHA-256 of the images of each epoch that were drawn."""
        return {} if self._epochs is None else self._epochs.digests

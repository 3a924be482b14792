"""What the worker sees of a dataset: mapped arrays, and the order of batches from the seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.data.rows import FileRows
from fwcompare.graph import TOKENS, VALUES

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Arrays:
    """One split: inputs (n, *shape) and targets.

    Inputs are numbers, or token ids in int32. Targets are labels (n,) in int32, 0 or 1 for each of
    several labels (n, labels), values (n, outputs), or the next token ids (n, steps) in int32.
    Either is an array, or rows of a file where the split is not to lie in memory.
    """

    inputs: Any
    targets: Any

    @property
    def resident(self) -> bool:
        """Whether the split may be held in memory."""
        return not isinstance(self.inputs, FileRows)

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class DataFolder:
    """A prepared dataset on disk: ``meta.json`` and two ``.npy`` files a split."""

    path: Path
    meta: dict[str, Any]
    #: Whether the targets are the inputs themselves, to be reconstructed, and not the stored ones.
    own_targets: bool = False
    #: A larger split is read from disk row by row; None: none is.
    most_resident_bytes: int | None = None

    @classmethod
    def open(cls, path: Path, own_targets: bool = False) -> DataFolder:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        return cls(path, meta, own_targets)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.meta["input_shape"])

    @property
    def tokens(self) -> int | None:
        """How many token ids there are, from 0; None where the inputs are numbers."""
        found = self.meta.get("tokens")
        return None if found is None else int(found)

    @property
    def tokenizer(self) -> dict[str, Any] | None:
        """What turns token ids back into text; None where nothing does."""
        found: dict[str, Any] | None = self.meta.get("tokenizer")
        return found

    @property
    def padding(self) -> int | None:
        """The token id with which samples are filled up behind their last token, if any are."""
        found = self.meta.get("padding")
        return None if found is None else int(found)

    @property
    def input_type(self) -> str:
        """What a sample holds, as ``Graph.input_type`` says it."""
        return VALUES if self.tokens is None else TOKENS

    @property
    def output_shape(self) -> tuple[int, ...]:
        """What a model gives for one sample: a number for each output, at every step for the next
        token."""
        if self.own_targets:
            return self.input_shape
        each_step = self.meta.get("kind") == "language_modelling"
        return (*(self.input_shape if each_step else ()), self.outputs)

    @property
    def outputs(self) -> int:
        """Classes, labels, numbers to predict, token ids, or the channels of reconstructions."""
        return self.input_shape[-1] if self.own_targets else int(self.meta["outputs"])

    @property
    def target_scale(self) -> float:
        """The target's own unit in units of the stored one, for errors that are to be quoted."""
        return 1.0 if self.own_targets else float(self.meta.get("target_scale", 1.0))

    def size(self, split: str) -> int:
        return int(self.meta["sizes"][split])

    @property
    def black(self) -> list[float] | None:
        """A black pixel, channel by channel; None where samples are no images."""
        found: list[float] | None = self.meta.get("black")
        return found

    def held_bytes(self, name: str, dtype: np.dtype) -> int:
        """What a split takes where it is held in memory, by its files."""
        places = [self.path / f"{name}_{suffix}.npy" for suffix in "xy"[: 2 - self.own_targets]]
        return sum(place.stat().st_size for place in places) * dtype.itemsize // 4

    def split(self, name: str, dtype: np.dtype) -> Arrays:
        """The arrays of a split, mapped from disk; copied only where the dtype differs.

        Rows of the files instead, where these have more than ``most_resident_bytes``.
        """
        places = [self.path / f"{name}_{suffix}.npy" for suffix in "xy"]
        most = self.most_resident_bytes
        if most is not None and self.held_bytes(name, dtype) > most:
            rows = [FileRows.open(place, dtype) for place in places]
            return Arrays(rows[0], rows[0 if self.own_targets else 1])
        inputs = np.load(self.path / f"{name}_x.npy", mmap_mode="r", allow_pickle=False)
        if inputs.dtype.kind == "f":
            inputs = inputs.astype(dtype, copy=False)
        if self.own_targets:
            return Arrays(inputs, inputs)
        targets = np.load(self.path / f"{name}_y.npy", mmap_mode="r", allow_pickle=False)
        if targets.dtype.kind == "f":
            targets = targets.astype(dtype, copy=False)
        return Arrays(inputs, targets)


def mixed(key: int, ids: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each id (SplitMix64's finaliser; Steele, Lea and Flood, 2014).

    Written out rather than taken from NumPy's generators, so that the order is the same in every
    release of NumPy that a worker may run on.
    """
    with np.errstate(over="ignore"):
        z = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def permutation(size: int, seed: int, stream: str) -> np.ndarray:
    """A permutation of ``range(size)``, int64, from the seed and the name of a stream."""
    key = hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8]
    keys = mixed(int.from_bytes(key, "little"), np.arange(size))
    return np.argsort(keys, kind="stable")


class Feed:
    """The batches of a run: the same sample ids, in the same order, for every framework."""

    def __init__(
        self,
        samples: int,
        batch_size: int,
        epochs: int,
        seed: int,
        drop_last: bool,
        max_steps: int | None = None,
        first_step: int = 0,
    ) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        #: Steps of the whole training that lie before this feed; 0 but for a part of a feed.
        self.first_step = first_step
        #: Which of how many processes it is for, each with its part of every batch.
        self.rank, self.ranks = 0, 1
        whole, rest = divmod(samples, batch_size)
        self.steps_per_epoch = whole + (rest > 0 and not drop_last)
        self.total_steps = self.steps_per_epoch * epochs
        if max_steps is not None:
            self.total_steps = min(self.total_steps, max_steps)

    def part(self, first_step: int, end_step: int) -> Feed:
        """The steps from ``first_step`` up to but not including ``end_step`` of this feed."""
        epochs = -(-end_step // max(self.steps_per_epoch, 1))
        whole = self.batch_size * self.ranks
        found = Feed(self.samples, whole, epochs, self.seed, self.drop_last, end_step, first_step)
        return found if self.ranks == 1 else found.share(self.rank, self.ranks)

    def share(self, rank: int, ranks: int) -> Feed:
        """The same batches for one of several processes: a contiguous part of each.

        All batches must split evenly, so that the mean of the processes' losses is the batch's.
        """
        found = copy(self)
        found.batch_size = self.batch_size // ranks
        found.rank, found.ranks = rank, ranks
        return found

    @property
    def epochs(self) -> range:
        """Epoch numbers, from 1; the first and the last may be cut short."""
        if not self.steps_per_epoch:
            return range(1, 1)
        first = self.first_step // self.steps_per_epoch + 1
        return range(first, -(-self.total_steps // self.steps_per_epoch) + 1)

    @property
    def step_count(self) -> int:
        """Steps in this feed: all of them, or those of its part."""
        return max(self.total_steps - self.first_step, 0)

    def _bounds(self, epoch: int) -> tuple[int, int]:
        """The steps of this epoch that belong to the feed, counted within the epoch."""
        before = (epoch - 1) * self.steps_per_epoch
        return (
            max(self.first_step - before, 0),
            min(self.steps_per_epoch, self.total_steps - before),
        )

    def steps(self, epoch: int) -> int:
        """Steps in this epoch."""
        first, end = self._bounds(epoch)
        return end - first

    def batch_sizes(self, epoch: int) -> list[int]:
        first, end = self._bounds(epoch)
        last = self.samples // self.ranks - (self.steps_per_epoch - 1) * self.batch_size
        sizes = [self.batch_size] * (end - first)
        if sizes and end == self.steps_per_epoch:
            sizes[-1] = min(last, self.batch_size)
        return sizes

    def order(self, epoch: int) -> np.ndarray:
        """Sample ids of this epoch in order, int64, those of dropped batches left out."""
        first, end = self._bounds(epoch)
        whole = _order(self.samples, self.seed, epoch)
        if self.ranks > 1:
            return self._shared(whole, first, end)
        return whole[first * self.batch_size : end * self.batch_size]

    def _shared(self, whole: np.ndarray, first: int, end: int) -> np.ndarray:
        """This process's part of each batch, one after another."""
        size = self.batch_size * self.ranks
        parts = []
        for step in range(first, end):
            batch = whole[step * size : (step + 1) * size]
            each = len(batch) // self.ranks
            parts.append(batch[self.rank * each : (self.rank + 1) * each])
        return np.concatenate(parts) if parts else whole[:0]

    def batches(self, epoch: int) -> Sequence[np.ndarray]:
        """Sample ids of each batch."""
        order = self.order(epoch)
        return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]

    def all_batches(self) -> Iterator[np.ndarray]:
        """Sample ids of each batch over all epochs."""
        for epoch in self.epochs:
            yield from self.batches(epoch)

    def digests(self) -> list[str]:
        """SHA-256 of the sample ids of each epoch."""
        return [
            hashlib.sha256(self.order(epoch).astype("<i8").tobytes()).hexdigest()
            for epoch in self.epochs
        ]


@lru_cache(maxsize=2)
def _order(samples: int, seed: int, epoch: int) -> np.ndarray:
    return permutation(samples, seed, f"epoch/{epoch}")

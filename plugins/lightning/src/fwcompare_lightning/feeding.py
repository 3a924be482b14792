"""Whole batches from memory, in the order of the feed, through a ``DataLoader``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fwcompare.data.batches import Feed


class Batches(Dataset[tuple[Tensor, Tensor]]):
    """Samples in memory, indexed by the ids of a batch rather than by the id of one sample."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets = inputs, targets

    def __getitem__(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.inputs.index_select(0, ids), self.targets.index_select(0, ids)


class FeedOrder(Sampler[Tensor]):
    """The ids of each batch of an epoch. Lightning says by ``set_epoch`` which one it is at."""

    def __init__(self, feed: Feed, device: torch.device) -> None:
        self.feed, self.device = feed, device
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take Lightning's number of the epoch, which counts from 0 in each fit."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        # Lightning asks for the first iterator before it has set the epoch, so the order is looked
        # up when the first batch is.
        order = torch.from_numpy(self.feed.order(self.feed.epochs[self.epoch])).to(self.device)
        yield from torch.split(order, self.feed.batch_size)

    def __len__(self) -> int:
        """Lightning asks once for all epochs: a first one that is cut short just ends sooner."""
        return self.feed.steps_per_epoch


class StreamedBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batches by epoch and ids, from data that are not held in memory."""

    def __init__(self, take: Callable[[int, np.ndarray], tuple[Tensor, Tensor]]) -> None:
        self.take = take

    def __getitem__(self, which: tuple[int, np.ndarray]) -> tuple[Tensor, Tensor]:
        return self.take(*which)


class StreamedOrder(FeedOrder):
    """The epoch beside the ids of each batch, which stay on the host."""

    def __iter__(self) -> Iterator[Any]:
        epoch = self.feed.epochs[self.epoch]
        for ids in self.feed.batches(epoch):
            yield epoch, ids


def streaming_loader(
    take: Callable[[int, np.ndarray], tuple[Tensor, Tensor]], feed: Feed
) -> DataLoader[Any]:
    """A loader of the same kind, for data that are not held in memory."""
    return DataLoader(
        StreamedBatches(take),
        sampler=StreamedOrder(feed, torch.device("cpu")),
        batch_size=None,
        generator=torch.Generator(),
    )


def loader(inputs: Tensor, targets: Tensor, feed: Feed) -> DataLoader[Any]:
    """A loader with automatic batching disabled, which is what ``batch_size=None`` means.

    Its generator is its own: the seed that it draws at each epoch is not taken from dropout's.
    """
    return DataLoader(
        Batches(inputs, targets),
        sampler=FeedOrder(feed, inputs.device),
        batch_size=None,
        generator=torch.Generator(),
    )

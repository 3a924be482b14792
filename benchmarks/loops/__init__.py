"""Training loops written by hand, one module an engine, without anything of fwcompare.

Each module has ``make(problem) -> Loop``. They are written as a user who wants speed writes them
for data in memory: the framework's own entry and its fastest feed, whole batches gathered by sample
ids. A slower feed would only flatter the trainer that is held against it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Problem:
    """What a loop trains: one of the three models, by Adam, on images and labels."""

    #: ``mlp``, ``cnn`` or ``cnn_bn``, with the sizes of the files in ``conf/model``.
    model: str
    #: float32, (n, height, width, channels).
    images: np.ndarray
    #: int32, (n,).
    labels: np.ndarray
    classes: int
    batch_size: int
    learning_rate: float

    @property
    def steps(self) -> int:
        """Steps of an epoch; the incomplete last batch is dropped."""
        return len(self.images) // self.batch_size


class Loop(Protocol):
    """A model with its optimizer."""

    def fit(self) -> None:
        """Train for one epoch in a new order, and wait for the device."""


def make(engine: str, problem: Problem) -> Loop:
    """The loop of an engine."""
    loop: Loop = importlib.import_module(f"loops.{engine}").make(problem)
    return loop

"""Training loops written by hand, one module an engine, without anything of fwcompare.

Each module has ``make(problem) -> Loop``. They are written as a user who wants speed writes them
for data in memory: the framework's own entry and its fastest feed, whole batches gathered by sample
ids. A slower feed would only flatter the trainer that is held against it. The models stand in a
folder for each framework, built of its own layers.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Problem:
    """What a loop trains, by Adam: a model, with samples and the labels that it is to give."""

    #: A name of ``conf/model``, and its params there.
    model: str
    params: Mapping[str, Any]
    #: float32 (n, height, width, channels), or token ids, int32 (n, steps).
    inputs: np.ndarray
    #: int32, (n,) or, where each step has a label, (n, steps).
    labels: np.ndarray
    #: Classes, of which labels name one.
    outputs: int
    #: How many token ids there are; None where the inputs are numbers.
    tokens: int | None
    batch_size: int
    learning_rate: float

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.inputs.shape[1:]

    @property
    def steps(self) -> int:
        """Steps of an epoch; the incomplete last batch is dropped."""
        return len(self.inputs) // self.batch_size


class Loop(Protocol):
    """A model with its optimizer."""

    def fit(self) -> None:
        """Train for one epoch in a new order, and wait for the device."""


def make(engine: str, problem: Problem) -> Loop:
    """The loop of an engine."""
    loop: Loop = importlib.import_module(f"loops.{engine}").make(problem)
    return loop

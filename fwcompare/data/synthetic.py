"""Made-up samples that a model can learn from, of any shape and number.

Every number is a hash of its position, so that a sample is made when it is asked for, in any order,
and nothing but the portion in hand lies in memory.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fwcompare.data.batches import mixed
from fwcompare.data.raw import portions

#: How many deviations above the mean a label of several begins: the upper quartile of the normal
#: distribution, so that with many inputs about a quarter of the samples have it.
_REACH = 0.6744897501960817


def uniform(stream: str, positions: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) for positions in a named stream, float64, of the positions' shape."""
    key = int.from_bytes(hashlib.sha256(f"synthetic/{stream}".encode()).digest()[:8], "little")
    return (mixed(key, positions) >> np.uint64(11)) * 2.0**-53


def spread(stream: str, positions: np.ndarray) -> np.ndarray:
    """Uniform numbers with mean zero and deviation one."""
    return (uniform(stream, positions) - 0.5) * math.sqrt(12)


def _elements(ids: np.ndarray, width: int) -> np.ndarray:
    """Positions of the ``width`` numbers of each sample, shape (len(ids), width)."""
    return ids[:, np.newaxis].astype(np.uint64) * np.uint64(width) + np.arange(
        width, dtype=np.uint64
    )


@dataclass(frozen=True)
class Classes:
    """Each class has a prototype; a sample is the prototype of its class plus as much noise.

    ``noise`` is the share of labels that are drawn anew, so that no model can be right more often
    than ``1 - noise * (1 - 1 / classes)``.
    """

    samples: int
    input_shape: tuple[int, ...]
    classes: int
    noise: float

    def inputs(self, ids: np.ndarray) -> np.ndarray:
        elements = _elements(ids, math.prod(self.input_shape))
        values: np.ndarray = self._prototypes[self._true(ids)] + spread("input", elements)
        return values.reshape(-1, *self.input_shape)

    @cached_property
    def _prototypes(self) -> np.ndarray:
        width = math.prod(self.input_shape)
        return spread("prototype", _elements(np.arange(self.classes), width))

    def targets(self, ids: np.ndarray) -> np.ndarray:
        drawn = (uniform("other label", ids) * self.classes).astype(np.int32)
        return np.where(uniform("flip", ids) < self.noise, drawn, self._true(ids))

    def _true(self, ids: np.ndarray) -> np.ndarray:
        return (uniform("label", ids) * self.classes).astype(np.int32)

    @property
    def target_shape(self) -> tuple[int, ...]:
        return ()


def between(stream: str, positions: np.ndarray, least: int, most: int) -> np.ndarray:
    """Whole numbers from ``least`` to ``most``, int64, every one alike."""
    return least + (uniform(stream, positions) * (most - least + 1)).astype(np.int64)


@dataclass(frozen=True)
class Values:
    """Targets are a line plus a parabola along two directions of the inputs, plus noise.

    ``noise`` is the deviation of that noise, where the line alone has a deviation of one.
    """

    samples: int
    input_shape: tuple[int, ...]
    outputs: int
    noise: float

    def inputs(self, ids: np.ndarray) -> np.ndarray:
        values = spread("input", _elements(ids, math.prod(self.input_shape)))
        return values.reshape(-1, *self.input_shape)

    def targets(self, ids: np.ndarray) -> np.ndarray:
        values = self.noise * spread("error", _elements(ids, self.outputs))
        line, bend = self._directions
        for start, portion in portions(Inputs(self), ids):
            inputs = portion.reshape(len(portion), -1)
            values[start : start + len(inputs)] += (
                inputs @ line.T + ((inputs @ bend.T) ** 2 - 1) / 2
            )
        return values

    @cached_property
    def _directions(self) -> tuple[np.ndarray, np.ndarray]:
        """Two unit vectors for each output, each array of shape (outputs, features)."""
        elements = _elements(np.arange(self.outputs), math.prod(self.input_shape))
        line, bend = (spread(name, elements) for name in ("line", "bend"))
        return (
            line / np.linalg.norm(line, axis=1, keepdims=True),
            bend / np.linalg.norm(bend, axis=1, keepdims=True),
        )

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.outputs,)


@dataclass(frozen=True)
class Labels:
    """A sample has a label where its inputs reach far enough along the direction of the label.

    ``noise`` is the share of answers, label by label, that are drawn anew with even chances.
    """

    samples: int
    input_shape: tuple[int, ...]
    labels: int
    noise: float

    def inputs(self, ids: np.ndarray) -> np.ndarray:
        values = spread("input", _elements(ids, math.prod(self.input_shape)))
        return values.reshape(-1, *self.input_shape)

    def targets(self, ids: np.ndarray) -> np.ndarray:
        elements = _elements(ids, self.labels)
        found = (uniform("other label", elements) < 0.5).astype(np.int32)
        kept = uniform("flip", elements) >= self.noise
        for start, portion in portions(Inputs(self), ids):
            place = slice(start, start + len(portion))
            reached = portion.reshape(len(portion), -1) @ self._directions.T
            found[place] = np.where(kept[place], reached > _REACH, found[place])
        return found

    @cached_property
    def _directions(self) -> np.ndarray:
        """A unit vector for each label, shape (labels, features)."""
        width = math.prod(self.input_shape)
        found = spread("direction", _elements(np.arange(self.labels), width))
        unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.labels,)


Rule = Classes | Values | Labels


@dataclass(frozen=True)
class Inputs:
    """The inputs of a rule as rows."""

    rule: Rule

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rule.samples, *self.rule.input_shape)

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        return self.rule.inputs(ids)


@dataclass(frozen=True)
class Targets:
    """The targets of a rule as rows."""

    rule: Rule

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float64 if isinstance(self.rule, Values) else np.int32)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rule.samples, *self.rule.target_shape)

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        return self.rule.targets(ids)

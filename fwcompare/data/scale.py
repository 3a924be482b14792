"""Normalisation: a shift and a factor, from the training split alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fwcompare.data.raw import Rows, portions
from fwcompare.errors import RequestError

NORMALIZATIONS = ("none", "unit", "standard", "given")

#: Mean and deviation of each channel, of pixels from 0 to 1.
Given = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Scale:
    """``(x - shift) / factor``; both broadcast against one sample."""

    shift: np.ndarray
    factor: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The normalised values in float32, which is what is stored for every run."""
        with np.errstate(over="ignore"):
            scaled: np.ndarray = (values - self.shift) / self.factor
            return scaled.astype(np.float32)


IDENTITY = Scale(np.zeros(()), np.ones(()))


def input_scale(
    normalize: str,
    rows: Rows,
    ids: np.ndarray,
    pixel_range: tuple[float, float] | None,
    given: Given | None = None,
) -> Scale:
    """How to normalise inputs, given the samples to train on.

    ``standard`` takes mean and deviation of each feature, or of each channel of an image. ``unit``
    takes the range to [0, 1]: that of a pixel for images (where it is not known, that of all pixels
    to train on), that of each feature otherwise. A constant feature is shifted and not divided.
    ``given`` takes pixels to [0, 1] too, and then off them the means, over the deviations, which
    published models are trained with.

    Raises:
        RequestError: means that are not as many as there are channels, or no image.
    """
    image = len(rows.shape) == 4
    if normalize == "none":
        return IDENTITY
    if normalize == "standard":
        return _standard(rows, ids, axes=(0, 1, 2) if image else (0,))
    if image and pixel_range is not None:
        least, most = (np.asarray(bound, np.float64) for bound in pixel_range)
    else:
        seen = _look(rows, ids, axes=(0, 1, 2, 3) if image else (0,))
        least, most = seen.least, seen.most
    unit = Scale(least, np.where(most > least, most - least, 1.0))
    return unit if normalize == "unit" else _by(given, unit, rows.shape[1:])


def _by(given: Given | None, unit: Scale, shape: tuple[int, ...]) -> Scale:
    assert given is not None
    mean, deviation = map(np.array, given)
    if len(shape) != 3 or len(mean) not in (1, shape[-1]):
        raise RequestError(
            f"dataset.params.mean has {len(mean)} numbers, and samples are {list(shape)}.",
            "normalize=given is for images: one number, or one for each channel.",
        )
    return Scale(unit.shift + mean * unit.factor, unit.factor * deviation)


def target_scale(rows: Rows, ids: np.ndarray) -> Scale:
    """Mean and deviation over all targets to train on.

    One pair for all outputs, so that an error times the factor has the target's own unit.
    """
    return _standard(rows, ids, axes=tuple(range(len(rows.shape))))


@dataclass(frozen=True)
class _Seen:
    """What one pass over samples tells, each of the shape that is left after the axes."""

    least: np.ndarray
    most: np.ndarray
    mean: np.ndarray


def _look(rows: Rows, ids: np.ndarray, axes: tuple[int, ...]) -> _Seen:
    least, most, total = np.array(np.inf), np.array(-np.inf), np.zeros(())
    for _, portion in portions(rows, ids):
        values = portion.astype(np.float64)
        least = np.minimum(least, values.min(axes))
        most = np.maximum(most, values.max(axes))
        total = total + values.sum(axes)
    return _Seen(least, most, total / _count(rows, ids, axes))


def _count(rows: Rows, ids: np.ndarray, axes: tuple[int, ...]) -> int:
    """How many numbers each statistic is made from."""
    return len(ids) * math.prod(rows.shape[axis] for axis in axes[1:])


def _standard(rows: Rows, ids: np.ndarray, axes: tuple[int, ...]) -> Scale:
    """In two passes, since the mean of squares less the squared mean loses digits."""
    seen = _look(rows, ids, axes)
    total = np.zeros(())
    for _, portion in portions(rows, ids):
        total = total + np.square(portion.astype(np.float64) - seen.mean).sum(axes)
    deviation = np.sqrt(total / _count(rows, ids, axes))
    # Equal bounds tell a constant exactly; its computed deviation may be a rounding error.
    constant = seen.most == seen.least
    return Scale(np.where(constant, seen.least, seen.mean), np.where(constant, 1.0, deviation))

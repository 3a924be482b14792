"""What every source of raw arrays has: its options, their checks, and its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fwcompare.data.batches import permutation
from fwcompare.data.raw import Raw
from fwcompare.data.scale import NORMALIZATIONS
from fwcompare.errors import RequestError, shown, unknown

if TYPE_CHECKING:
    from fwcompare.data.download import Downloads


def require(holds: bool, option: str, value: object, wanted: str) -> None:
    """Raise ``RequestError`` unless an option is as it is wanted."""
    if not holds:
        raise RequestError(f"dataset.params.{option} must be {wanted}, got {shown(repr(value))}.")


def one_of(option: str, value: str, options: tuple[str, ...]) -> None:
    """Raise ``RequestError`` unless an option is one of those that there are."""
    if value not in options:
        raise unknown(f"dataset.params.{option}", value, options)


@dataclass(frozen=True)
class Source:
    """Base of every source; its fields are what ``dataset.params`` takes."""

    name: ClassVar[str]

    #: Share of the samples that is kept for validation; 0 for no validation.
    val_fraction: float
    normalize: str
    #: Decides which sample falls into which split; None: the seed of the run.
    split_seed: int | None
    #: For ``normalize=given``, of images: a number for all channels or one for each, of pixels from
    #: 0 to 1.
    mean: tuple[float, ...] | None = field(default=None, kw_only=True)
    deviation: tuple[float, ...] | None = field(default=None, kw_only=True)

    def check(self) -> None:
        """Raises ``RequestError`` if an option is out of range."""
        require(
            0 <= self.val_fraction < 1,
            "val_fraction",
            self.val_fraction,
            "at least 0 and less than 1",
        )
        one_of("normalize", self.normalize, NORMALIZATIONS)
        self._check_given()
        if self.split_seed is not None:
            require(
                0 <= self.split_seed < 2**63,
                "split_seed",
                self.split_seed,
                "null or a whole number from 0 to 2**63 - 1",
            )

    def _check_given(self) -> None:
        mean, deviation = self.mean or (), self.deviation or ()
        if self.normalize != "given":
            if mean or deviation:
                raise RequestError(
                    "dataset.params.mean and deviation are for dataset.params.normalize=given, "
                    f"got normalize={self.normalize}."
                )
        elif not mean or len(mean) != len(deviation):
            raise RequestError(
                "dataset.params.normalize=given needs mean and deviation, as many numbers each.",
                "Such as dataset.params.mean=[0.485,0.456,0.406] "
                "dataset.params.deviation=[0.229,0.224,0.225].",
            )
        elif min(deviation) <= 0:
            require(False, "deviation", list(deviation), "more than 0 everywhere")

    def files(self) -> list[Path]:
        """Local files that the data come from; a change in one makes another dataset.

        Raises:
            RequestError: a file is missing.
        """
        return []

    def load(self, downloads: Downloads) -> Raw:
        """The raw arrays; what has to be fetched is kept by ``downloads``.

        Raises:
            RequestError: they cannot be read or fetched.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Unsplit(Source):
    """A source without a test split of its own."""

    #: Share of the samples that is kept for the test.
    test_fraction: float

    def check(self) -> None:
        super().check()
        require(
            0 < self.test_fraction < 1,
            "test_fraction",
            self.test_fraction,
            "more than 0 and less than 1",
        )
        if self.val_fraction + self.test_fraction >= 1:
            raise RequestError(
                f"dataset.params.val_fraction={self.val_fraction:g} and "
                f"test_fraction={self.test_fraction:g} leave nothing to train on."
            )

    def deal(self, count: int, what: str = "samples") -> Mapping[str, np.ndarray]:
        """Numbers of the samples (or documents, or rows) of each split, in order.

        For sources that learn something from the training split: a vocabulary, categories, means.

        Raises:
            RequestError: a split that is asked for gets none.
        """
        order = permutation(count, int(self.split_seed or 0), what)
        dealt, taken = {}, 0
        for name, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            size = round(fraction * count)
            if fraction and not size:
                raise RequestError(
                    f"dataset.params.{name}_fraction={fraction:g} of {count} {what} leaves the "
                    f"{name} split empty."
                )
            dealt[name] = np.sort(order[taken : taken + size])
            taken += size
        if taken >= count:
            raise RequestError(f"Of {count} {what} none is left to train on.")
        return {**dealt, "train": np.sort(order[taken:])}


def require_min_steps(min_steps: int | None, steps: int) -> None:
    """Raise ``RequestError`` unless samples can be of lengths from ``min_steps`` to ``steps``."""
    if min_steps is not None:
        wanted = f"null or from 1 to {steps - 1}, below steps"
        require(1 <= min_steps < steps, "min_steps", min_steps, wanted)


@dataclass(frozen=True)
class TokenSource(Unsplit):
    """A source of token ids, which are not normalised."""

    def check(self) -> None:
        super().check()
        require(self.normalize == "none", "normalize", self.normalize, "none for token ids")

"""Raw arrays by the dataset's name: for each its options, its checks and where it comes from.

Imported in the parent only. What a source needs beside NumPy is imported when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fwcompare.data import fashion_mnist, npz, synthetic
from fwcompare.data.raw import Raw, Split
from fwcompare.data.scale import NORMALIZATIONS
from fwcompare.errors import RequestError, unknown
from fwcompare.typed import build

if TYPE_CHECKING:
    from rich.console import Console

KINDS = ("classification", "regression")


def _require(holds: bool, option: str, value: object, wanted: str) -> None:
    if not holds:
        raise RequestError(f"dataset.params.{option} must be {wanted}, got {value!r}.")


def _one_of(option: str, value: str, options: tuple[str, ...]) -> None:
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

    def check(self) -> None:
        """Raises ``RequestError`` if an option is out of range."""
        _require(
            0 <= self.val_fraction < 1,
            "val_fraction",
            self.val_fraction,
            "at least 0 and less than 1",
        )
        _one_of("normalize", self.normalize, NORMALIZATIONS)
        if self.split_seed is not None:
            _require(
                0 <= self.split_seed < 2**63,
                "split_seed",
                self.split_seed,
                "null or a whole number from 0 to 2**63 - 1",
            )

    def files(self) -> list[Path]:
        """Local files that the data come from; a change in one makes another dataset.

        Raises:
            RequestError: a file is missing.
        """
        return []

    def load(self, cache: Path, console: Console | None) -> Raw:
        """The raw arrays; what has to be fetched is kept in ``cache``.

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
        _require(
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


class Digits(Unsplit):
    """1797 handwritten digits of 8 by 8 pixels."""

    name = "digits"

    def load(self, cache: Path, console: Console | None) -> Raw:
        from sklearn.datasets import load_digits

        found = load_digits()
        return Raw(
            kind="classification",
            parts={"train": Split(found.images[..., np.newaxis], found.target)},
            outputs=10,
            classes=tuple(str(digit) for digit in range(10)),
            pixel_range=(0.0, 16.0),
            source="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, "
            "UCI repository; the test part, as scikit-learn has it",
            licence="CC BY 4.0",
        )


class BreastCancer(Unsplit):
    """569 tumours, 30 measurements each, malignant or benign."""

    name = "breast_cancer"

    def load(self, cache: Path, console: Console | None) -> Raw:
        from sklearn.datasets import load_breast_cancer

        found = load_breast_cancer()
        return Raw(
            kind="classification",
            parts={"train": Split(found.data, found.target)},
            outputs=2,
            classes=tuple(str(name) for name in found.target_names),
            source="Wolberg, Mangasarian, Street and Street (1993), Breast Cancer Wisconsin "
            "(Diagnostic), UCI repository; as scikit-learn has it",
            licence="CC BY 4.0",
        )


class Diabetes(Unsplit):
    """442 patients, 10 measurements each, and the progression of the disease after a year."""

    name = "diabetes"

    def load(self, cache: Path, console: Console | None) -> Raw:
        from sklearn.datasets import load_diabetes

        # scikit-learn's own scaling has seen the samples that become the test split.
        found = load_diabetes(scaled=False)
        return Raw(
            kind="regression",
            parts={"train": Split(found.data, found.target)},
            outputs=1,
            source="Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle Regression; "
            "as scikit-learn has it",
            licence="none stated; distributed with scikit-learn under BSD-3-Clause",
        )


@dataclass(frozen=True)
class FashionMnist(Source):
    """70,000 pictures of clothes, 28 by 28 pixels, with a test split of their own."""

    name = "fashion_mnist"

    #: Folder of the four IDX files, compressed or not; None: fetched once into the cache.
    folder: str | None

    def files(self) -> list[Path]:
        if self._folder is None:
            return []
        return [file.find(self._folder) for pair in fashion_mnist.FILES.values() for file in pair]

    @property
    def _folder(self) -> Path | None:
        return None if self.folder is None else Path(self.folder).expanduser().absolute()

    def load(self, cache: Path, console: Console | None) -> Raw:
        return fashion_mnist.load(self._folder, cache / self.name, console)


@dataclass(frozen=True)
class Synthetic(Unsplit):
    """Made-up samples; see ``fwcompare.data.synthetic`` for the rules."""

    name = "synthetic"

    samples: int
    input_shape: tuple[int, ...]
    #: Classes, or numbers to predict.
    outputs: int
    task: str
    #: Share of labels drawn anew, or deviation of the noise in the targets.
    noise: float

    def check(self) -> None:
        super().check()
        _one_of("task", self.task, KINDS)
        _require(self.samples >= 3, "samples", self.samples, "at least 3")
        _require(
            bool(self.input_shape) and min(self.input_shape) >= 1,
            "input_shape",
            list(self.input_shape),
            "one or more positive whole numbers",
        )
        if self.task == "classification":
            _require(self.outputs >= 2, "outputs", self.outputs, "at least 2 for classification")
            _require(0 <= self.noise < 1, "noise", self.noise, "at least 0 and less than 1")
        else:
            _require(self.outputs >= 1, "outputs", self.outputs, "at least 1")
            _require(self.noise >= 0, "noise", self.noise, "at least 0")

    def load(self, cache: Path, console: Console | None) -> Raw:
        made = synthetic.Classes if self.task == "classification" else synthetic.Values
        rule = made(self.samples, self.input_shape, self.outputs, self.noise)
        return Raw(
            kind=self.task,
            parts={"train": Split(synthetic.Inputs(rule), synthetic.Targets(rule))},
            outputs=self.outputs,
            source="made by fwcompare",
            licence="none needed",
        )


@dataclass(frozen=True)
class Npz(Unsplit):
    """Arrays of one's own: ``x`` and ``y``, or ``x_train``, ``y_train`` and so on for val and test.

    The fractions apply to the splits that the file does not hold.
    """

    name = "npz"

    file: str | None
    task: str
    #: None: one more than the largest label.
    classes: int | None

    def check(self) -> None:
        super().check()
        _require(self.file is not None, "file", self.file, "the path of an .npz file")
        _one_of("task", self.task, KINDS)
        if self.classes is not None:
            _require(self.classes >= 2, "classes", self.classes, "null or at least 2")

    @property
    def _path(self) -> Path:
        return Path(str(self.file)).expanduser().absolute()

    def files(self) -> list[Path]:
        if not self._path.is_file():
            raise RequestError(
                f"There is no file {self._path}.",
                "dataset.params.file must be an .npz file; np.savez(path, x=..., y=...) makes one.",
            )
        return [self._path]

    def load(self, cache: Path, console: Console | None) -> Raw:
        return npz.load(self._path, self.task, self.classes)


SOURCES: dict[str, type[Source]] = {
    source.name: source for source in (Digits, BreastCancer, Diabetes, FashionMnist, Synthetic, Npz)
}


def source(name: str, params: Mapping[str, Any]) -> Source:
    """The source of this name with its options checked.

    Raises:
        RequestError: the name or an option is unknown, missing or out of range.
    """
    if name not in SOURCES:
        raise unknown("dataset", name, SOURCES)
    made = build(SOURCES[name], params, "dataset.params")
    made.check()
    return made

"""Raw arrays by the dataset's name: for each its options, its checks and where it comes from.

Imported in the parent only. What a source needs beside NumPy is imported when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fwcompare.data import fashion_mnist, npy, npz, synthetic, synthetic_tokens
from fwcompare.data.images import Images
from fwcompare.data.pictures import Cifar10, Cifar100, Mnist
from fwcompare.data.python_text import PythonPackages, PythonReference
from fwcompare.data.raw import Raw, Split
from fwcompare.data.source import Source, TokenSource, Unsplit, one_of, require, require_min_steps
from fwcompare.data.tables import Csv, Parquet
from fwcompare.data.texts import Imdb, Text
from fwcompare.errors import RequestError, unknown
from fwcompare.limits import user_path
from fwcompare.typed import build

if TYPE_CHECKING:
    from fwcompare.data.download import Downloads

#: Labels and token ids are kept in 32 bits.
MOST = 2**31 - 1

KINDS = ("classification", "multi_label", "regression")


class Digits(Unsplit):
    """1797 handwritten digits of 8 by 8 pixels."""

    name = "digits"

    def load(self, downloads: Downloads) -> Raw:
        images, labels = digits()
        return Raw(
            kind="classification",
            parts={"train": Split(images[..., np.newaxis], labels)},
            outputs=10,
            classes=tuple(str(digit) for digit in range(10)),
            pixel_range=(0.0, 16.0),
            source="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, "
            "UCI repository; the test part, as scikit-learn has it",
            licence="CC BY 4.0",
        )


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) and labels, as ``sklearn.datasets.load_digits`` gives them.

    They are the data of everybody's first run, and scikit-learn takes a second to import: so its
    file is read by itself, where it is found.
    """
    spec = find_spec("sklearn")  # imports nothing
    for folder in spec.submodule_search_locations or () if spec else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(int)
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target


class BreastCancer(Unsplit):
    """569 tumours, 30 measurements each, malignant or benign."""

    name = "breast_cancer"

    def load(self, downloads: Downloads) -> Raw:
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

    def load(self, downloads: Downloads) -> Raw:
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
        return None if self.folder is None else user_path(self.folder).absolute()

    def load(self, downloads: Downloads) -> Raw:
        return fashion_mnist.load(self._folder, downloads / self.name)


@dataclass(frozen=True)
class Synthetic(Unsplit):
    """Made-up samples; see ``fwcompare.data.synthetic`` for the rules."""

    name = "synthetic"

    samples: int
    input_shape: tuple[int, ...]
    #: Classes, labels of which a sample has any number, or numbers to predict.
    outputs: int
    task: str
    #: Share of labels drawn anew, or deviation of the noise in the targets.
    noise: float

    def check(self) -> None:
        super().check()
        one_of("task", self.task, KINDS)
        require(self.samples >= 3, "samples", self.samples, "at least 3")
        require(
            bool(self.input_shape) and min(self.input_shape) >= 1,
            "input_shape",
            list(self.input_shape),
            "one or more positive whole numbers",
        )
        require(self.outputs <= MOST, "outputs", self.outputs, f"at most {MOST}")
        if self.task != "regression":
            require(self.outputs >= 2, "outputs", self.outputs, f"at least 2 for {self.task}")
            require(0 <= self.noise < 1, "noise", self.noise, "at least 0 and less than 1")
        else:
            require(self.outputs >= 1, "outputs", self.outputs, "at least 1")
            require(self.noise >= 0, "noise", self.noise, "at least 0")

    def load(self, downloads: Downloads) -> Raw:
        rules: dict[str, type[synthetic.Rule]] = {
            "classification": synthetic.Classes,
            "multi_label": synthetic.Labels,
            "regression": synthetic.Values,
        }
        rule = rules[self.task](self.samples, self.input_shape, self.outputs, self.noise)
        return Raw(
            kind=self.task,
            parts={"train": Split(synthetic.Inputs(rule), synthetic.Targets(rule))},
            outputs=self.outputs,
            source="made by fwcompare",
            licence="none needed",
        )


@dataclass(frozen=True)
class SyntheticTokens(TokenSource):
    """Made-up token ids; see ``fwcompare.data.synthetic_tokens`` for the rule."""

    name = "synthetic_tokens"

    samples: int
    steps: int
    tokens: int
    #: Classes.
    outputs: int
    #: Share of labels drawn anew.
    noise: float
    #: Fewest tokens of a sample, which is filled up with padding; null: every sample has steps.
    min_steps: int | None = None

    def check(self) -> None:
        super().check()
        require(self.samples >= 3, "samples", self.samples, "at least 3")
        require(self.steps >= 2, "steps", self.steps, "at least 2")
        require_min_steps(self.min_steps, self.steps)
        require(self.tokens >= 2, "tokens", self.tokens, "at least 2")
        require(self.tokens <= MOST, "tokens", self.tokens, f"at most {MOST}")
        require(self.outputs >= 2, "outputs", self.outputs, "at least 2")
        require(self.outputs <= MOST, "outputs", self.outputs, f"at most {MOST}")
        require(0 <= self.noise < 1, "noise", self.noise, "at least 0 and less than 1")

    def load(self, downloads: Downloads) -> Raw:
        rule = synthetic_tokens.Chains(
            self.samples, self.steps, self.tokens, self.outputs, self.noise, self.min_steps
        )
        padded = self.min_steps is not None
        return Raw(
            kind="classification",
            parts={"train": Split(synthetic_tokens.Inputs(rule), synthetic_tokens.Targets(rule))},
            outputs=self.outputs,
            tokens=self.tokens + padded,
            padding=self.tokens if padded else None,
            source="made by fwcompare",
            licence="none needed",
        )


@dataclass(frozen=True)
class OwnArrays(Unsplit):
    """What arrays of one's own share: ``x`` and ``y``, or ``x_train``, ``y_train`` and so on.

    The fractions apply to the splits that are not there.
    """

    task: str
    #: None: one more than the largest label.
    classes: int | None
    #: How many token ids there are, where x holds such; None where it holds numbers.
    tokens: int | None
    #: The token id with which x is filled up behind each sample's last token, if any is.
    padding: int | None

    def check(self) -> None:
        super().check()
        one_of("task", self.task, (*KINDS, "language_modelling"))
        if self.classes is not None:
            require(self.classes >= 2, "classes", self.classes, "null or at least 2")
        if self.tokens is not None:
            require(self.tokens >= 2, "tokens", self.tokens, "null or at least 2")
            require(self.normalize == "none", "normalize", self.normalize, "none for token ids")
        if self.padding is not None:
            self._check_padding(self.padding)

    def _check_padding(self, padding: int) -> None:
        ids = 0 if self.tokens is None else self.tokens
        wanted = f"null or a token id from 0 to {ids - 1}" if ids else "null without tokens"
        require(0 <= padding < ids, "padding", padding, wanted)
        if self.task == "language_modelling":
            raise RequestError(
                f"dataset.params.padding={padding}: the loss of task=language_modelling counts "
                "every step, padding too.",
                "Cut the text into samples of one length, and leave padding at null.",
            )


@dataclass(frozen=True)
class Npz(OwnArrays):
    """Arrays of one's own in one file."""

    name = "npz"

    tokens: int | None = None
    padding: int | None = None
    #: The path of the file.
    file: str | None = None

    def check(self) -> None:
        require(self.file is not None, "file", self.file, "the path of an .npz file")
        super().check()

    @property
    def _path(self) -> Path:
        return user_path(str(self.file)).absolute()

    def files(self) -> list[Path]:
        if not self._path.is_file():
            raise RequestError(
                f"There is no file {self._path}.",
                "dataset.params.file must be an .npz file; np.savez(path, x=..., y=...) makes one.",
            )
        return [self._path]

    def load(self, downloads: Downloads) -> Raw:
        found = npz.load(self._path, self.task, self.classes, self.tokens)
        return replace(found, padding=self.padding)


@dataclass(frozen=True)
class Npy(OwnArrays):
    """Arrays of one's own in files of their own, which are mapped: they may exceed the memory."""

    name = "npy"

    tokens: int | None = None
    padding: int | None = None
    #: Folder of x.npy and y.npy.
    folder: str | None = None

    def check(self) -> None:
        require(self.folder is not None, "folder", self.folder, "a folder of .npy files")
        super().check()

    @property
    def _folder(self) -> Path:
        return user_path(str(self.folder)).absolute()

    def files(self) -> list[Path]:
        return list(npy.paths(self._folder).values())

    def load(self, downloads: Downloads) -> Raw:
        arrays = npy.arrays(self._folder)
        found = npz.raw(arrays, self._folder, self.task, self.classes, self.tokens)
        return replace(found, padding=self.padding)


SOURCES: dict[str, type[Source]] = {
    source.name: source
    for source in (
        Digits,
        BreastCancer,
        Diabetes,
        Mnist,
        FashionMnist,
        Cifar10,
        Cifar100,
        Imdb,
        Text,
        Synthetic,
        SyntheticTokens,
        PythonReference,
        PythonPackages,
        Npz,
        Npy,
        Images,
        Csv,
        Parquet,
    )
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

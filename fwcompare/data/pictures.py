"""Published sets of pictures: MNIST, CIFAR-10 and CIFAR-100, from a folder or fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fwcompare.data import archive, idx, published
from fwcompare.data.published import MIRRORS, Published
from fwcompare.data.raw import Raw, Split
from fwcompare.data.source import Source
from fwcompare.errors import RequestError
from fwcompare.limits import user_path

if TYPE_CHECKING:
    from fwcompare.data.download import Downloads


@dataclass(frozen=True)
class PublishedPictures(Source):
    """What these sets share."""

    #: Folder of the published files; None: fetched once into the cache.
    folder: str | None

    @property
    def _folder(self) -> Path | None:
        return None if self.folder is None else user_path(self.folder).absolute()


class Mnist(PublishedPictures):
    """70,000 handwritten digits, 28 by 28 pixels (LeCun, Cortes and Burges)."""

    name = "mnist"

    def files(self) -> list[Path]:
        if self._folder is None:
            return []
        return [file.find(self._folder) for pair in published.MNIST.values() for file in pair]

    def load(self, downloads: Downloads) -> Raw:
        parts = {}
        for part, pair in published.MNIST.items():
            pixels, labels = (
                idx.read(file.get(self._folder, MIRRORS[self.name], downloads / self.name))
                for file in pair
            )
            parts[part] = Split(pixels[..., np.newaxis], labels)
        return Raw(
            kind="classification",
            parts=parts,
            outputs=10,
            classes=tuple(str(digit) for digit in range(10)),
            pixel_range=(0.0, 255.0),
            source="LeCun, Cortes and Burges (1998), The MNIST database of handwritten digits",
            licence="CC BY-SA 3.0, as Keras states it",
        )


#: Bytes of a picture of CIFAR: 32 by 32 pixels, a plane a colour.
_PIXELS = (3, 32, 32)

#: What an archive of CIFAR holds, with much to spare.
_MOST_BYTES = 2**29


class Cifar(PublishedPictures):
    """What both sets of CIFAR share: the binary version, which needs no pickle.

    A record is its labels, a byte each, and then the pixels.
    """

    archive: ClassVar[Published]
    #: Files of each part.
    members: ClassVar[Mapping[str, Sequence[str]]]
    #: Labels of a record; the last one is taken.
    labels: ClassVar[int]
    #: The file with the names of the classes.
    names: ClassVar[str]
    licence: ClassVar[str] = "not stated by the authors"

    def files(self) -> list[Path]:
        if self._folder is None:
            return []
        if all((self._folder / name).is_file() for name in self._all_names()):
            return [self._folder / name for name in self._all_names()]
        if not (self._folder / self.archive.name).is_file():
            raise RequestError(
                f"There is no {self.archive.name} in {self._folder}, nor all that it holds.",
                f"dataset.params.folder must hold the archive, or {', '.join(self._all_names())}.",
            )
        return [self._folder / self.archive.name]

    def _all_names(self) -> list[str]:
        return [*(name for names in self.members.values() for name in names), self.names]

    def load(self, downloads: Downloads) -> Raw:
        found = self._contents(downloads)
        classes = tuple(found[self.names].decode("ascii", "replace").split())
        parts = {
            part: self._records([found[name] for name in names], names)
            for part, names in self.members.items()
        }
        return Raw(
            kind="classification",
            parts=parts,
            outputs=len(classes),
            classes=classes,
            pixel_range=(0.0, 255.0),
            source="Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images, "
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            licence=self.licence,
        )

    def _contents(self, downloads: Downloads) -> dict[str, bytes]:
        """The files by name: those of a folder as they are, or those of the verified archive."""
        wanted = self._all_names()
        given = self.files()
        if len(given) > 1:
            return {path.name: path.read_bytes() for path in given}
        path = self.archive.get(self._folder, MIRRORS[self.name], downloads / self.name)
        found = {
            PurePosixPath(name).name: content
            for name, content in archive.files(
                path, lambda name: PurePosixPath(name).name in wanted, _MOST_BYTES
            )
        }
        if absent := [name for name in wanted if name not in found]:
            raise RequestError(f"{path} holds no {absent[0]}.", "Fetch it again.")
        return found

    def _records(self, contents: Sequence[bytes], names: Sequence[str]) -> Split:
        width = self.labels + int(np.prod(_PIXELS))
        for name, content in zip(names, contents, strict=True):
            if not content or len(content) % width:
                raise RequestError(
                    f"{name} of {self.name} is cut off: {len(content):,} bytes are no multiple of "
                    f"{width:,}.",
                    "Fetch it again.",
                )
        rows = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, width)
        pixels = rows[:, self.labels :].reshape(-1, *_PIXELS).transpose(0, 2, 3, 1)
        return Split(pixels, rows[:, self.labels - 1])


class Cifar10(Cifar):
    """60,000 pictures of 32 by 32 pixels in colour, of 10 classes."""

    name = "cifar10"
    archive = published.CIFAR10
    members = {
        "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test": ("test_batch.bin",),
    }
    labels = 1
    names = "batches.meta.txt"


class Cifar100(Cifar):
    """60,000 pictures of 32 by 32 pixels in colour, of 100 classes: the fine labels."""

    name = "cifar100"
    archive = published.CIFAR100
    members = {"train": ("train.bin",), "test": ("test.bin",)}
    labels = 2
    names = "fine_label_names.txt"

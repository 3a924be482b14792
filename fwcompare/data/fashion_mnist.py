"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), from a local folder or fetched."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fwcompare.data import idx
from fwcompare.data.download import Downloads
from fwcompare.data.raw import Raw, Split
from fwcompare.errors import RequestError

MIRRORS = (
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)

#: Where Debian's package dataset-fashion-mnist puts the files.
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class IdxFile:
    """A published file: its name, and the shape and SHA-256 of what it holds, decompressed.

    The archive itself is not compared, since distributions compress it again.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    def read(self, path: Path) -> np.ndarray:
        """The array in ``path``. Raises ``RequestError`` unless it is exactly this file."""
        expected_bytes = 4 + 4 * len(self.shape) + int(np.prod(self.shape))
        data = idx.content(path, expected_bytes)
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise RequestError(
                f"{path} is not Fashion-MNIST's {self.name}: the SHA-256 of its content is "
                f"{found[:12]}…, not {self.sha256[:12]}….",
                "Fetch it again.",
            )
        return idx.parse(data, str(path))

    def find(self, folder: Path) -> Path:
        """The file in a folder, compressed or not. Raises ``RequestError`` if it is not there."""
        for path in (folder / f"{self.name}.gz", folder / self.name):
            if path.is_file():
                return path
        raise RequestError(
            f"There is no {self.name}.gz and no {self.name} in {folder}.",
            "dataset.params.folder must hold the four IDX files of Fashion-MNIST.",
        )


FILES = {
    part: tuple(IdxFile(*row) for row in rows)
    for part, rows in {
        "train": (
            (
                "train-images-idx3-ubyte",
                (60000, 28, 28),
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            ),
            (
                "train-labels-idx1-ubyte",
                (60000,),
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
        ),
        "test": (
            (
                "t10k-images-idx3-ubyte",
                (10000, 28, 28),
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            ),
            (
                "t10k-labels-idx1-ubyte",
                (10000,),
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    }.items()
}


def load(folder: Path | None, downloads: Downloads) -> Raw:
    """The dataset with its own test split.

    Without a ``folder`` the files are fetched, once.

    Raises:
        RequestError: a file is missing, cannot be fetched, or is not the published one.
    """
    parts = {}
    for part, (images, labels) in FILES.items():
        pixels, classes = (_read(file, folder, downloads) for file in (images, labels))
        parts[part] = Split(pixels[..., np.newaxis], classes)
    return Raw(
        kind="classification",
        parts=parts,
        outputs=len(CLASSES),
        classes=CLASSES,
        pixel_range=(0.0, 255.0),
        source="Xiao, Rasul and Vollgraf (2017), https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT, copyright 2017 Zalando SE",
    )


def _read(file: IdxFile, folder: Path | None, downloads: Downloads) -> np.ndarray:
    if folder is not None:
        return file.read(file.find(folder))
    name = f"{file.name}.gz"
    path = downloads.get(
        name,
        [mirror + name for mirror in MIRRORS],
        partial(_verify, file),
        "give dataset.params.folder=FOLDER with the four files; on Debian "
        f"`apt install dataset-fashion-mnist` puts them into {DEBIAN_FOLDER}",
    )
    return file.read(path)


def _verify(file: IdxFile, path: Path) -> None:
    file.read(path)

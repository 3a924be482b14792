"""Published files: where each is, how long it is, and the digest by which it is known.

Kept as data, so that a mirror or a digest is changed in one place. The digests are the SHA-256 of
the files as they are published, as TensorFlow Datasets and Keras list them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fwcompare.data.download import Downloads
from fwcompare.errors import RequestError


@dataclass(frozen=True)
class Published:
    """A file by its name, with its length and its SHA-256."""

    name: str
    bytes: int
    sha256: str

    def verify(self, path: Path) -> None:
        """Raise ``RequestError`` unless ``path`` is exactly this file."""
        try:
            found_bytes = path.stat().st_size
            if found_bytes != self.bytes:
                raise RequestError(
                    f"{path} is not the published {self.name}: it has {found_bytes:,} bytes, not "
                    f"{self.bytes:,}.",
                    "Fetch it again.",
                )
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RequestError(f"{path} cannot be read: {error.strerror}.") from error
        if found != self.sha256:
            raise RequestError(
                f"{path} is not the published {self.name}: its SHA-256 is {found[:12]}…, not "
                f"{self.sha256[:12]}….",
                "Fetch it again.",
            )

    def find(self, folder: Path) -> Path:
        """The file in a user's folder. Raises ``RequestError`` if it is not there."""
        path = folder / self.name
        if not path.is_file():
            raise RequestError(
                f"There is no {self.name} in {folder}.",
                f"dataset.params.folder must hold {self.name} as it is published.",
            )
        return path

    def get(self, folder: Path | None, mirrors: Sequence[str], downloads: Downloads) -> Path:
        """The verified file: from a user's folder, or fetched once.

        Raises:
            RequestError: it is missing, cannot be fetched, or is another file.
        """
        if folder is not None:
            path = self.find(folder)
            self.verify(path)
            return path
        return downloads.get(
            self.name,
            [mirror + self.name for mirror in mirrors],
            self.verify,
            f"give dataset.params.folder=FOLDER that holds {self.name}",
        )


#: Addresses of the folders that hold a dataset's files, the first to be asked first.
MIRRORS = {
    "mnist": (
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "cifar10": ("https://www.cs.toronto.edu/~kriz/",),
    "cifar100": ("https://www.cs.toronto.edu/~kriz/",),
    "imdb": ("https://ai.stanford.edu/~amaas/data/sentiment/",),
}

#: Images and labels of both parts.
MNIST = {
    "train": (
        Published(
            "train-images-idx3-ubyte.gz",
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Published(
            "train-labels-idx1-ubyte.gz",
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
    ),
    "test": (
        Published(
            "t10k-images-idx3-ubyte.gz",
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Published(
            "t10k-labels-idx1-ubyte.gz",
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
}

CIFAR10 = Published(
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)

CIFAR100 = Published(
    "cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)

IMDB = Published(
    "aclImdb_v1.tar.gz",
    84_125_825,
    "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
)

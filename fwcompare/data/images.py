"""A folder of images, one subfolder a class, decoded once to one size."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fwcompare.data.batches import SPLITS
from fwcompare.data.download import require_room
from fwcompare.data.raw import Raw, Split
from fwcompare.data.source import Unsplit, one_of, require
from fwcompare.errors import RequestError
from fwcompare.limits import user_path

if TYPE_CHECKING:
    from PIL import Image

    from fwcompare.data.download import Downloads

COLOURS = ("rgb", "grey")
RESIZES = ("stretch", "crop", "pad")
_SUFFIXES = (".png", ".jpg", ".jpeg")

#: Files by class.
Classes = Mapping[str, list[Path]]


@dataclass(frozen=True)
class Images(Unsplit):
    """PNG and JPEG files in a folder a class, or such folders in train, val and test."""

    name = "images"

    #: Folder of the class folders, or of train, val and test that hold such.
    folder: str | None
    #: [height, width] of every sample.
    size: tuple[int, int]
    #: rgb (3 channels), or grey (1).
    colour: str
    #: How an image of another shape gets there: stretch it, crop what is too long off both sides,
    #: or pad what is too short with black.
    resize: str

    def check(self) -> None:
        super().check()
        require(self.folder is not None, "folder", self.folder, "a folder of images")
        require(min(self.size) >= 1, "size", list(self.size), "two positive whole numbers")
        one_of("colour", self.colour, COLOURS)
        one_of("resize", self.resize, RESIZES)

    @property
    def _folder(self) -> Path:
        return user_path(str(self.folder)).absolute()

    def _parts(self) -> dict[str, Classes]:
        """Files of each class of each part that is there.

        Raises:
            RequestError: a folder is missing, or has no image.
        """
        if not self._folder.is_dir():
            raise RequestError(
                f"There is no folder {self._folder}.",
                "dataset.params.folder must hold a folder of images for each class.",
            )
        places = {part: self._folder / part for part in SPLITS if (self._folder / part).is_dir()}
        if "train" not in places:
            places = {"train": self._folder}
        parts = {part: _classes(place) for part, place in places.items()}
        known = parts["train"]
        if len(known) < 2:
            raise RequestError(
                f"{places['train']} has {_count(known)}; at least 2 are needed to tell apart.",
                "Put the images of each class into a folder of its own, named after the class.",
            )
        for part, classes in parts.items():
            if strange := sorted(set(classes) - set(known)):
                raise RequestError(
                    f"{places[part] / strange[0]} is a class that {places['train']} does not have."
                )
        return parts

    def files(self) -> list[Path]:
        parts = self._parts().values()
        return [path for classes in parts for paths in classes.values() for path in paths]

    def load(self, downloads: Downloads) -> Raw:
        found = self._parts()
        names = sorted(found["train"])
        parts = {}
        for part, classes in found.items():
            labelled = [
                (path, names.index(name)) for name in names for path in classes.get(name, [])
            ]
            pixels = self._pixels([path for path, _ in labelled], downloads.folder.parent)
            parts[part] = Split(pixels, np.array([label for _, label in labelled], np.int32))
        return Raw(
            kind="classification",
            parts=parts,
            outputs=len(names),
            classes=tuple(names),
            pixel_range=(0.0, 255.0),
            source=self._folder.name,
            licence="not stated",
        )

    def _pixels(self, paths: list[Path], scratch: Path) -> np.ndarray:
        """All images, (n, height, width, channels) in bytes, mapped from a file without a name.

        Decoded once, for they are looked at several times; the file goes with the array.

        Raises:
            RequestError: an image cannot be read, or the disk has no room.
        """
        channels = 3 if self.colour == "rgb" else 1
        shape = (len(paths), *self.size, channels)
        scratch.mkdir(parents=True, exist_ok=True)
        require_room(scratch, int(np.prod(shape, dtype=np.int64)), "Decoding the images")
        bad: list[tuple[Path, str]] = []
        with tempfile.TemporaryFile(dir=scratch) as file:
            for path in paths:
                try:
                    file.write(self._decoded(path).tobytes())
                except Exception as error:  # Pillow's decoders raise whatever they meet
                    bad.append((path, str(error) or type(error).__name__))
            if bad:
                path, reason = bad[0]
                raise RequestError(
                    f"{path} cannot be read as an image: {_reason(reason, path)}"
                    + (f" ({len(bad)} of {len(paths)} files cannot)." if len(bad) > 1 else "."),
                    "Remove it, or put a PNG or JPEG image in its place.",
                )
            file.flush()
            return np.memmap(file, np.uint8, "r", shape=shape)

    def _decoded(self, path: Path) -> np.ndarray:
        from PIL import Image, ImageOps

        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # sixteen bits a pixel
            image = image.point(lambda value: value / 256).convert("L")
        image = image.convert("RGB" if self.colour == "rgb" else "L")
        array = np.asarray(self._resized(image))
        return array.reshape(*self.size, -1)

    def _resized(self, image: Image.Image) -> Image.Image:
        """By Pillow's bilinear filter, which averages over what it shrinks."""
        from PIL import Image, ImageOps

        wanted = (self.size[1], self.size[0])
        if image.size == wanted:
            return image
        method = Image.Resampling.BILINEAR
        if self.resize == "stretch":
            return image.resize(wanted, method)
        if self.resize == "crop":
            return ImageOps.fit(image, wanted, method)
        return ImageOps.pad(image, wanted, method, color=0)


def _classes(folder: Path) -> Classes:
    """Images by class folder. Raises ``RequestError`` if one has none."""
    found: dict[str, list[Path]] = {}
    for place in sorted(folder.iterdir()):
        if not place.is_dir() or place.name.startswith("."):
            continue
        found[place.name] = sorted(
            path
            for path in place.iterdir()
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
        )
        if not found[place.name]:
            raise RequestError(
                f"The class folder {place} holds no image.",
                "Remove it, or put PNG or JPEG images there (.png, .jpg, .jpeg).",
            )
    return found


def _count(classes: Any) -> str:
    return f"one class ('{next(iter(classes))}')" if classes else "no class folder"


def _reason(reason: str, path: Path) -> str:
    """Pillow's words, without the path that stands before them already."""
    return reason.replace(f" {str(path)!r}", "").rstrip(".")

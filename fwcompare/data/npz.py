"""A user's own arrays, from one ``.npz`` file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from fwcompare.data.batches import SPLITS
from fwcompare.data.raw import Raw, Split
from fwcompare.errors import RequestError, choices

_LAYOUT = "Give x and y, or x_train and y_train with or without those of _val and _test."


def load(path: Path, kind: str, classes: int | None, tokens: int | None = None) -> Raw:
    """The arrays ``x`` and ``y``, or ``x_train``, ``y_train`` and what there is of val and test.

    Pictures of bytes, (n, height, width, channels), have pixels from 0 to 255. With ``tokens``, the
    inputs are ids from 0 to ``tokens - 1``, (n, steps).

    Raises:
        RequestError: the file is no ``.npz`` file, or its arrays are not these.
    """
    return raw(_arrays(path), path, kind, classes, tokens)


def raw(
    arrays: dict[str, np.ndarray], path: Path, kind: str, classes: int | None, tokens: int | None
) -> Raw:
    """The same for arrays by name, which come from ``path``."""
    whole = bool({"x", "y"} & set(arrays))
    names = (
        {"train": ("x", "y")} if whole else {part: (f"x_{part}", f"y_{part}") for part in SPLITS}
    )
    known = {name for pair in names.values() for name in pair}
    for name in arrays:
        if name not in known:
            raise RequestError(
                f"{path} holds an array '{name}', which is none of {choices(known)}.", _LAYOUT
            )
    parts = {}
    for part, pair in names.items():
        absent = [name for name in pair if name not in arrays]
        if part != "train" and len(absent) == len(pair):
            continue
        if absent:
            raise RequestError(
                f"{path} holds no array '{absent[0]}'; it holds {choices(arrays)}.", _LAYOUT
            )
        parts[part] = Split(*(arrays[name] for name in pair))
    inputs = parts["train"].inputs
    return Raw(
        kind=kind,
        parts=parts,
        outputs=classes if kind == "classification" else None,
        pixel_range=(0.0, 255.0) if inputs.dtype == np.uint8 and inputs.ndim == 4 else None,
        tokens=tokens,
        source=path.name,
        licence="not stated",
    )


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise RequestError(f"{path} is no .npz file, or a broken one.", "np.savez writes them.")
    arrays = {}
    name = ""
    _require_room(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                arrays[name] = np.asarray(file[name])
    except (
        OSError, ValueError, EOFError, MemoryError, NotImplementedError, RuntimeError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise RequestError(
            f"{path}: the array '{name}' cannot be read: {error}",
            "The arrays must be plain numbers, their rows of one length; objects are not loaded.",
        ) from error
    return arrays


def _require_room(path: Path) -> None:
    """Refuse an archive that is small on disk and too large for this machine's memory."""
    import psutil

    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RequestError(f"{path} cannot be read: {error}") from error
    free = psutil.virtual_memory().available
    if unpacked > free:
        raise RequestError(
            f"{path} unpacks to {unpacked / 1e9:.1f} GB; {free / 1e9:.1f} GB of memory are free.",
            "Give fewer samples, or a smaller type such as float32 or uint8.",
        )

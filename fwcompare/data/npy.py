"""A user's own arrays as ``.npy`` files in a folder, mapped rather than read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fwcompare.data.batches import SPLITS
from fwcompare.errors import RequestError

#: Names that the arrays may have, as in an ``.npz`` file.
NAMES = ("x", "y", *(f"{letter}_{part}" for part in SPLITS for letter in "xy"))


def paths(folder: Path) -> dict[str, Path]:
    """The files that are there, by the name of their array.

    Raises:
        RequestError: there is no such folder, or none of them in it.
    """
    found = {name: folder / f"{name}.npy" for name in NAMES if (folder / f"{name}.npy").is_file()}
    if not found:
        raise RequestError(
            f"There is no x.npy or x_train.npy in {folder}."
            if folder.is_dir()
            else f"There is no folder {folder}.",
            "dataset.params.folder must hold x.npy and y.npy, as np.save writes them, or "
            "x_train.npy and y_train.npy with or without those of _val and _test.",
        )
    return found


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays by name, mapped from their files. Raises ``RequestError`` if one is none."""
    found = {}
    for name, path in paths(folder).items():
        try:
            found[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RequestError(
                f"{path} cannot be read: {error}",
                "The arrays must be plain numbers; objects are not loaded.",
            ) from error
        if not found[name].flags.c_contiguous:
            raise RequestError(
                f"{path} is stored by columns (Fortran's order); a sample would be all over the "
                "file.",
                "Write it again: np.save(path, np.ascontiguousarray(array)).",
            )
    return found

"""A prepared dataset on disk, written whole or not at all."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare.data.batches import SPLITS, DataFolder
from fwcompare.data.download import require_room
from fwcompare.data.raw import Split
from fwcompare.record import write_json

#: Raised with every change to what is written, so that an old folder is not taken for a new one.
FORMAT_VERSION = 3


@dataclass(frozen=True)
class Pieces:
    """An array that comes in portions along its first axis and never lies in memory whole."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    portions: Iterable[np.ndarray]


def write_folder(folder: Path, splits: Mapping[str, Split], meta: Mapping[str, Any]) -> DataFolder:
    """Write the arrays of each split (NumPy's, or ``Pieces``), with the digest of their bytes.

    Raises:
        RequestError: the disk has no room for them.
        OSError: the disk is full or cannot be written; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    arrays = [array for name in SPLITS for array in splits[name]]
    need = sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays)
    require_room(folder.parent, need, "The prepared dataset")
    part = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    state = hashlib.sha256()
    try:
        for name in SPLITS:
            for suffix, array in zip("xy", splits[name], strict=True):
                if not isinstance(array, Pieces):
                    array = Pieces(array.shape, array.dtype, [array])
                state.update(f"{name}{suffix}{array.dtype.str}{array.shape}".encode())
                _write_array(part / f"{name}_{suffix}.npy", array, state.update)
        write_json(
            part / "meta.json",
            {
                **meta,
                "format_version": FORMAT_VERSION,
                "input_shape": list(splits["train"].inputs.shape[1:]),
                "sizes": {name: splits[name].inputs.shape[0] for name in SPLITS},
                "digest": state.hexdigest(),
            },
        )
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            if not (folder / "meta.json").is_file():
                raise
            shutil.rmtree(part)  # another process was first, with the same content
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return DataFolder.open(folder)


def _write_array(path: Path, array: Pieces, tell: Callable[[bytes], object]) -> None:
    """Write an ``.npy`` file in portions, telling of their bytes.

    An ordinary file rather than a mapped one: writing to a mapped file on a full disk ends the
    process with SIGBUS.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        )
        for portion in array.portions:
            data = np.ascontiguousarray(portion, array.dtype).tobytes()
            file.write(data)
            tell(data)


def read_folder(folder: Path) -> DataFolder | None:
    """A dataset prepared before, or None where there is none that is whole and of this format."""
    try:
        found = DataFolder.open(folder)
        usable = found.meta["format_version"] == FORMAT_VERSION and all(
            # Mapping reads the header alone, and refuses a file that is shorter than it says.
            len(np.load(folder / f"{name}_{suffix}.npy", mmap_mode="r", allow_pickle=False))
            == found.size(name)
            for name in SPLITS
            for suffix in "xy"
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return found if usable else None

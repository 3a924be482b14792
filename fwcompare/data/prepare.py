"""In the parent: raw arrays to a checked, split, normalised dataset on disk, made once."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fwcompare.data.batches import SPLITS, DataFolder
from fwcompare.record import write_json

#: Raised with every change to what ``prepare`` writes, so that an old folder is not taken for new.
FORMAT_VERSION = 1


class Split(NamedTuple):
    """Inputs (n, *shape) and targets of one split."""

    inputs: np.ndarray
    targets: np.ndarray


def write_folder(folder: Path, splits: Mapping[str, Split], meta: Mapping[str, Any]) -> DataFolder:
    """Write a prepared dataset, whole or not at all, with the digest of its bytes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    state = hashlib.sha256()
    try:
        for name in SPLITS:
            for suffix, array in zip("xy", splits[name], strict=True):
                array = np.ascontiguousarray(array)
                state.update(f"{name}{suffix}{array.dtype.str}{array.shape}".encode())
                state.update(array.data)
                np.save(part / f"{name}_{suffix}.npy", array, allow_pickle=False)
        write_json(
            part / "meta.json",
            {
                **meta,
                "format_version": FORMAT_VERSION,
                "input_shape": list(splits["train"].inputs.shape[1:]),
                "sizes": {name: len(splits[name].inputs) for name in SPLITS},
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

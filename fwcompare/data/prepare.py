"""In the parent: raw arrays to a checked, split, normalised dataset on disk, made once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fwcompare.data.batches import SPLITS, DataFolder, permutation
from fwcompare.data.checks import checked
from fwcompare.data.download import Downloads, require_room
from fwcompare.data.folder import FORMAT_VERSION, Pieces, read_folder, write_folder
from fwcompare.data.raw import Raw, Rows, Split, portions
from fwcompare.data.scale import IDENTITY, Scale, input_scale, target_scale
from fwcompare.data.source import Source
from fwcompare.data.sources import source
from fwcompare.errors import RequestError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["FORMAT_VERSION", "Split", "prepare", "write_folder"]


def prepare(
    name: str,
    params: Mapping[str, Any],
    seed: int,
    cache_dir: Path,
    progress: Console | None = None,
    offline: bool = False,
) -> DataFolder:
    """The dataset ``name`` as a folder of arrays, from the cache where it was made before.

    ``seed`` decides the split unless ``params["split_seed"]`` does. Several processes may ask at
    once: one makes the folder while the others wait for it. ``progress`` is where a download shows
    its bar, standard error by default; ``offline`` allows none.

    Raises:
        RequestError: an option, a file or a value is wrong, a file cannot be fetched, or the cache
            cannot be written; nothing half-made is left behind.
    """
    made = source(name, params)
    if made.split_seed is None:
        made = replace(made, split_seed=seed)
    root = cache_dir / "datasets"
    folder = root / f"{name}-{_key(made)}"
    if found := read_folder(folder):
        return found
    try:
        with _alone(root / f"{name}.lock"):
            if found := read_folder(folder):
                return found
            for stale in (folder, *root.glob(f"{folder.name}.*")):
                shutil.rmtree(stale, ignore_errors=True)  # left by a process that was killed
            raw = made.load(Downloads(root / "downloads", offline, progress))
            require_room(root, _bytes(raw), f"The dataset '{name}'")  # before a look at each sample
            return _write(folder, made, checked(raw, name))
    except MemoryError as error:
        raise RequestError(
            f"The dataset '{name}' cannot be prepared: there is not enough memory.",
            f"{error}. Take fewer samples, or smaller ones.",
        ) from error
    except OSError as error:
        raise RequestError(
            f"The dataset '{name}' cannot be prepared in {root}: {error.strerror or error}.",
            "Make room there, or choose another folder with paths.cache=FOLDER.",
        ) from error


def _bytes(raw: Raw) -> int:
    """How much the prepared folder will hold."""
    rows = (array for part in raw.parts.values() for array in part)
    return min(sum(4 * int(math.prod(array.shape)) for array in rows), 2**100)  # no disk holds that


def _key(made: Source) -> str:
    """Sixteen hexadecimal digits of all that decides what the folder holds."""
    files = [
        [str(path), (status := path.stat()).st_size, status.st_mtime_ns] for path in made.files()
    ]
    text = json.dumps([made.name, asdict(made), FORMAT_VERSION, files], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in here; the system frees the lock of one that died."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write(folder: Path, made: Source, raw: Raw) -> DataFolder:
    parts = _split(made, raw)
    train, train_ids = parts["train"]
    inputs = IDENTITY
    if raw.tokens is None:
        chosen = (made.mean, made.deviation) if made.mean and made.deviation else None
        inputs = input_scale(made.normalize, train.inputs, train_ids, raw.pixel_range, chosen)
    targets = IDENTITY
    if raw.kind == "regression":
        targets = target_scale(train.targets, train_ids)

    def whole(values: np.ndarray) -> np.ndarray:
        return values.astype(np.int32)

    def labels(values: np.ndarray) -> np.ndarray:
        return whole(values.reshape(-1))

    def given_labels(given: np.ndarray) -> np.ndarray:
        return given.astype(np.float32)

    def values(given: np.ndarray) -> np.ndarray:
        return _finite(targets(given.reshape(len(given), -1)), made)

    splits = {}
    for name in SPLITS:
        rows, ids = parts[name]
        shape = rows.inputs.shape[1:]
        if raw.tokens is None:
            given = _pieces(rows.inputs, ids, lambda given: _finite(inputs(given), made))
        else:
            given = _pieces(rows.inputs, ids, whole)
        if raw.kind == "language_modelling":
            following = _pieces(rows.targets, ids, whole)
            answers = Pieces((len(ids), *shape), np.dtype(np.int32), following)
        elif raw.kind == "classification":
            answers = Pieces((len(ids),), np.dtype(np.int32), _pieces(rows.targets, ids, labels))
        else:
            numbers = given_labels if raw.kind == "multi_label" else values
            answers = Pieces(
                (len(ids), int(raw.outputs or 1)),
                np.dtype(np.float32),
                _pieces(rows.targets, ids, numbers),
            )
        stored = np.dtype(np.float32 if raw.tokens is None else np.int32)
        splits[name] = Split(Pieces((len(ids), *shape), stored, given), answers)
    return write_folder(
        folder,
        splits,
        {
            "name": made.name,
            "params": asdict(made),
            "kind": raw.kind,
            "outputs": raw.outputs,
            "tokens": raw.tokens,
            "padding": raw.padding,
            "tokenizer": raw.tokenizer,
            "classes": raw.classes,
            "features": raw.features,
            "source": raw.source,
            "licence": raw.licence,
            "black": _black(inputs, train.inputs.shape[1:], raw),
            "target_mean": float(targets.shift),
            "target_scale": float(targets.factor),
        },
    )


def _black(inputs: Scale, shape: tuple[int, ...], raw: Raw) -> list[float] | None:
    """The darkest pixel, normalised, channel by channel; None where samples are no images."""
    if raw.tokens is not None or len(shape) != 3:
        return None
    darkest = 0.0 if raw.pixel_range is None else raw.pixel_range[0]
    return [float(value) for value in inputs(np.full(shape[-1], darkest))]


def _split(made: Source, raw: Raw) -> dict[str, tuple[Split, np.ndarray]]:
    """For each split the arrays that it comes from, and which of their samples belong to it.

    Raises:
        RequestError: a split has no sample.
    """
    whole = raw.parts["train"]
    order = permutation(whole.inputs.shape[0], int(made.split_seed or 0), "split")
    found: dict[str, tuple[Split, np.ndarray]] = {}
    taken = 0
    for name, fraction in (
        ("test", getattr(made, "test_fraction", 0.0)),
        ("val", made.val_fraction),
    ):
        if part := raw.parts.get(name):
            found[name] = (part, np.arange(part.inputs.shape[0]))
            continue
        count = round(fraction * len(order))
        if fraction and not count:
            raise RequestError(
                f"dataset.params.{name}_fraction={fraction:g} of {len(order)} samples "
                f"leaves the {name} split empty."
            )
        found[name] = (whole, order[taken : taken + count])
        taken += count
    if taken >= len(order):
        raise RequestError(f"Of {len(order)} samples none is left to train on.")
    found["train"] = (whole, order[taken:])
    return found


def _pieces(
    rows: Rows, ids: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    return (change(portion) for _, portion in portions(rows, ids))


def _finite(values: np.ndarray, made: Source) -> np.ndarray:
    if not np.isfinite(values).all():
        raise RequestError(
            f"Dataset '{made.name}' holds values that are too large for float32.",
            "Scale them, or choose dataset.params.normalize=standard.",
        )
    return values

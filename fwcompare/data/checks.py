"""What can be wrong with raw arrays, said before any of them is used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fwcompare.data.raw import Raw, Rows, portions
from fwcompare.errors import RequestError


def checked(raw: Raw, dataset: str) -> Raw:
    """The same data with the number of outputs settled.

    Raises:
        RequestError: naming the part, the number of bad values and the first bad sample.
    """
    for part, (inputs, targets) in raw.parts.items():
        where = f"Dataset '{dataset}', {part} part"
        _numeric(inputs, f"{where}: the inputs")
        _numeric(targets, f"{where}: the targets")
        if len(inputs.shape) < 2 or 0 in inputs.shape[1:]:
            raise RequestError(
                f"{where}: the inputs have shape {list(inputs.shape)}.",
                "Give an array (samples, features) or (samples, height, width, channels).",
            )
        if inputs.shape[0] != targets.shape[0]:
            raise RequestError(
                f"{where}: {inputs.shape[0]} inputs, but {targets.shape[0]} targets."
            )
        if not inputs.shape[0]:
            raise RequestError(f"{where}: it holds no sample.")
        _finite(inputs, f"{where}: the inputs")
        _finite(targets, f"{where}: the targets")
    _same_shapes(raw, dataset)
    if raw.kind == "classification":
        return replace(raw, outputs=_classes(raw, dataset))
    return replace(raw, outputs=_values(raw, dataset))


def _numeric(rows: Rows, what: str) -> None:
    if rows.dtype.kind not in "biuf":
        raise RequestError(f"{what} are of type {rows.dtype}, not numbers.")


def _finite(rows: Rows, what: str) -> None:
    if rows.dtype.kind != "f":
        return
    bad, first = 0, -1
    for start, portion in portions(rows):
        finite = np.isfinite(portion.reshape(len(portion), -1))
        if first < 0 and not finite.all():
            first = start + int(np.argmin(finite.all(axis=1)))
        bad += int(np.count_nonzero(~finite))
    if bad:
        raise RequestError(
            f"{what} hold {bad} NaN or infinite value{'s' * (bad > 1)}, "
            f"the first in sample {first}.",
            "Remove these samples, or fill the values in.",
        )


def _same_shapes(raw: Raw, dataset: str) -> None:
    shapes = {part: list(inputs.shape[1:]) for part, (inputs, _) in raw.parts.items()}
    if any(shape != shapes["train"] for shape in shapes.values()):
        shown = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        raise RequestError(f"Dataset '{dataset}': the samples differ in shape: {shown}.")


def _values(raw: Raw, dataset: str) -> int:
    """Numbers to predict for each sample."""
    widths = set()
    for part, (_, targets) in raw.parts.items():
        if len(targets.shape) > 2 or 0 in targets.shape[1:]:
            raise RequestError(
                f"Dataset '{dataset}', {part} part: the targets have shape {list(targets.shape)}, "
                "not (samples,) or (samples, outputs)."
            )
        widths.add(1 if len(targets.shape) == 1 else int(targets.shape[1]))
    if len(widths) > 1:
        raise RequestError(f"Dataset '{dataset}': the parts differ in the number of targets.")
    return widths.pop()


def _classes(raw: Raw, dataset: str) -> int:
    """The number of classes, after a look at every label."""
    present: set[int] = set()
    for part, (_, targets) in raw.parts.items():
        where = f"Dataset '{dataset}', {part} part"
        if len(targets.shape) != 1 and tuple(targets.shape[1:]) != (1,):
            raise RequestError(
                f"{where}: the labels have shape {list(targets.shape)}, not one label a sample.",
                "Give the class numbers themselves, not one column a class.",
            )
        for start, portion in portions(targets):
            _labels(portion.reshape(-1), start, raw.outputs, where)
            present.update(np.unique(portion).astype(np.int64).tolist())
    classes = raw.outputs if raw.outputs is not None else max(present) + 1
    if len(present) < 2 or classes < 2:
        raise RequestError(
            f"Dataset '{dataset}' has fewer than 2 classes: every label is {min(present)}."
        )
    if raw.outputs is None and len(present) < classes:
        gap = next(label for label in range(classes) if label not in present)
        raise RequestError(
            f"Dataset '{dataset}': the largest label is {classes - 1}, "
            f"but no sample has the label {gap}.",
            "Number the classes from 0 without gaps, or give dataset.params.classes.",
        )
    return classes


def _labels(labels: np.ndarray, start: int, classes: int | None, where: str) -> None:
    fractional = labels != np.floor(labels) if labels.dtype.kind == "f" else labels != labels
    if fractional.any():
        first = int(np.argmax(fractional))
        raise RequestError(
            f"{where}: labels must be whole numbers, sample {start + first} has {labels[first]}.",
            "For values to predict, choose task=regression.",
        )
    most = np.iinfo(np.int32).max if classes is None else classes - 1
    outside = (labels < 0) | (labels > most)
    if outside.any():
        first = int(np.argmax(outside))
        raise RequestError(
            f"{where}: labels must be from 0 to {most}, "
            f"sample {start + first} has {labels[first]:g}."
        )

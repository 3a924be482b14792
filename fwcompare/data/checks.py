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
    if raw.tokens is not None:
        for part, split in raw.parts.items():
            _token_ids(split.inputs, raw.tokens, f"Dataset '{dataset}', {part} part: the inputs")
    if raw.padding is not None:
        for part, split in raw.parts.items():
            _padding(split.inputs, raw.padding, f"Dataset '{dataset}', {part} part")
    if raw.kind == "language_modelling":
        return replace(raw, outputs=_next_tokens(raw, dataset))
    if raw.kind == "classification":
        return replace(raw, outputs=_classes(raw, dataset))
    if raw.kind == "multi_label":
        return replace(raw, outputs=_columns_of_labels(raw, dataset))
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


def _token_ids(rows: Rows, tokens: int, what: str) -> None:
    """A framework may take an id that is out of range for another one, and say nothing."""
    if rows.dtype.kind not in "iu":
        raise RequestError(
            f"{what} are of type {rows.dtype}, token ids are whole numbers.",
            "Give them as an integer array (samples, steps).",
        )
    if len(rows.shape) != 2:
        raise RequestError(
            f"{what} have shape {list(rows.shape)}, token ids are (samples, steps).",
            "Cut or fill the rows to one length.",
        )
    for start, portion in portions(rows):
        outside = (portion < 0) | (portion >= tokens)
        if outside.any():
            sample, step = np.argwhere(outside)[0]
            raise RequestError(
                f"{what} hold {int(np.count_nonzero(outside))} token ids outside 0 to "
                f"{tokens - 1}, the first, {portion[sample, step]}, in sample {start + sample} at "
                f"step {step}.",
                "Raise the number of tokens, or map rare tokens to one id.",
            )


def _padding(rows: Rows, padding: int, where: str) -> None:
    """Padding stands behind a sample's tokens, of which there is one at least: attention with
    nothing to look at is no number, and a recurrent layer ends at the last token."""
    empty: list[int] = []
    early: list[int] = []
    for start, portion in portions(rows):
        real = portion != padding
        before_real = (~real[:, :-1] & real[:, 1:]).any(axis=1)
        empty += (start + np.flatnonzero(~real.any(axis=1))).tolist()
        early += (start + np.flatnonzero(before_real)).tolist()
    if empty:
        raise RequestError(
            f"{where}: sample {empty[0]} holds no token but padding ({padding}), {_such(empty)}.",
            "Leave such samples out.",
        )
    if early:
        raise RequestError(
            f"{where}: sample {early[0]} has padding ({padding}) before a token, {_such(early)}.",
            "Fill samples up behind their last token, with an id that no token has.",
        )


def _such(samples: list[int]) -> str:
    return "the only one" if len(samples) == 1 else f"the first of {len(samples)}"


def _next_tokens(raw: Raw, dataset: str) -> int:
    """The number of token ids, one of which follows each step."""
    if raw.tokens is None:
        raise RequestError(f"Dataset '{dataset}': language modelling needs token ids as inputs.")
    for part, (inputs, targets) in raw.parts.items():
        if targets.shape != inputs.shape:
            raise RequestError(
                f"Dataset '{dataset}', {part} part: the targets have shape {list(targets.shape)}, "
                f"not a next token for each of {list(inputs.shape)}."
            )
        _token_ids(targets, raw.tokens, f"Dataset '{dataset}', {part} part: the targets")
    return raw.tokens


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


def _columns_of_labels(raw: Raw, dataset: str) -> int:
    """The number of labels of which a sample has any number, after a look at every one."""
    found = np.zeros(0, bool)
    for part, (_, targets) in raw.parts.items():
        where = f"Dataset '{dataset}', {part} part"
        if len(targets.shape) != 2 or targets.shape[1] < 2:
            raise RequestError(
                f"{where}: the targets have shape {list(targets.shape)}, not a column for each of "
                "2 or more labels.",
                "Give an array (samples, labels) of 0 and 1; for one class a sample, choose "
                "task=classification.",
            )
        if len(found) not in (0, targets.shape[1]):
            raise RequestError(f"Dataset '{dataset}': the parts differ in the number of labels.")
        found = found if len(found) else np.zeros(targets.shape[1], bool)
        for start, portion in portions(targets):
            odd = (portion != 0) & (portion != 1)
            if odd.any():
                sample, label = np.argwhere(odd)[0]
                raise RequestError(
                    f"{where}: sample {start + sample} has {portion[sample, label]:g} for label "
                    f"{label}; 1 says that it has the label, 0 that it has not."
                )
            found |= portion.astype(bool).any(axis=0)
    if not found.all():
        absent = np.flatnonzero(~found)
        names = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        raise RequestError(
            f"Dataset '{dataset}': no sample has label{'s' * (len(absent) > 1)} {names} of "
            f"0 to {len(found) - 1}.",
            "Leave these columns out: nothing can be learned of them.",
        )
    return len(found)


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

"""A dataset before it is split and normalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

#: Samples are read and written in portions of about this size, as float64. It fits into the cache
#: of a core: made-up samples take less than half the time of portions of 1 MiB.
PORTION_BYTES = 512 * 1024


class Rows(Protocol):
    """Samples by number: a NumPy array, or anything that makes them when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, ids: np.ndarray, /) -> np.ndarray: ...


class Split(NamedTuple):
    """Inputs (n, *shape) and targets of one split."""

    inputs: Any
    targets: Any


@dataclass(frozen=True)
class Raw:
    """What a source gives.

    ``parts`` holds ``train`` and, where the dataset comes with splits of its own, ``val`` and
    ``test``; what is missing is split off ``train``.
    """

    kind: str
    parts: Mapping[str, Split]
    #: Classes, or numbers to predict; None where the labels or the tokens tell.
    outputs: int | None
    source: str
    licence: str
    #: Names of the classes, where they have any.
    classes: tuple[str, ...] | None = None
    #: Names of the numbers of a sample, where it comes from a table.
    features: tuple[str, ...] | None = None
    #: Darkest and brightest value that a pixel can have, where the inputs are images.
    pixel_range: tuple[float, float] | None = None
    #: How many token ids there are, from 0; None where the inputs are numbers.
    tokens: int | None = None
    #: The token id with which samples are filled up behind their last token; None: none are.
    padding: int | None = None
    #: What turns ids back into text, JSON-able; None where nothing does.
    tokenizer: Mapping[str, Any] | None = None


def portions(rows: Rows, ids: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """The samples ``ids`` (all of them by default) in order, with the position of each portion."""
    count = rows.shape[0] if ids is None else len(ids)
    sample_bytes = 8 * int(np.prod(rows.shape[1:], dtype=np.int64))
    step = max(PORTION_BYTES // max(sample_bytes, 1), 1)
    for start in range(0, count, step):
        stop = min(start + step, count)
        yield start, rows[np.arange(start, stop) if ids is None else ids[start:stop]]

"""What convolution and pooling share: windows that move over one or two axes of a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fwcompare.graph.kinds import Kind, Misfit, Shape, positive

#: The axes that windows move over, by their number, and what a sample then is.
_AXES = {1: ("steps",), 2: ("height", "width")}
_SAMPLES = {
    1: "a sequence input (steps, features)",
    2: "an image input (height, width, channels)",
}


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Cells of padding (before, after) so that the output has ceil(size / stride) cells.

    The odd cell goes after, as in TensorFlow's SAME; with an even size and stride 2 the two sides
    differ, which is where a symmetric ``padding=k//2`` computes something else. ``window`` is the
    ``extent`` where it is dilated.
    """
    total = max((math.ceil(size / stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def padding_sides(
    padding: str, sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Cells of padding (before, after) of each axis: none for ``valid``, all before for ``causal``.

    ``windows`` are extents where they are dilated.
    """
    if padding == "valid":
        return tuple((0, 0) for _ in windows)
    if padding == "causal":
        return tuple((window - 1, 0) for window in windows)
    return tuple(same_padding(*axis) for axis in zip(sizes, windows, strides, strict=True))


def extent(window: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Cells from the first to the last that a dilated window touches, of each axis."""
    return tuple((size - 1) * step + 1 for size, step in zip(window, dilation, strict=True))


def window_outputs(
    shape: Shape, windows: Sequence[int], strides: Sequence[int], padding: str
) -> Shape:
    """Cells of the output on each axis. Raises ``Misfit`` where a window does not fit in."""
    rank = len(windows)
    sizes = spatial(shape, rank)
    if padding in ("same", "causal"):
        return tuple(math.ceil(size / stride) for size, stride in zip(sizes, strides, strict=True))
    for axis, size, window in zip(_AXES[rank], sizes, windows, strict=True):
        if window > size:
            raise Misfit(f"a window of {window} does not fit into {axis} {size} with padding=valid")
    return tuple(
        (size - window) // stride + 1
        for size, window, stride in zip(sizes, windows, strides, strict=True)
    )


def spatial(shape: Shape, rank: int) -> Shape:
    """The axes that windows move over. Raises ``Misfit`` for a sample of another number of axes."""
    if len(shape) != rank + 1:
        raise Misfit(f"needs {_SAMPLES[rank]}, got {list(shape)}")
    return shape[:-1]


@dataclass(frozen=True)
class Windowed(Kind):
    """Base of the kinds whose windows move over ``rank`` axes in front of the channels."""

    rank: ClassVar[int]
    #: The paddings that it knows.
    paddings: ClassVar[tuple[str, ...]] = ("same", "valid")

    def check_window(self, padding: str, *numbers: int) -> None:
        """Raise ``Misfit`` unless the padding is known and every number is at least 1."""
        for number in numbers:
            positive(number, "window, stride and dilation")
        if padding not in self.paddings:
            *first, last = self.paddings
            raise Misfit(f"padding must be {', '.join(first)} or {last}, got '{padding}'")

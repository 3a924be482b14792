"""A factor for a whole sample, or one that is learned for each channel."""

from __future__ import annotations

from typing import Any

from keras import layers


class Scale(layers.Layer):
    """``x * factor`` or ``x * factor * gamma``; ``Rescaling`` has no learned factor."""

    gamma: Any = None

    def __init__(self, factor: float, learned: bool) -> None:
        super().__init__()
        self.factor, self.learned = factor, learned

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.learned:
            self.gamma = self.add_weight(name="gamma", shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs: Any) -> Any:
        scaled = inputs * self.factor
        return scaled * self.gamma if self.learned else scaled

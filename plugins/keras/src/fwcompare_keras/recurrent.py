"""Recurrent layers by Keras's own, with the biases that the contract knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from fwcompare.graph import Layer


class GruCell(layers.GRUCell):
    """Keras's cell with the one recurrent bias that acts by itself: that of the candidate.

    Keras has one in each gate, and a sum of two that are trained would move twice as fast. What its
    loops read as ``bias`` is joined from the two tensors that the contract knows.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        layers.Layer.build(self, input_shape)
        wide = 3 * self.units
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], wide), initializer=self.kernel_initializer
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.units, wide),
            initializer=self.recurrent_initializer,
        )
        self.input_bias = self.add_weight(
            name="input_bias", shape=(wide,), initializer=self.bias_initializer
        )
        self.recurrent_bias = self.add_weight(
            name="recurrent_bias", shape=(self.units,), initializer=self.bias_initializer
        )

    #: Both biases of all gates while a loop runs: joined once, and not at each step.
    _joined: Any = None

    @property
    def bias(self) -> Any:
        """Both biases of all gates, (2, 3 * units), as Keras keeps them."""
        if self._joined is not None:
            return self._joined
        absent = ops.zeros((2 * self.units,), dtype=self.compute_dtype)
        recurrent = ops.concatenate([absent, self.recurrent_bias.value])
        return ops.stack([self.input_bias.value, recurrent])

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Join the biases for one loop over the steps."""
        self._joined = self.bias
        try:
            yield
        finally:
            self._joined = None


@keras.saving.register_keras_serializable("fwcompare")
class Gru(layers.GRU):
    """Keras's layer with the cell above; registered, for ``Bidirectional`` makes copies of it."""

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(units, **options)
        made = self.cell
        self.cell = GruCell.from_config(made.get_config())
        self._layers.remove(made)

    def inner_loop(self, *arguments: Any, **options: Any) -> Any:
        with self.cell.joined():
            return super().inner_loop(*arguments, **options)


#: Canonical tensors that a cell has under another name.
_ATTRIBUTES = {"gru": {"bias": "input_bias"}}


def _use_cudnn() -> bool | str:
    """Whether Keras may take NVIDIA's kernels on a GPU; ``auto`` is its own choice.

    On JAX they are not there in float64, which it finds out only when it compiles.
    """
    exact = keras.config.floatx() == "float64"
    return False if keras.config.backend() == "jax" and exact else "auto"


class Recurrent:
    """A stack of recurrent layers, called one after another."""

    #: Keras's layers by kind.
    natives: ClassVar[dict[str, Any]] = {"lstm": layers.LSTM, "gru": Gru}

    def __init__(self, layer: Layer) -> None:
        self.kind: Any = layer.kind
        self.layers = [self._layer(position) for position in range(self.kind.layers)]

    def _layer(self, position: int) -> keras.layers.Layer:
        last = position == self.kind.layers - 1
        made = self.natives[self.kind.kind](
            self.kind.units,
            return_sequences=not last or self.kind.returns == "all",
            use_cudnn=_use_cudnn(),
        )
        return layers.Bidirectional(made) if self.kind.bidirectional else made

    def __call__(self, inputs: Any) -> Any:
        outputs, mask = inputs if self.kind.mask else (inputs, None)
        for layer in self.layers:
            outputs = layer(outputs, mask=mask)
        if mask is None or self.kind.returns == "last":
            return outputs
        # At a step that does not count, Keras repeats the output of the one before.
        return outputs * ops.cast(ops.expand_dims(mask, -1), outputs.dtype)

    def variable(self, name: str) -> Any:
        """A variable by a name such as ``1/backward/kernel``."""
        *way, tensor = name.split("/")
        layer: Any = self.layers[next((int(word) for word in way if word.isdigit()), 0)]
        if self.kind.bidirectional:
            layer = layer.backward_layer if "backward" in way else layer.forward_layer
        return getattr(layer.cell, self.attribute(tensor))

    def attribute(self, tensor: str) -> str:
        """What a cell calls a canonical tensor."""
        return _ATTRIBUTES.get(self.kind.kind, {}).get(tensor, tensor)

    def exchange(self, name: str, array: np.ndarray) -> np.ndarray:
        """From Keras's order of gates to the canonical one, or back: a GRU's r and z trade places.

        ``array`` is laid out as the tensor ``name``: a weight, its gradient or a slot.
        """
        if self.kind.kind != "gru" or name.endswith("recurrent_bias"):
            return array
        first, second, last = np.split(array, 3, axis=-1)
        return np.concatenate([second, first, last], axis=-1)

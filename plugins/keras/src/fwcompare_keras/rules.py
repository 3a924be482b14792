"""The aligned optimizers on TensorFlow and JAX, where Keras updates one tensor after another.

Each is Keras's own class with the formula of ``fwcompare.spec`` in its place, at the same number of
passes over the tensors. Hyperparameters stay Python numbers until they meet a tensor, since
``keras.ops.cast(0.9, "float64")`` passes through float32 on TensorFlow.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops


def constant(value: float, dtype: str) -> Any:
    """A number that Keras may cast without losing digits on the way."""
    return np.dtype(dtype).type(value)


class _Aligned(keras.optimizers.Optimizer):
    """Takes gradients whole, and adds ``l2 * p`` to that of p, after clipping and before all else.

    TensorFlow gives an embedding's gradient as rows, one for each time that a token was looked up.
    Keras squares and measures these rows before it adds up those of one token, which is another
    second moment and another norm.
    """

    l2 = 0.0

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        if keras.config.backend() == "tensorflow":
            from fwcompare_keras.backends.tensorflow_backend import whole

            grads = [whole(gradient) for gradient in grads]
        super().apply(grads, trainable_variables)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> Any:
        if self.l2:
            grads = [
                gradient + self.l2 * variable.value
                if self._use_weight_decay(variable)
                else gradient
                for gradient, variable in zip(grads, trainable_variables, strict=True)
            ]
        return super()._backend_update_step(grads, trainable_variables, learning_rate)


class Sgd(_Aligned, keras.optimizers.SGD):
    """``p -= lr * g``: Keras's own."""


class Momentum(_Aligned, keras.optimizers.SGD):
    """``b = momentum * b + g; p -= lr * b``. In Keras's own the buffer holds the learning rate,
    which is another optimizer as soon as that rate changes."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        buffer = self.momentums[self._get_variable_index(variable)]
        velocity = self.momentum * buffer.value + gradient
        self.assign(buffer, velocity)
        step = gradient + self.momentum * velocity if self.nesterov else velocity
        self.assign_sub(variable, rate * step)


class Adam(_Aligned, keras.optimizers.Adam):
    """Epsilon is added to the bias-corrected root.

    With c the correction of the second moment, sqrt(v / c) + epsilon is (sqrt(v) + epsilon *
    sqrt(c)) / sqrt(c), so the correction costs two scalars and no pass.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        root = ops.sqrt(one_minus_power(self.beta_2, step))
        scale = rate * root / one_minus_power(self.beta_1, step)
        self.assign_add(first, (gradient - first.value) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second.value) * (1 - self.beta_2))
        self.assign_sub(
            variable, first.value * scale / (ops.sqrt(second.value) + self.epsilon * root)
        )


def one_minus_power(base: float, exponent: Any) -> Any:
    """``1 - base ** exponent``, which for 0.999 ** 1 would lose four of float32's seven digits."""
    return -ops.expm1(exponent * (math.log(base) if base else -math.inf))


class RmsProp(_Aligned, keras.optimizers.RMSprop):
    """``p -= lr * g / (sqrt(v) + epsilon)``, with epsilon outside the root."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        second = self._velocities[self._get_variable_index(variable)]
        self.assign(second, self.rho * second.value + (1 - self.rho) * ops.square(gradient))
        self.assign_sub(variable, rate * gradient / (ops.sqrt(second.value) + self.epsilon))


class Adagrad(_Aligned, keras.optimizers.Adagrad):
    """``p -= lr * g / (sqrt(a) + epsilon)``, with epsilon outside the root."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        sums = self._accumulators[self._get_variable_index(variable)]
        self.assign_add(sums, ops.square(gradient))
        self.assign_sub(variable, rate * gradient / (ops.sqrt(sums.value) + self.epsilon))

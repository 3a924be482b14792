"""The aligned optimizers on PyTorch, where Keras updates all tensors of a model in one call.

The formulas are those of ``rules``; a loop over the tensors would make the step of a deep model
slower than Keras's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import torch
from keras import ops
from torch import Tensor

from fwcompare_keras.rules import one_minus_power


def constant(value: float, dtype: str) -> float:
    """A number for Keras's own weight decay, which takes a Python number exactly."""
    return value


class _AtOnce(keras.optimizers.Optimizer):
    """Hands lists of plain tensors to ``update``, L2 decay added to the gradients, and the rate as
    a tensor without axes."""

    l2 = 0.0

    @torch.no_grad()
    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        values = [variable.value for variable in trainable_variables]
        if self.l2:
            grads = [
                torch.add(gradient, value, alpha=self.l2)
                if self._use_weight_decay(variable)
                else gradient
                for gradient, value, variable in zip(
                    grads, values, trainable_variables, strict=True
                )
            ]
        rate = ops.convert_to_tensor(learning_rate, dtype=values[0].dtype)
        indices = [self._get_variable_index(variable) for variable in trainable_variables]
        self.update(values, list(grads), indices, rate)

    def update(
        self, values: list[Tensor], grads: list[Tensor], indices: list[int], rate: Any
    ) -> None:
        """Change ``values`` and the slots at ``indices`` in place."""
        raise NotImplementedError


def _pick(slots: Sequence[Any], indices: list[int]) -> list[Tensor]:
    return [slots[index].value for index in indices]


class Sgd(_AtOnce, keras.optimizers.SGD):
    """``p -= lr * g``"""

    def update(
        self, values: list[Tensor], grads: list[Tensor], indices: list[int], rate: Any
    ) -> None:
        torch._foreach_add_(values, grads, alpha=-rate)


class Momentum(_AtOnce, keras.optimizers.SGD):
    """``b = momentum * b + g; p -= lr * b``, the learning rate outside the buffer."""

    def update(
        self, values: list[Tensor], grads: list[Tensor], indices: list[int], rate: Any
    ) -> None:
        buffers = _pick(self.momentums, indices)
        torch._foreach_mul_(buffers, self.momentum)
        torch._foreach_add_(buffers, grads)
        steps: Sequence[Tensor] = buffers
        if self.nesterov:
            steps = torch._foreach_add(grads, buffers, alpha=self.momentum)
        torch._foreach_add_(values, steps, alpha=-rate)


class Adam(_AtOnce, keras.optimizers.Adam):
    """Epsilon is added to the bias-corrected root; see ``rules.Adam``."""

    def update(
        self, values: list[Tensor], grads: list[Tensor], indices: list[int], rate: Any
    ) -> None:
        step = ops.cast(self.iterations.value + 1, rate.dtype)
        first, second = _pick(self._momentums, indices), _pick(self._velocities, indices)
        root = ops.sqrt(one_minus_power(self.beta_2, step))
        scale = rate * root / one_minus_power(self.beta_1, step)
        torch._foreach_lerp_(first, grads, 1 - self.beta_1)
        torch._foreach_mul_(second, self.beta_2)
        torch._foreach_addcmul_(second, grads, grads, 1 - self.beta_2)
        steps = torch._foreach_sqrt(second)
        torch._foreach_add_(steps, self.epsilon * root)
        torch._foreach_div_(steps, -scale)
        torch._foreach_addcdiv_(values, first, steps)


class RmsProp(_AtOnce, keras.optimizers.RMSprop):
    """``p -= lr * g / (sqrt(v) + epsilon)``, with epsilon outside the root."""

    def update(
        self, values: list[Tensor], grads: list[Tensor], indices: list[int], rate: Any
    ) -> None:
        second = _pick(self._velocities, indices)
        torch._foreach_mul_(second, self.rho)
        torch._foreach_addcmul_(second, grads, grads, 1 - self.rho)
        _divide_by_root(values, grads, second, self.epsilon, rate)


class Adagrad(_AtOnce, keras.optimizers.Adagrad):
    """``p -= lr * g / (sqrt(a) + epsilon)``, with epsilon outside the root."""

    def update(
        self, values: list[Tensor], grads: list[Tensor], indices: list[int], rate: Any
    ) -> None:
        sums = _pick(self._accumulators, indices)
        torch._foreach_addcmul_(sums, grads, grads)
        _divide_by_root(values, grads, sums, self.epsilon, rate)


def _divide_by_root(
    values: list[Tensor], grads: list[Tensor], squares: list[Tensor], epsilon: float, rate: Any
) -> None:
    """``values -= rate * grads / (sqrt(squares) + epsilon)``, in place."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, epsilon)
    torch._foreach_add_(values, torch._foreach_div(grads, roots), alpha=-rate)

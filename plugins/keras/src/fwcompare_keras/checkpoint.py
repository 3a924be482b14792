"""The state of a training as arrays: Keras keeps all of it in variables, random seeds too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from fwcompare_keras.network import to_numpy

#: How Keras calls the variable that a layer's random numbers come from.
_SEED = "seed_generator_state"


def taken(model: Any, optimizer: keras.optimizers.Optimizer) -> dict[str, np.ndarray]:
    """The state, copied to the host."""
    return {name: to_numpy(variable) for name, variable in _variables(model, optimizer)}


def put_back(
    state: Mapping[str, np.ndarray], model: Any, optimizer: keras.optimizers.Optimizer
) -> None:
    """Go on from a state that ``taken`` gave."""
    for name, variable in _variables(model, optimizer):
        variable.assign(state[name])


def _variables(model: Any, optimizer: keras.optimizers.Optimizer) -> Iterator[tuple[str, Any]]:
    """Every variable that training changes, by its place: names need not be told apart in Keras."""
    kinds = {
        "trainable": model.trainable_variables,
        "other": model.non_trainable_variables,
        "optimizer": optimizer.variables,
    }
    for kind, variables in kinds.items():
        for number, variable in enumerate(variables):
            random = kind == "other" and _SEED in variable.path
            yield f"{'random' if random else kind}/{number}", variable

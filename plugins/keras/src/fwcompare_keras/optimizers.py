"""From the options of an optimizer to a Keras optimizer, aligned or native.

``aligned`` classes have the formulas of ``fwcompare.spec``. ``native`` ones are Keras's own, with
the learning rate, momentum, decay and clipping asked for and every other number left at Keras's
default; there ``weight_decay`` is always decoupled, since Keras's argument knows no other.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import keras
import numpy as np
from keras import ops

from fwcompare import spec
from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import Weights
from fwcompare_keras.network import Network, to_numpy


class LearningRateTable(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of every step, looked up in the type of the run.

    Keras's own schedules compute in float32, whatever the type of the model.
    """

    def __init__(self, rates: np.ndarray, dtype: str) -> None:
        self._rates = ops.convert_to_tensor(rates.astype(dtype))
        self._last = len(rates) - 1

    def __call__(self, step: Any) -> Any:
        """The rate of ``step``, counted from 0; after the last one it stays."""
        return self._rates[ops.minimum(step, self._last)]


@dataclass(frozen=True)
class Rule:
    """One optimizer: its class, its own arguments, and the slots that are canonical."""

    aligned: str
    native: type[keras.optimizers.Optimizer]
    #: Arguments that users give, so that both semantics have them.
    given: Callable[[Any], dict[str, Any]] = lambda options: {}
    #: Arguments that users leave at Keras's default.
    left: Callable[[Any], dict[str, Any]] = lambda options: {}
    #: Canonical slot names to the optimizer's attributes.
    slots: Mapping[str, str] | None = None


def _momentum(options: spec.Momentum) -> dict[str, Any]:
    return {"momentum": options.momentum, "nesterov": options.nesterov}


def _adam(options: spec.Adam) -> dict[str, Any]:
    return {"beta_1": options.beta1, "beta_2": options.beta2, "epsilon": options.epsilon}


_MOMENTUM = Rule("Momentum", keras.optimizers.SGD, given=_momentum, slots={"momentum": "momentums"})
_MOMENTS = {"first_moment": "_momentums", "second_moment": "_velocities"}

RULES: dict[str, Rule] = {
    "sgd": Rule("Sgd", keras.optimizers.SGD),
    "momentum": _MOMENTUM,
    "nesterov": _MOMENTUM,
    "adam": Rule("Adam", keras.optimizers.Adam, left=_adam, slots=_MOMENTS),
    "adamw": Rule("Adam", keras.optimizers.AdamW, left=_adam, slots=_MOMENTS),
    "rmsprop": Rule(
        "RmsProp",
        keras.optimizers.RMSprop,
        left=lambda options: {"rho": options.rho, "epsilon": options.epsilon},
        slots={"second_moment": "_velocities"},
    ),
    "adagrad": Rule(
        "Adagrad",
        keras.optimizers.Adagrad,
        left=lambda options: {
            "initial_accumulator_value": options.initial_accumulator,
            "epsilon": options.epsilon,
        },
        slots={"accumulator": "_accumulators"},
    ),
}


def _rule(options: spec.Optimizer) -> Rule:
    """The rule of an optimizer; a momentum of zero is plain descent, and Keras has no buffer."""
    plain = isinstance(options, spec.Momentum) and not options.momentum
    return RULES["sgd" if plain else options.name]


def make(
    options: spec.Optimizer,
    learning_rates: np.ndarray | None,
    network: Network,
    aligned: bool,
    dtype: str,
) -> keras.optimizers.Optimizer:
    """Build an optimizer on the network's trainable variables.

    ``learning_rates`` holds the rate of every step; None means ``options.lr`` throughout.
    Raises ``UnsupportedError`` for an optimizer that is not in the table.
    """
    if options.name not in RULES:
        raise UnsupportedError(
            f"The Keras plugin has no optimizer '{options.name}'.", f"It has: {choices(RULES)}."
        )
    rule = _rule(options)
    rate: Any = options.lr
    if learning_rates is not None and len(learning_rates):
        rate = LearningRateTable(learning_rates, dtype)
    arguments = {"learning_rate": rate, "global_clipnorm": options.clip_norm, **rule.given(options)}
    undecayed = network.undecayed(options.decay_scope)
    decay = options.weight_decay if len(undecayed) < len(network.trainable) else 0.0
    if aligned:
        rules = _aligned_rules()
        made = getattr(rules, rule.aligned)(**arguments, **rule.left(options))
        if decay and options.decay == "l2":
            made.l2 = decay
        elif decay:
            made.weight_decay = rules.constant(decay, dtype)
    else:
        # Left out, AdamW would decay by its default, and it alone does not take None for none.
        nothing = 0.0 if rule.native is keras.optimizers.AdamW else None
        made = rule.native(**arguments, weight_decay=decay or nothing)
    made.exclude_from_weight_decay(var_list=undecayed)
    made.build(network.model.trainable_variables)
    return made


def _aligned_rules() -> ModuleType:
    """Aligned optimizers of this backend: on PyTorch, Keras updates all tensors in one call."""
    name = "torch_rules" if keras.config.backend() == "torch" else "rules"
    return importlib.import_module(f"fwcompare_keras.{name}")


def slots(
    optimizer: keras.optimizers.Optimizer, options: spec.Optimizer, network: Network, aligned: bool
) -> dict[str, Weights]:
    """The optimizer's state by canonical slot and variable.

    Empty where there is no such state, and for Keras's native momentum, whose buffer holds the
    learning rate and so is another quantity.
    """
    rule = _rule(options)
    if not rule.slots or (not aligned and rule is _MOMENTUM):
        return {}
    order = {id(v): i for i, v in enumerate(network.model.trainable_variables)}
    return {
        slot: {
            name: network.exchange(
                name, to_numpy(getattr(optimizer, attribute)[order[id(variable)]])
            )
            for name, variable in network.trainable.items()
        }
        for slot, attribute in rule.slots.items()
    }

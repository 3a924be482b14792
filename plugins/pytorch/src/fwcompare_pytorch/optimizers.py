"""From the name of an optimizer to a native one, and what must happen before its step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, get_total_norm

from fwcompare.errors import UnsupportedError, choices
from fwcompare.graph import Weights
from fwcompare.spec import Momentum, Optimizer
from fwcompare_pytorch.model import GraphModel
from fwcompare_pytorch.own import OwnModel

#: Something to do between the gradients and the step.
Before = Callable[[], object]


@dataclass(frozen=True)
class Rule:
    """A native optimizer and how the options of the contract are said to it."""

    native: Callable[..., optim.Optimizer]
    #: Keys of the native state to canonical slots.
    slots: Mapping[str, str] = field(default_factory=dict)
    #: Options that a user always states, in either semantics.
    stated: Callable[[Any], dict[str, Any]] = lambda options: {}
    #: Constants that a user leaves to PyTorch's defaults in native semantics.
    constants: Callable[[Any], dict[str, Any]] = lambda options: {}
    #: The fastest of PyTorch's implementations. All give the same numbers: in float64 each follows
    #: its formula to 5e-16 over 100 steps.
    implementation: Mapping[str, bool] = field(default_factory=lambda: {"fused": True})
    #: Kinds of device on which that one is there.
    devices: tuple[str, ...] = ("cpu", "cuda")


def _momentum(options: Any) -> dict[str, Any]:
    return {"momentum": options.momentum, "nesterov": options.nesterov}


def _adam(options: Any) -> dict[str, Any]:
    return {"betas": (options.beta1, options.beta2), "eps": options.epsilon}


def _rmsprop(options: Any) -> dict[str, Any]:
    return {"alpha": options.rho, "eps": options.epsilon}


def _adagrad(options: Any) -> dict[str, Any]:
    return {"initial_accumulator_value": options.initial_accumulator, "eps": options.epsilon}


_MOMENTUM = Rule(optim.SGD, {"momentum_buffer": "momentum"}, stated=_momentum)
_MOMENTS = {"exp_avg": "first_moment", "exp_avg_sq": "second_moment"}

OPTIMIZERS: dict[str, Rule] = {
    "sgd": Rule(optim.SGD),
    "momentum": _MOMENTUM,
    "nesterov": _MOMENTUM,
    "adam": Rule(optim.Adam, _MOMENTS, constants=_adam),
    "adamw": Rule(optim.AdamW, _MOMENTS, constants=_adam),
    "rmsprop": Rule(
        optim.RMSprop,
        {"square_avg": "second_moment"},
        constants=_rmsprop,
        implementation={"foreach": True},
    ),
    "adagrad": Rule(optim.Adagrad, {"sum": "accumulator"}, constants=_adagrad, devices=("cpu",)),
}

#: Where decay is decoupled or not is for these a choice between two native optimizers.
_ADAM_BY_DECAY = {"l2": optim.Adam, "decoupled": optim.AdamW}


class LearningRates:
    """Sets the learning rate of each step from a table; past its end the last one stays."""

    def __init__(self, groups: Sequence[dict[str, Any]], table: np.ndarray) -> None:
        self.groups = groups
        self.rates: list[float] = table.tolist()
        self.step = 0

    def __call__(self) -> None:
        if self.step < len(self.rates):
            for group in self.groups:
                group["lr"] = self.rates[self.step]
        self.step += 1


class ExactClipping:
    """Gradients times ``min(1, most / norm)``; PyTorch's own divides by ``norm + 1e-6``."""

    def __init__(self, parameters: Sequence[Parameter], most: float) -> None:
        self.parameters, self.most = parameters, most

    def __call__(self) -> None:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        factor = (self.most / get_total_norm(gradients)).clamp(max=1.0)
        torch._foreach_mul_(gradients, factor)


class DecoupledDecay:
    """Takes ``lr * weight_decay * p`` from each p, for optimizers that have no such decay."""

    def __init__(self, group: dict[str, Any], weight_decay: float) -> None:
        self.group, self.weight_decay = group, weight_decay

    @torch.no_grad()
    def __call__(self) -> None:
        torch._foreach_mul_(self.group["params"], 1 - self.group["lr"] * self.weight_decay)


class Update:
    """The optimizer of a model, and all that goes before its step."""

    def __init__(
        self,
        options: Optimizer,
        model: GraphModel | OwnModel,
        aligned: bool,
        scaled: bool = False,
        fused: bool = True,
    ) -> None:
        """``scaled`` says that a ``GradScaler`` decides at each step whether to take it.

        ``fused`` allows a step in one kernel, which unscales by itself and so after clipping.
        Raises ``UnsupportedError`` for an optimizer without a rule.
        """
        if options.name not in OPTIMIZERS:
            raise UnsupportedError(
                f"PyTorch's plugin has no optimizer '{options.name}'.",
                f"It has: {choices(OPTIMIZERS)}.",
            )
        # A momentum of zero is plain gradient descent, for which PyTorch keeps no buffer and
        # refuses Nesterov's form.
        plain = isinstance(options, Momentum) and not options.momentum
        self.rule = OPTIMIZERS["sgd" if plain else options.name]
        self.model = model
        # In code of the user's own, one tensor may hold several of the graph's.
        tensors = dict.fromkeys(place.tensor for _, place in model.trainable())
        self.parameters = [_parameter(tensor) for tensor in tensors]
        native, decays_itself = self.rule.native, True
        fused &= all(tensor.device.type in self.rule.devices for tensor in self.parameters)
        self.implementation = self.rule.implementation if fused else {"foreach": True}
        arguments = {**self.rule.stated(options), **self.implementation}
        if aligned:
            arguments |= self.rule.constants(options)
            if native in _ADAM_BY_DECAY.values():
                native = _ADAM_BY_DECAY.get(options.decay, native)
            else:
                decays_itself = options.decay != "decoupled"
        decayed, others = self._by_decay(options)
        groups = [
            {"params": decayed, "weight_decay": options.weight_decay if decays_itself else 0.0},
            {"params": others, "weight_decay": 0.0},
        ]
        used = [group for group in groups if group["params"]]
        # PyTorch refuses no groups at all; a model that only pools has nothing to train.
        self.optimizer = native(used or groups, lr=options.lr, **arguments)
        self.before: list[Before] = []
        self.scaled = scaled
        if scaled:
            self.optimizer.register_step_pre_hook(self._within_step)
        if decayed and not decays_itself:
            group = self.optimizer.param_groups[0]
            self.before.append(DecoupledDecay(group, options.weight_decay))

    @property
    def outside(self) -> Sequence[Before]:
        """What a loop has to do before it calls the optimizer's step."""
        return () if self.scaled else self.before

    def _within_step(self, *_: Any) -> None:
        """A step that a scaler leaves out has no place in the schedule and decays nothing."""
        for act in self.before:
            act()

    def _by_decay(self, options: Optimizer) -> tuple[list[Tensor], list[Tensor]]:
        """The trainable tensors that are decayed, and those that are not."""
        decays: dict[Tensor, bool] = {}
        for name, place in self.model.trainable():
            own = options.decays(place.parameter.role)
            if decays.setdefault(place.tensor, own) != own:
                raise UnsupportedError(
                    f"'{name}' shares its native tensor with another that decays otherwise.",
                    "Choose optimizer.decay_scope=all.",
                )
        return [t for t, own in decays.items() if own], [t for t, own in decays.items() if not own]

    def clip(self, most: float, exact: bool) -> None:
        """Clip the gradients' global norm before each step, exactly or as PyTorch does."""
        if exact:
            self.before.insert(0, ExactClipping(self.parameters, most))
        else:
            self.before.insert(0, partial(clip_grad_norm_, self.parameters, most))

    def schedule(self, table: np.ndarray) -> None:
        """Take the learning rate of each step from ``table``, float64, one number a step."""
        self.before.insert(0, LearningRates(self.optimizer.param_groups, table))

    def slots(self) -> dict[str, Weights]:
        """The state by canonical slot; what no step has written yet is zero."""
        state = self.optimizer.state
        return {
            slot: {
                name: place.canonical(_or_zero(state.get(place.tensor, {}).get(key), place.tensor))
                for name, place in self.model.trainable()
            }
            for key, slot in self.rule.slots.items()
        }

    def __str__(self) -> str:
        how = ", ".join(f"{name}={value}" for name, value in self.implementation.items())
        return f"torch.optim.{type(self.optimizer).__name__}({how})"


def _parameter(tensor: Tensor) -> Parameter:
    assert isinstance(tensor, Parameter)
    return tensor


def _or_zero(tensor: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if tensor is None else tensor

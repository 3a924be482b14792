"""The state of a training as arrays: model, optimizer, schedule, loss scale, random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from fwcompare_pytorch.model import GraphModel
from fwcompare_pytorch.optimizers import LearningRates, Update
from fwcompare_pytorch.precision import Arithmetic

#: What a ``GradScaler`` must know again.
_SCALER = ("scale", "_growth_tracker")


def taken(model: GraphModel, update: Update, arithmetic: Arithmetic) -> dict[str, np.ndarray]:
    """The state, copied to the host."""
    found = {f"model/{name}": _array(tensor) for name, tensor in model.state_dict().items()}
    for number, parameter in _numbered(update):
        for key, value in update.optimizer.state.get(parameter, {}).items():
            if value is not None:  # as the buffer of a momentum of zero
                found[f"optimizer/{number}/{key}"] = _array(torch.as_tensor(value))
    for rates in _schedules(update):
        found["schedule/step"] = np.array(rates.step)
    if arithmetic.scaler is not None:
        state: dict[str, Any] = arithmetic.scaler.state_dict()
        found |= {f"scaler/{key}": np.array(state[key]) for key in _SCALER if key in state}
    found["random/cpu"] = _array(torch.get_rng_state())
    if arithmetic.device == "cuda":
        found["random/cuda"] = _array(torch.cuda.get_rng_state())
    return found


def put_back(
    state: Mapping[str, np.ndarray], model: GraphModel, update: Update, arithmetic: Arithmetic
) -> None:
    """Go on from a state that ``taken`` gave."""
    model.load_state_dict({name: _tensor(state[f"model/{name}"]) for name in model.state_dict()})
    for number, parameter in _numbered(update):
        prefix = f"optimizer/{number}/"
        for name, array in state.items():
            if name.startswith(prefix):
                own = update.optimizer.state[parameter]
                own[name.removeprefix(prefix)] = _beside(parameter, array, update)
    for rates in _schedules(update):
        rates.step = int(state["schedule/step"])
    if arithmetic.scaler is not None and "scaler/scale" in state:
        known = arithmetic.scaler.state_dict()
        arithmetic.scaler.load_state_dict(
            known | {key: state[f"scaler/{key}"].item() for key in _SCALER}
        )
    torch.set_rng_state(_tensor(state["random/cpu"]))
    if arithmetic.device == "cuda" and "random/cuda" in state:
        torch.cuda.set_rng_state(_tensor(state["random/cuda"]))


def _beside(parameter: Parameter, array: np.ndarray, update: Update) -> Tensor:
    """A part of the optimizer's state as PyTorch would have made it: a slot in the memory layout of
    its parameter, which fused kernels take for granted; a count where the kernel looks for it."""
    if array.shape == tuple(parameter.shape):
        return torch.empty_like(parameter, requires_grad=False).copy_(_tensor(array))
    fused = update.implementation.get("fused", False)
    return _tensor(array).to(parameter.device if fused else "cpu")


def _numbered(update: Update) -> Iterator[tuple[int, Parameter]]:
    groups = update.optimizer.param_groups
    return enumerate(parameter for group in groups for parameter in group["params"])


def _schedules(update: Update) -> Iterator[LearningRates]:
    return (act for act in update.before if isinstance(act, LearningRates))


def _array(tensor: Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))

"""What the built modules and the built optimizer hold, in the words of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn, optim
from torch.nn.utils import clip_grad_norm_

from fwcompare.audit.settings import Settings
from fwcompare_pytorch.attention import Attention
from fwcompare_pytorch.layers import Adapter
from fwcompare_pytorch.model import GraphModel
from fwcompare_pytorch.norms import BiasedBatchNorm
from fwcompare_pytorch.optimizers import DecoupledDecay, ExactClipping, LearningRates, Update
from fwcompare_pytorch.own import OwnModel
from fwcompare_pytorch.recurrent import Recurrent
from fwcompare_pytorch.windows import (
    CutConvTranspose2d,
    PaddedConv1d,
    PaddedConv2d,
    PaddedDepthwiseConv2d,
)

#: Keys of a parameter group to the contract's names.
_OPTIONS = {"lr": "lr", "momentum": "momentum", "nesterov": "nesterov", "alpha": "rho",
            "eps": "epsilon", "initial_accumulator_value": "initial_accumulator"}  # fmt: skip


def settings(model: GraphModel | OwnModel, update: Update) -> Settings:
    """Values by layer and quantity, and those of the optimizer."""
    found = {"optimizer": optimizer(update)}
    for name, module in model.natives():
        if values := dict(_layer(module)):
            found[name] = values
    return found


def optimizer(update: Update) -> dict[str, Any]:
    """The options that the optimizer's parameter groups hold, and what goes before its step."""
    native = update.optimizer
    group = native.param_groups[0]
    found: dict[str, Any] = {"class": f"torch.optim.{type(native).__name__}"}
    found |= {name: group[key] for key, name in _OPTIONS.items() if key in group}
    if isinstance(native, optim.SGD) and not group["momentum"]:
        del found["momentum"], found["nesterov"]
    elif isinstance(native, optim.SGD):
        found["momentum_buffer"] = "without the learning rate"
    if isinstance(native, optim.RMSprop):
        del found["momentum"]
    if "betas" in group:
        found["beta1"], found["beta2"] = group["betas"]
        found["epsilon_place"] = "beside the corrected root"
    elif "epsilon" in found:
        found["epsilon_place"] = "beside the root"
    for act in update.before:
        if isinstance(act, LearningRates):
            found["lr"] = act.rates[0]
        elif isinstance(act, ExactClipping):
            found |= clipping(act.most, exact=True)
        elif isinstance(act, partial) and act.func is clip_grad_norm_:
            found |= clipping(act.args[1], exact=False)
    return found | _decay(update)


def _decay(update: Update) -> dict[str, Any]:
    """Which decay acts, how strongly, and on how many tensors."""
    for act in update.before:
        if isinstance(act, DecoupledDecay):
            count = len(act.group["params"])
            return {
                "decay": "decoupled", "weight_decay": act.weight_decay, "decayed_tensors": count,
            }  # fmt: skip
    native = update.optimizer
    for group in native.param_groups:
        if group["weight_decay"]:
            decoupled = group.get("decoupled_weight_decay", False)
            return {
                "decay": "decoupled" if decoupled else "l2",
                "weight_decay": group["weight_decay"],
                "decayed_tensors": len(group["params"]),
            }
    return {"decay": "none"}


def clipping(most: float, exact: bool) -> dict[str, Any]:
    """How gradients are clipped: exactly, or as ``torch.nn.utils.clip_grad_norm_`` does."""
    factor = "most / norm" if exact else "most / (norm + 1e-6)"
    return {"clip_norm": most, "clip_factor": factor}


def _layer(module: nn.Module) -> Iterator[tuple[str, Any]]:
    if isinstance(module, Adapter):
        module = module.within
    if isinstance(module, nn.Sequential):
        module = module[0]
    match module:
        case nn.Linear():
            yield "class", "nn.Linear"
            yield "bias", module.bias is not None
        case PaddedConv1d() | PaddedConv2d() | PaddedDepthwiseConv2d():
            yield "class", f"functional.pad + nn.Conv{len(module.sides)}d"
            yield "bias", module.bias is not None
            yield "padding", [list(side) for side in module.sides]
        case nn.Conv1d() | nn.Conv2d():
            yield "class", f"nn.Conv{len(module.kernel_size)}d"
            yield "bias", module.bias is not None
            if not isinstance(module.padding, str):  # in code of the user's own
                yield "padding", [[int(side), int(side)] for side in module.padding]
        case nn.ConvTranspose2d():
            after = module.after if isinstance(module, CutConvTranspose2d) else (0, 0)
            yield "class", "nn.ConvTranspose2d"
            yield "bias", module.bias is not None
            yield "cut_off", [list(axis) for axis in _cut_off(module, after)]
        case nn.AvgPool1d() | nn.AvgPool2d():
            yield "class", f"nn.{type(module).__name__}"
            yield "padded_cells", "counted as zeros" if module.count_include_pad else "left out"
        case BiasedBatchNorm():
            yield "class", "functional.batch_norm"
            yield "momentum", 1 - module.share_of_new
            yield "epsilon", module.epsilon
            yield "moving_variance", "biased"
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            yield "class", f"nn.{type(module).__name__}"
            yield "momentum", 1 - (module.momentum or 0.0)
            yield "epsilon", module.eps
            yield "moving_variance", "unbiased"
        case nn.LayerNorm():
            yield "class", "nn.LayerNorm"
            yield "epsilon", module.eps
        case nn.GroupNorm():
            yield "class", "nn.GroupNorm"
            yield "epsilon", module.eps
        case nn.RMSNorm():
            yield "class", "nn.RMSNorm"
            # Without one of its own it takes that of the type it computes in.
            least = torch.finfo(module.weight.dtype).eps
            yield "epsilon", least if module.eps is None else module.eps
        case nn.Embedding():
            yield "class", "nn.Embedding"
        case Recurrent():
            yield "class", f"nn.{type(module.native).__name__}"
            if isinstance(module.native, nn.GRU):
                yield "reset_gate", "after the product"
        case Attention():
            yield "class", "functional.scaled_dot_product_attention"
            yield "causal", module.causal
        case nn.Dropout():
            yield "class", "nn.Dropout"
            yield "rate", module.p


def _cut_off(module: nn.ConvTranspose2d, after: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Cells (before, after) of each axis that kernels write and that are cut off."""
    for axis, cut in enumerate(module.padding):
        beyond = max(module.stride[axis] - module.kernel_size[axis], 0)
        given_back = module.output_padding[axis] - beyond
        yield int(cut), int(cut) - given_back + after[axis]

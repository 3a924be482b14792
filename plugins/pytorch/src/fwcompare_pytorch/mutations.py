"""Deliberate errors that no option can express; see ``fwcompare.parity.mutations``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from fwcompare.graph import Layer
from fwcompare.graph.norms import BatchNorm
from fwcompare.graph.pooling import MaxPool2d
from fwcompare.parity.mutations import no_place
from fwcompare.plugin import Job
from fwcompare_pytorch.attention import Attention
from fwcompare_pytorch.layers import LAYERS, Constructor, is_image
from fwcompare_pytorch.optimizers import ExactClipping
from fwcompare_pytorch.recurrent import Recurrent
from fwcompare_pytorch.trainer import Objective, PyTorchTrainer
from fwcompare_pytorch.windows import (
    DepthwiseConv2d,
    conv2d_transpose,
    convolution,
    sides,
)

Build = Callable[[Job], PyTorchTrainer]
#: Updates one tensor: ``(tensor, gradient, its state, its group's options)``.
Rule = Callable[[Tensor, Tensor, dict[str, Any], Mapping[str, Any]], None]


@contextmanager
def _constructor(kind: str, constructor: Constructor) -> Iterator[None]:
    """Another constructor for a layer kind."""
    right = LAYERS[kind]
    LAYERS[kind] = constructor
    try:
        yield
    finally:
        LAYERS[kind] = right


def _height_for_width(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    model = trainer.model
    for name, place in model.places.items():
        shape = place.parameter.shape
        if len(shape) == 4 and shape[0] == shape[1]:
            model.places[name] = replace(place, axes=(3, 2, 1, 0))
    model.fill(job.initial_weights)
    return trainer


def _symmetric_padding(build: Build, job: Job) -> PyTorchTrainer:
    def symmetric(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
        return convolution(layer, kind, False, **factory)

    with _constructor("conv2d", symmetric):
        return build(job)


def _cut_off_before(build: Build, job: Job) -> PyTorchTrainer:
    def customary(layer: Layer, kind: Any, aligned: bool, **factory: Any) -> nn.Module:
        return conv2d_transpose(layer, kind, False, **factory)

    with _constructor("conv2d_transpose", customary):
        return build(job)


def _multiplier_before_channel(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    model = trainer.model
    for name, place in model.places.items():
        if isinstance(place.module, DepthwiseConv2d) and place.parameter.name == "kernel":
            model.places[name] = replace(place, axes=(3, 2, 0, 1))
    model.fill(job.initial_weights)
    return trainer


def _max_pool_pads_zero(build: Build, job: Job) -> PyTorchTrainer:
    def padded(layer: Layer, kind: MaxPool2d, aligned: bool, **_: Any) -> nn.Module:
        rows, columns = sides(layer, kind.pool_size)
        return nn.Sequential(
            nn.ZeroPad2d((*columns, *rows)), nn.MaxPool2d(kind.pool_size, kind.stride)
        )

    with _constructor("max_pool2d", padded):
        return build(job)


def _channels_first_flatten(build: Build, job: Job) -> PyTorchTrainer:
    with _constructor("flatten", lambda *_, **__: nn.Flatten()):
        return build(job)


def _unbiased_variance(build: Build, job: Job) -> PyTorchTrainer:
    def native(layer: Layer, kind: BatchNorm, aligned: bool, **factory: Any) -> nn.Module:
        norm = nn.BatchNorm2d if is_image(layer.shape) else nn.BatchNorm1d
        return norm(layer.shape[-1], kind.epsilon, 1 - kind.momentum, **factory)

    with _constructor("batch_norm", native):
        return build(job)


class _InvertedAttention(Attention):
    """Takes its mask in the sense of ``nn.MultiheadAttention``: true is not seen."""

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        *sources, mask = others
        return super().forward(x, *sources, ~mask)


class _UnpackedRecurrent(Recurrent):
    """Reads every step, and looks at the real ones afterwards: right forward alone."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        outputs = super().forward(x)
        return outputs if mask is None else outputs * mask.unsqueeze(-1)


class _WholeMean(nn.Module):
    """The mean over all steps, whatever the mask."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x.mean(1)


def _native(kind: str, native: Callable[..., nn.Module]) -> Any:
    """Another module for a layer kind: ``native(layer, its kind, device=..., dtype=...)``."""

    def patch(build: Build, job: Job) -> PyTorchTrainer:
        def constructor(layer: Layer, options: Any, aligned: bool, **factory: Any) -> nn.Module:
            return native(layer, options, **factory)

        with _constructor(kind, constructor):
            return build(job)

    return patch


class _StoppedAdd(nn.Module):
    """A sum whose first input alone has a gradient."""

    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = first + other.detach()
        return first


def _stopped_gradient(build: Build, job: Job) -> PyTorchTrainer:
    with _constructor("add", lambda *_, **__: _StoppedAdd()):
        trainer = build(job)
    # A tensor that has no gradient at all is an error in PyTorch rather than a zero.
    trainer.objective = _Touching(trainer.objective, list(trainer.model.parameters()))
    return trainer


class _Touching(nn.Module):
    """An objective that depends on every tensor, on some with a gradient of zero."""

    def __init__(self, objective: nn.Module, tensors: list[nn.Parameter]) -> None:
        super().__init__()
        self.objective, self.tensors = objective, tensors

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self.objective(inputs, targets)
        return loss + sum(0.0 * tensor.sum() for tensor in self.tensors)


def _summed_loss(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    assert isinstance(trainer.objective, Objective)
    trainer.objective.loss = partial(functional.cross_entropy, reduction="sum")
    return trainer


def _summed_labels(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    assert isinstance(trainer.objective, Objective)
    right = trainer.objective.loss
    trainer.objective.loss = lambda logits, targets: targets.shape[1] * right(logits, targets)
    return trainer


class _Penalised(nn.Module):
    """An objective with the L2 penalty in the number that is reported."""

    def __init__(self, objective: nn.Module, tensors: list[Tensor], weight_decay: float) -> None:
        super().__init__()
        self.objective, self.tensors, self.weight_decay = objective, tensors, weight_decay

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        penalty = sum(tensor.detach().square().sum() for tensor in self.tensors)
        loss: Tensor = self.objective(inputs, targets) + self.weight_decay / 2 * penalty
        return loss


def _penalty_in_the_loss(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    decayed = trainer.update.optimizer.param_groups[0]
    trainer.objective = _Penalised(trainer.objective, decayed["params"], decayed["weight_decay"])
    return trainer


def _dampening(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    for group in trainer.update.optimizer.param_groups:
        group["dampening"] = group["momentum"]
    return trainer


def _amsgrad(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    for group in trainer.update.optimizer.param_groups:
        group["amsgrad"] = True
    return trainer


def _untrained_bias(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    *_, (_, last) = trainer.model.trainable()
    for group in trainer.update.optimizer.param_groups:
        group["params"] = [tensor for tensor in group["params"] if tensor is not last.tensor]
    return trainer


def _clipping(instead: Callable[[ExactClipping], Callable[[], object]]) -> Any:
    """Something else in the place of exact clipping."""

    def patch(build: Build, job: Job) -> PyTorchTrainer:
        trainer = build(job)
        trainer.update.before = [
            instead(act) if isinstance(act, ExactClipping) else act for act in trainer.update.before
        ]
        return trainer

    return patch


def _after_decay(build: Build, job: Job) -> PyTorchTrainer:
    trainer = build(job)
    decayed = trainer.update.optimizer.param_groups[0]
    tensors, weight_decay = decayed["params"], decayed["weight_decay"]
    decayed["weight_decay"] = 0.0

    @torch.no_grad()
    def decay() -> None:
        for tensor in tensors:
            tensor.grad += weight_decay * tensor

    trainer.update.before.insert(0, decay)
    return trainer


def _by_tensor(clipping: ExactClipping) -> Callable[[], object]:
    alone = [ExactClipping([parameter], clipping.most) for parameter in clipping.parameters]
    return lambda: [clip() for clip in alone]


def _with_epsilon(clipping: ExactClipping) -> Callable[[], object]:
    return partial(clip_grad_norm_, clipping.parameters, clipping.most)


class _Handwritten(optim.Optimizer):
    """Another rule over the groups of a native optimizer, its state under the same keys."""

    def __init__(self, native: optim.Optimizer, rule: Rule) -> None:
        super().__init__(native.param_groups, {})
        self.rule = rule

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for tensor in group["params"]:
                self.rule(tensor, tensor.grad, self.state[tensor], group)


def _handwritten(native: type[optim.Optimizer], rule: Rule) -> Any:
    """A rule of one's own in the place of a native optimizer."""

    def patch(build: Build, job: Job) -> PyTorchTrainer:
        trainer = build(job)
        if not isinstance(trainer.update.optimizer, native):
            raise no_place(f"optimizer={job.spec.optimizer.name} is not {native.__name__}")
        trainer.update.optimizer = _Handwritten(trainer.update.optimizer, rule)
        return trainer

    return patch


def _rate_inside_the_buffer(
    tensor: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]
) -> None:
    before = state.get("momentum_buffer", torch.zeros_like(tensor))
    state["momentum_buffer"] = group["momentum"] * before + group["lr"] * gradient
    tensor -= state["momentum_buffer"]


def _moments(
    gradient: Tensor, state: dict[str, Any], betas: tuple[float, float]
) -> tuple[Tensor, Tensor, float]:
    """Adam's moments, the first corrected for its bias, and the correction of the second."""
    zero = torch.zeros_like(gradient)
    state["step"] = step = state.get("step", 0) + 1
    first = betas[0] * state.get("exp_avg", zero) + (1 - betas[0]) * gradient
    second = betas[1] * state.get("exp_avg_sq", zero) + (1 - betas[1]) * gradient**2
    state |= {"exp_avg": first, "exp_avg_sq": second}
    return first / (1 - betas[0] ** step), second, 1 - betas[1] ** step


def _epsilon_inside_the_root(
    tensor: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]
) -> None:
    first, second, correction = _moments(gradient, state, group["betas"])
    tensor -= group["lr"] * first / (second / correction + group["eps"]).sqrt()


def _without_correction(
    tensor: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]
) -> None:
    _moments(gradient, state, group["betas"])
    tensor -= group["lr"] * state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])


def _epsilon_before_correction(
    tensor: Tensor, gradient: Tensor, state: dict[str, Any], group: Mapping[str, Any]
) -> None:
    first, second, correction = _moments(gradient, state, group["betas"])
    tensor -= group["lr"] * correction**0.5 * first / (second.sqrt() + group["eps"])


PATCHES: dict[str, Callable[[Build, Job], PyTorchTrainer]] = {
    "height_for_width": _height_for_width,
    "symmetric_padding": _symmetric_padding,
    "cut_off_before": _cut_off_before,
    "multiplier_before_channel": _multiplier_before_channel,
    "max_pool_pads_zero": _max_pool_pads_zero,
    "channels_first_flatten": _channels_first_flatten,
    "unbiased_variance": _unbiased_variance,
    "stopped_gradient": _stopped_gradient,
    "summed_labels": _summed_labels,
    "mask_inverted": _native("multi_head_attention", _InvertedAttention),
    "backward_from_padding": _native("gru", _UnpackedRecurrent),
    "mean_over_padding": _native("global_avg_pool1d", lambda *_, **__: _WholeMean()),
    "summed_loss": _summed_loss,
    "penalty_in_the_loss": _penalty_in_the_loss,
    "dampening": _dampening,
    "rate_inside_the_buffer": _handwritten(optim.SGD, _rate_inside_the_buffer),
    "adam_epsilon_inside_the_root": _handwritten(optim.Adam, _epsilon_inside_the_root),
    "adam_epsilon_before_correction": _handwritten(optim.Adam, _epsilon_before_correction),
    "adam_without_correction": _handwritten(optim.Adam, _without_correction),
    "amsgrad": _amsgrad,
    "clipping_after_decay": _after_decay,
    "clipping_by_tensor": _clipping(_by_tensor),
    "clipping_with_epsilon": _clipping(_with_epsilon),
    "untrained_bias": _untrained_bias,
}

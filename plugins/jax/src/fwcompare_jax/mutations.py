"""Deliberate errors that no option can express; see ``fwcompare.parity.mutations``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import jax
import optax

from fwcompare.graph import Layer
from fwcompare.plugin import Job
from fwcompare.spec import RmsProp
from fwcompare_jax import layers, optimizers
from fwcompare_jax.trainer import JaxTrainer

Build = Callable[[Job], JaxTrainer]


def _avg_pool_counts_padding(build: Build, job: Job) -> JaxTrainer:
    right = layers.CONSTRUCTORS["avg_pool2d"]

    def native(kind: Any, layer: Layer, context: layers.Context) -> Callable[..., jax.Array]:
        return right(kind, layer, replace(context, aligned=False))

    with patch.dict(layers.CONSTRUCTORS, avg_pool2d=native):
        return build(job)


def _epsilon_inside_the_root(build: Build, job: Job) -> JaxTrainer:
    def rule(options: RmsProp) -> optax.GradientTransformation:
        return optax.scale_by_rms(options.rho, options.epsilon)

    with patch.object(optimizers, "_aligned_rule", rule):
        return build(job)


def _halved_loss(build: Build, job: Job) -> JaxTrainer:
    trainer = build(job)
    trainer._criterion = lambda outputs, targets: optax.l2_loss(outputs, targets).mean()
    return trainer


def _sigmoid_twice(build: Build, job: Job) -> JaxTrainer:
    trainer = build(job)
    right = trainer._criterion
    trainer._criterion = lambda outputs, targets: right(jax.nn.sigmoid(outputs), targets)
    return trainer


PATCHES: dict[str, Callable[[Build, Job], JaxTrainer]] = {
    "avg_pool_counts_padding": _avg_pool_counts_padding,
    "halved_loss": _halved_loss,
    "rmsprop_epsilon_inside_the_root": _epsilon_inside_the_root,
    "sigmoid_twice": _sigmoid_twice,
}

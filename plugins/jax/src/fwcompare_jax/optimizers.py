"""Optimizers as chains of Optax transformations, over a list of tensors.

Optax's own ``adam(lr)`` is ``chain(scale_by_adam(), scale_by_learning_rate(lr))``, and so on for
the others, so that both semantics share one chain: clip, L2 decay, the rule, decoupled decay,
learning rate. They differ in the rule's constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from fwcompare.plugin import Job
from fwcompare.spec import Adagrad, Adam, Momentum, Optimizer, RmsProp

#: Optax's names of the state that each rule keeps, to the canonical names of slots.
SLOTS = {
    "trace": "momentum",
    "mu": "first_moment",
    "nu": "second_moment",
    "sum_of_squares": "accumulator",
}


def make(job: Job, roles: Sequence[str]) -> optax.GradientTransformation:
    """The optimizer of a job, for tensors of the given roles, in their order."""
    options = job.spec.optimizer
    chain = []
    if options.clip_norm is not None:
        chain.append(optax.clip_by_global_norm(options.clip_norm))
    decayed = [options.decays(role) for role in roles]
    decay = optax.add_decayed_weights(options.weight_decay, mask=decayed)
    if options.decay == "l2" and any(decayed):
        chain.append(decay)
    chain.append(_aligned_rule(options) if job.spec.aligned else _native_rule(options))
    if options.decay == "decoupled" and any(decayed):
        chain.append(decay)
    chain.append(optax.scale_by_learning_rate(_learning_rate(job)))
    return optax.chain(*chain)


def _learning_rate(job: Job) -> float | optax.Schedule:
    """A number, or the job's table by step; Optax's own schedules compute in float32."""
    if job.constant_learning_rate:
        return job.spec.optimizer.lr
    table = jnp.asarray(job.learning_rates, job.spec.dtype)
    return lambda step: table[step]


def _aligned_rule(options: Optimizer) -> optax.GradientTransformation:
    match options:
        case Momentum() if options.momentum:
            return optax.trace(options.momentum, options.nesterov)
        case Adam():
            return optax.scale_by_adam(options.beta1, options.beta2, options.epsilon)
        case RmsProp():
            return optax.scale_by_rms(options.rho, options.epsilon, eps_in_sqrt=False)
        case Adagrad():
            return _scale_by_adagrad(options.initial_accumulator, options.epsilon)
    return optax.identity()


def _native_rule(options: Optimizer) -> optax.GradientTransformation:
    match options:
        case Momentum() if options.momentum:
            return optax.trace(options.momentum, options.nesterov)
        case Adam():
            return optax.scale_by_adam()
        case RmsProp():
            return optax.scale_by_rms()
        case Adagrad():
            return optax.scale_by_rss()
    return optax.identity()


def _scale_by_adagrad(initial: float, epsilon: float) -> optax.GradientTransformation:
    """Adagrad with epsilon beside the root; ``optax.scale_by_rss`` has it inside.

    Its state is Optax's own, so that it is found under the same name.
    """

    def init(params: list[jax.Array]) -> optax.ScaleByRssState:
        return optax.ScaleByRssState(optax.tree.full_like(params, initial))

    def update(
        updates: list[jax.Array], state: optax.ScaleByRssState, params: object = None
    ) -> tuple[list[jax.Array], optax.ScaleByRssState]:
        sums = [a + g * g for a, g in zip(state.sum_of_squares, updates, strict=True)]
        scaled = [g / (jnp.sqrt(a) + epsilon) for a, g in zip(sums, updates, strict=True)]
        return scaled, optax.ScaleByRssState(sums)

    return optax.GradientTransformation(init, update)

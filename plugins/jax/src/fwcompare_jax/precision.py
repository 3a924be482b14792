"""The arithmetic of a run: the types that Flax computes in, and how a loss is scaled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.training.dynamic_scale import DynamicScale

from fwcompare.spec import RunSpec


def compute_dtype(spec: RunSpec) -> jnp.dtype | None:
    """What layers compute in, as Flax's ``dtype``; None leaves it to inputs and weights."""
    return jnp.dtype(spec.compute_type) if spec.mixed else None


def loss_scale(spec: RunSpec) -> DynamicScale | None:
    """Flax's scaling of the loss, without which the smallest gradients of float16 are zero."""
    if spec.compute_type != "float16":
        return None
    # A Python number has a weak type, which the first step would change: a second compilation.
    fresh = DynamicScale()
    return fresh.replace(fin_steps=np.int32(fresh.fin_steps), scale=np.float32(fresh.scale))


def value_and_grad(scale: DynamicScale | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function's value and gradients by its first argument, of a loss with something beside it.

    Returns the scale to come, whether the gradients are finite (None where that is not asked), the
    value and the unscaled gradients.
    """
    if scale is not None:
        return scale.value_and_grad(function, has_aux=True)
    plain = jax.value_and_grad(function, has_aux=True)
    return lambda *arguments: (None, None, *plain(*arguments))


def facts(spec: RunSpec) -> dict[str, Any]:
    """The policy as JAX itself has it now."""
    precision = jax.config.jax_default_matmul_precision
    return {
        "compute": spec.compute_type,
        "mechanism": f"Flax dtype={spec.compute_type}" if spec.mixed else None,
        "tf32": precision != "highest",
        "settings": {"jax_default_matmul_precision": precision},
    }

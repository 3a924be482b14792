"""JAX arrays of a training's state as NumPy's, and back; keys of random streams are arrays too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np


def taken(leaves: Sequence[jax.Array], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The leaves by name, copied to the host."""
    return {name: _array(leaf) for name, leaf in zip(names, leaves, strict=True)}


def put_back(
    state: Mapping[str, np.ndarray], leaves: Sequence[jax.Array], names: Sequence[str]
) -> list[jax.Array]:
    """The arrays of a state where ``leaves`` are, with their types and on their devices."""
    return [_leaf(state[name], leaf) for name, leaf in zip(names, leaves, strict=True)]


def _is_key(leaf: jax.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _array(leaf: jax.Array) -> np.ndarray:
    return np.array(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _leaf(array: np.ndarray, like: jax.Array) -> jax.Array:
    if _is_key(like):
        found = jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(like))
    else:
        found = jnp.asarray(array, like.dtype)
    return jax.device_put(found, like.sharding)

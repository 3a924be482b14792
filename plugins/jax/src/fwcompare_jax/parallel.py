"""Several processes that train as one: a mesh with a device of each, and arrays that span it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fwcompare.ranks import Ranks

_AXIS = "batch"


class Together:
    """The devices of all ranks.

    A step stays one function of whole arrays: the batch is split over the mesh, everything else is
    on every device, and the compiler puts sums over all devices where the function needs them.
    """

    def __init__(self, ranks: Ranks) -> None:
        """Must come before JAX has computed anything."""
        jax.distributed.initialize(
            num_processes=ranks.count,
            process_id=ranks.rank,
            initialization_timeout=max(round(ranks.meet_s), 1),
        )
        self.ranks = ranks
        mesh = Mesh(np.array(jax.devices()), (_AXIS,))
        #: On every device whole.
        self.everywhere = NamedSharding(mesh, PartitionSpec())
        self._split = NamedSharding(mesh, PartitionSpec(_AXIS))

    def spread(self, tree: Any) -> Any:
        """The same values on every device; every process has them."""
        return jax.tree.map(self._spread, tree)

    def _spread(self, leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            numbers = self._spread(np.asarray(jax.random.key_data(leaf)))
            wrap = partial(jax.random.wrap_key_data, impl=jax.random.key_impl(leaf))
            return jax.jit(wrap, out_shardings=self.everywhere)(numbers)
        return jax.make_array_from_process_local_data(self.everywhere, np.asarray(leaf))

    def joined(self, share: np.ndarray) -> jax.Array:
        """The batch of which this is this process's share."""
        return jax.make_array_from_process_local_data(self._split, np.asarray(share))

    @staticmethod
    def here(leaves: Sequence[jax.Array]) -> list[jax.Array]:
        """Spread arrays as those of this process's own device, without a copy."""
        return [leaf.addressable_data(0) for leaf in leaves]

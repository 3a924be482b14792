"""Warm workers that compile quickly rather than well.

Not at level 0: there XLA of JAX 0.10 makes NaN of a layer norm under a global maximum, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fwcompare.testing import WarmPool


@pytest.fixture(scope="package")
def warm() -> Iterator[WarmPool]:
    with pytest.MonkeyPatch.context() as patch, WarmPool() as pool:
        patch.setenv(
            "XLA_FLAGS",
            "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true",
        )
        yield pool

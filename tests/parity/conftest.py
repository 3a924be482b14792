"""Warm workers that compile quickly rather than well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fwcompare.testing import WarmPool


@pytest.fixture(scope="package")
def warm() -> Iterator[WarmPool]:
    with pytest.MonkeyPatch.context() as patch, WarmPool() as pool:
        patch.setenv(
            "XLA_FLAGS",
            "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        )
        yield pool

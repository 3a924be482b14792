"""The fixture that the conformance suite asks for, given to pytest by entry point."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fwcompare.launch import WarmPool


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPool]:
    """Warm workers for the whole session: importing a framework takes seconds."""
    with WarmPool() as pool:
        yield pool

"""What the conformance suite asks of pytest, given by entry point."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fwcompare.launch import WarmPool
from fwcompare.spec import DEVICES


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite be run on another device than the CPU."""
    parser.addoption(
        "--fwcompare-device",
        choices=DEVICES,
        default="cpu",
        help="device on which fwcompare's conformance suite runs",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known that the suite's longer part bears."""
    config.addinivalue_line("markers", "slow: takes minutes; `pytest -m 'not slow'` leaves it out")


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmPool]:
    """Warm workers for the whole session: importing a framework takes seconds."""
    with WarmPool() as pool:
        yield pool

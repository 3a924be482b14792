"""Sweeps of the stub engine by any launcher."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched import Swept, read
from stub_plugin import SHORT, install


@pytest.fixture
def site(tmp_path: Path) -> str:
    """What PYTHONPATH must be for the stub engine to be installed."""
    return str(install(tmp_path / "site"))


@pytest.fixture
def sweep(cli, site: str, tmp_path: Path) -> Callable[..., Swept]:
    """Run the sweep ``s`` of the stub engine by a launcher, with a fault by seed."""

    def run(launcher: str, *options: str, faults: str = "", code: int = 0, **environment: str):
        given = () if any(o.startswith("tracking") for o in options) else ("tracking=none",)
        ended = cli(
            "-m", *SHORT, f"hydra/launcher={launcher}", "sweep.name=s", *given, *options,
            PYTHONPATH=site, STUB_FAULTS=faults, **environment,
        )  # fmt: skip
        said = ended.stdout + ended.stderr
        assert ended.returncode == code, said
        assert "Traceback" not in said
        return read(tmp_path, said)

    return run

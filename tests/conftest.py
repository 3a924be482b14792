"""What the tests share: one thread, a cache and outputs of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
from ready_cli import ReadyCli

#: Some tests press Ctrl-C, which a shell has the processes of its background ignore.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: Spinning OpenMP threads on a shared machine slow everything down many times.
os.environ["OMP_NUM_THREADS"] = "1"

#: Tests compile hundreds of tiny XLA programs once each; optimising them costs more than it brings.
#: At level 0 XLA was seen to give NaN in float64; level 1 is right.
os.environ["XLA_FLAGS"] = (
    "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
)

#: Each process of a parallel test run keeps to a core of its own, and so do its workers.
if number := os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw"):
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {usable[int(number) % len(usable)]})

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared datasets, made once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def ready_cli() -> Iterator[ReadyCli]:
    """The command line, imported once."""
    ready = ReadyCli()
    yield ready
    ready.close()


@pytest.fixture
def cli(tmp_path: Path, cache: Path, ready_cli: ReadyCli) -> Cli:
    """Run the command line in an empty directory, without a terminal."""

    def run(*arguments: str, timeout: float = 240, **environment: str):
        env = {**os.environ, "FWCOMPARE_CACHE": str(cache), "COLUMNS": "160", **environment}
        if ready_cli.began_as(env):
            return ready_cli.run(arguments, tmp_path, env, timeout)
        # An interpreter of its own, which begins as other variables say.
        return subprocess.run(
            [str(Path(sys.executable).parent / "fwcompare"), *arguments],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def without_jax(tmp_path: Path) -> str:
    """A folder for PYTHONPATH that hides one plugin: its engine is published but not installed."""
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "import importlib.metadata as m\n"
        "real = m.entry_points\n"
        "def fake(**k):\n"
        "    found = real(**k)\n"
        "    if not k.get('group', '').startswith('fwcompare.'):\n"
        "        return found\n"
        "    return m.EntryPoints(p for p in found if not p.value.startswith('fwcompare_jax'))\n"
        "m.entry_points = fake\n"
    )
    return str(hide)

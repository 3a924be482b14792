"""A real sweep, its MLflow UI and a real browser, for tests of what a person sees."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from browsing import Browser

FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")

#: Where the page of a failed test is kept.
FAILURES = Path(__file__).parents[2] / "build" / "browser"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="test with a larger sweep and keep the pages seen as pictures",
    )


@dataclass(frozen=True)
class Swept:
    """A real sweep in a folder of its own."""

    folder: Path
    name: str
    engines: tuple[str, ...]
    seeds: int
    epochs: int
    environment: dict[str, str] = field(repr=False)

    @property
    def runs(self) -> int:
        return len(self.engines) * self.seeds

    @property
    def report(self) -> Path:
        return self.folder / "outputs" / "sweeps" / self.name / "report.html"


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path | None:
    """Where pictures are wanted."""
    found: Path | None = request.config.getoption("--pictures", default=None)
    if found is not None:
        found.mkdir(parents=True, exist_ok=True)
    return found


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory, cache: Path, pictures: Path | None) -> Swept:
    """Two engines and two seeds, tracked; more of both where pictures are wanted."""
    engines = ("pytorch", "jax") if pictures is None else ("pytorch", "keras_tensorflow", "jax")
    seeds, epochs = (2, 3) if pictures is None else (4, 8)
    made = Swept(
        tmp_path_factory.mktemp("swept"), "example", engines, seeds, epochs,
        {**os.environ, "FWCOMPARE_CACHE": str(cache), "COLUMNS": "160"},
    )  # fmt: skip
    ended = subprocess.run(
        [FWCOMPARE, "-m", f"framework={','.join(engines)}", f"seed=range({seeds})", "model=mlp",
         f"trainer.epochs={epochs}", "device.threads=1", f"sweep.name={made.name}"],
        cwd=made.folder, env=made.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return made


@pytest.fixture(scope="session")
def addresses(swept: Swept) -> Iterator[dict[str, str]]:
    """What ``fwcompare ui`` says to open, by what it says of it, while it serves the sweep."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [FWCOMPARE, "ui", "--port", str(port)],
        cwd=swept.folder, env=swept.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    found: dict[str, str] = {}
    for line in server.stdout:
        if said := re.match(r"\s*(.+?): (http\S+)", line):
            found[said[1]] = said[2]
        if "its charts" in found:
            break
    yield found
    server.terminate()
    server.communicate(timeout=30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory, pictures: Path | None) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("profile"), pictures)
    yield made
    made.driver.quit()


@pytest.fixture
def browser(_browser: Browser, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The browser; if the test fails, the page that it saw is kept in ``build/browser``."""
    failed = request.session.testsfailed
    yield _browser
    if request.session.testsfailed > failed:
        FAILURES.mkdir(parents=True, exist_ok=True)
        _browser.driver.save_screenshot(str(FAILURES / f"{request.node.name}.png"))

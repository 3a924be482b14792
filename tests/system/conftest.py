"""A real sweep, its MLflow UI and a real browser, for tests of what a person sees."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")

#: Where the page of a failed test is kept.
FAILURES = Path(__file__).parents[2] / "build" / "browser"

#: MLflow asks a new visitor for attention before it shows anything. This one has been here before,
#: and has chosen the side of training: from a link without that choice MLflow shows the other.
VISITED_BEFORE = """
localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
"""

#: Seconds that a page has to show something.
PATIENCE = 60


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


class Browser:
    """Debian's Chromium, and waiting for what a person would wait for."""

    def __init__(self, profile: Path, pictures: Path | None) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for option in (
            "headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
            "disable-background-networking", "disable-component-update", "disable-sync",
            f"user-data-dir={profile}", "hide-scrollbars",
            # A mouse: without one Plotly covers each chart with its buttons.
            "blink-settings=primaryHoverType=2,availableHoverTypes=2,"
            "primaryPointerType=4,availablePointerTypes=4",
        ):  # fmt: skip
            options.add_argument(f"--{option}")
        service = webdriver.ChromeService("/usr/bin/chromedriver")
        self.driver = webdriver.Chrome(options, service)
        self.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": VISITED_BEFORE}
        )
        self._pictures = pictures

    def open(self, address: str, width: int = 1500, height: int = 950) -> None:
        """Open a page in a window of this size, from its beginning."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.get("about:blank")  # another place in one page would not load it again
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(address)

    def wait(self, what: str, until: Callable[[], Any]) -> Any:
        """Wait until something is true of the page, and return it."""
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException]
        )
        return waiting.until(lambda _: until(), f"{what} did not come")

    def all(self, selector: str) -> list[Any]:
        """The visible elements of a CSS selector."""
        found = self.driver.find_elements("css selector", selector)
        return [element for element in found if element.is_displayed()]

    def texts(self, selector: str) -> list[str]:
        """The text of visible elements."""
        return [element.text for element in self.all(selector)]

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.driver.find_element("css selector", "body").text)

    def click(self, text: str) -> None:
        """Click on the element with just this text."""
        from selenium.webdriver.common.by import By

        place = (By.XPATH, f"//*[normalize-space(text())='{text}']")
        self.wait(text, lambda: self.driver.find_elements(*place))[0].click()

    def complaints(self) -> list[str]:
        """What the page's scripts complained of."""
        return [entry["message"] for entry in self.driver.get_log("browser")
                if entry["level"] == "SEVERE"]  # fmt: skip

    def picture(self, name: str) -> None:
        """Keep what is seen, where pictures are wanted."""
        if self._pictures is not None:
            self.driver.save_screenshot(str(self._pictures / f"{name}.png"))


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

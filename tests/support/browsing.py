"""Debian's Chromium by Selenium, for tests of what a person sees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

#: MLflow asks a new visitor for attention before it shows anything. This one has been here before,
#: and has chosen the side of training: from a link without that choice MLflow shows the other.
VISITED_BEFORE = """
localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
"""

#: Seconds that a page has to show something.
PATIENCE = 60

#: How far a page reaches beyond its window.
BEYOND = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"

#: How many figures of a report have not been drawn.
UNDRAWN = "return document.querySelectorAll('.plot:not(:has(.main-svg))').length"


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

    def open_report(self, address: str, width: int = 1280) -> None:
        """Open a report in a window longer than itself, for it draws what is near; and wait until
        every figure is drawn."""
        self.open(address, width, height=20_000)
        self.wait("figures", lambda: self.all(".main-svg"))
        self.wait("every figure", lambda: self.driver.execute_script(UNDRAWN) == 0)

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

"""The report of a real sweep in a browser, wide and on a phone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from browsing import BEYOND

pytestmark = pytest.mark.system


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_drawn_asks_nobody_and_fits(browser, swept, width):
    browser.open_report(swept.report.as_uri(), width)
    for engine in swept.engines:
        assert engine in browser.text()
    assert browser.driver.execute_script(BEYOND) == 0
    assert browser.complaints() == []
    assert requests(browser) == {swept.report.as_uri()}


def test_it_begins_with_the_verdicts(browser, swept):
    browser.open(swept.report.as_uri(), width=1280, height=1500)
    browser.wait("figures", lambda: browser.all(".main-svg"))
    begins = browser.text()[:600]
    assert "Which is faster?" in begins
    assert all(engine in browser.text() for engine in swept.engines)
    browser.picture("report")


def requests(browser) -> set[str]:
    """Addresses that the page has asked for, besides what it carries in itself."""
    events = [json.loads(entry["message"])["message"]
              for entry in browser.driver.get_log("performance")]  # fmt: skip
    asked = {event["params"]["request"]["url"] for event in events
             if event["method"] == "Network.requestWillBeSent"}  # fmt: skip
    return {address for address in asked if not address.startswith(("data:", "blob:"))}

"""The page in a browser: it draws, obeys the reader's scheme, prints, and runs nothing else."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from browsing import BEYOND, UNDRAWN, Browser

pytestmark = pytest.mark.system

#: What a name would do if a browser took it for anything but text.
HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
)

#: The colours of the labels of axes.
LABELS = (
    "return [...document.querySelectorAll('.ytick text')].map(text => getComputedStyle(text).fill)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("profile"), None)
    yield made
    made.driver.quit()


@pytest.fixture
def written(make_sweep, page, tmp_path):
    """A page with hostile names, and how many figures it has."""
    source = page(make_sweep(engines=("pytorch", "jax", *HOSTILE), models=(HOSTILE[0],)))
    path = tmp_path / "report.html"
    path.write_text(source, encoding="utf-8")
    return path, source.count('class="plot"')


def prefer(browser: Browser, scheme: str) -> None:
    """Be a reader who prefers light or dark pages."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def test_every_figure_is_drawn_and_nothing_else_runs(browser, written):
    path, figures = written
    browser.open_report(path.as_uri())
    assert len(browser.all(".main-svg")) >= figures > 10
    assert browser.driver.title == "made – fwcompare"
    assert browser.complaints() == []


def test_colours_follow_the_reader_s_scheme(browser, written):
    path, _ = written
    ink = {"light": "rgb(24, 26, 31)", "dark": "rgb(232, 234, 239)"}
    for scheme, colour in ink.items():
        prefer(browser, scheme)
        browser.open_report(path.as_uri())
        assert set(browser.driver.execute_script(LABELS)) == {colour}


def test_print_has_every_figure(browser, written, tmp_path):
    """Also those that were never on the screen."""
    path, _ = written
    prefer(browser, "dark")
    browser.open(path.as_uri(), width=400, height=400)
    assert browser.driver.execute_script(UNDRAWN) > 0, "all of it is on the screen"
    printed = tmp_path / "report.pdf"
    answer = browser.driver.execute_cdp_cmd("Page.printToPDF", {})
    printed.write_bytes(base64.b64decode(answer["data"]))
    text = subprocess.run(
        ["pdftotext", printed, "-"], capture_output=True, text=True, check=True
    ).stdout
    for axis in ("times as fast", "seconds of training", "MiB", "FLOP a byte"):
        assert f"\n{axis}\n" in text, "the axes of figures, of the first and of the last"


def test_it_fits_a_phone(browser, written):
    """Nothing but a table, in its own scroller, is wider than the screen."""
    path, _ = written
    browser.open_report(path.as_uri(), width=390)
    assert browser.driver.execute_script(BEYOND) == 0

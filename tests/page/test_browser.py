"""The page in a browser: it draws, obeys the reader's scheme, prints, and runs nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

#: What a name would do if a browser took it for anything but text.
HOSTILE = (
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=\"document.title='taken'\">",
)

PREFERS_DARK = "--blink-settings=preferredColorScheme=0"


@pytest.fixture
def chromium(tmp_path):
    """A function that opens a file in a fresh Chromium, and returns what it prints and its log."""
    program = shutil.which("chromium")
    assert program, "tests/system/install-debian-packages installs it"

    def run(path: Path, *options: str) -> tuple[str, str]:
        ended = subprocess.run(
            [
                program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--enable-logging=stderr", f"--user-data-dir={tmp_path}/profile",
                "--virtual-time-budget=30000", *options, path.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        return ended.stdout, ended.stderr

    return run


@pytest.fixture
def written(make_sweep, page, tmp_path):
    """A page with hostile names, and how many figures it has."""
    source = page(make_sweep(engines=("pytorch", "jax", *HOSTILE), models=(HOSTILE[0],)))
    path = tmp_path / "report.html"
    path.write_text(source, encoding="utf-8")
    return path, source.count('class="plot"')


def test_every_figure_is_drawn_and_nothing_else_runs(chromium, written):
    path, figures = written
    document, log = chromium(path, "--dump-dom", "--window-size=1280,20000")
    assert document.count('class="main-svg"') >= figures > 10
    assert document.count("<title>made – fwcompare</title>") == 1
    assert "Refused to" not in log and "Uncaught" not in log, log


def test_colours_follow_the_reader_s_scheme(chromium, written):
    path, _ = written
    ink = {"light": "rgb(24, 26, 31)", "dark": "rgb(232, 234, 239)"}
    for scheme, option in (("light", "--hide-scrollbars"), ("dark", PREFERS_DARK)):
        document, _ = chromium(path, "--dump-dom", "--window-size=1280,20000", option)
        labels = re.findall(r'class="ytick"><text[^>]*fill: (rgb\([^)]*\))', document)
        assert set(labels) == {ink[scheme]}


def test_print_has_every_figure(chromium, written, tmp_path):
    """Also those that were never on the screen."""
    path, _ = written
    printed = tmp_path / "report.pdf"
    chromium(path, f"--print-to-pdf={printed}", PREFERS_DARK, "--window-size=400,400")
    text = subprocess.run(
        ["pdftotext", printed, "-"], capture_output=True, text=True, check=True
    ).stdout
    for axis in ("times as fast", "seconds of training", "MiB", "FLOP a byte"):
        assert f"\n{axis}\n" in text, "the axes of figures, of the first and of the last"


def test_it_fits_a_phone(chromium, written, tmp_path):
    """Nothing but a table, in its own scroller, is wider than the screen."""
    path, _ = written
    frame = tmp_path / "phone.html"
    frame.write_text(
        f'<iframe width=390 height=20000 src="{path.name}"></iframe><script>'
        "onload = () => { const own = document.querySelector('iframe').contentDocument; "
        "document.title = own.documentElement.scrollWidth <= 390 ? 'fits' : 'too wide'; }</script>",
        encoding="utf-8",
    )
    document, _ = chromium(frame, "--dump-dom", "--allow-file-access-from-files")
    assert "<title>fits</title>" in document

"""What language models wrote stands on the page as text, whatever it is."""

from __future__ import annotations

import pytest

from fwcompare.record import SAMPLES_FILE

HOSTILE = "<script>document.title='taken'</script>\n</td></table> {{ 7 * 7 }} &amp; \"'"


@pytest.mark.parametrize("length", [len(HOSTILE), 5000])
def test_written_text_is_escaped_and_cut(make_sweep, page, length):
    folder = make_sweep(engines=("pytorch", "jax"), seeds=2)
    written = (HOSTILE + "x" * length)[:length]
    for run in ("run-0", "run-2"):
        (folder / run / SAMPLES_FILE).write_text(f"{run}: {written}", encoding="utf-8")
    shown = page(folder)
    assert "What do they write?" in shown
    assert "&lt;script&gt;document.title" in shown and "{{ 7 * 7 }} &amp;amp;" in shown
    assert "<script>document.title" not in shown and "</td></table> {{" not in shown
    assert "run-0: " in shown and "run-2: " in shown
    assert "x" * 2000 not in shown


def test_without_text_nobody_asks(make_sweep, page):
    assert "What do they write?" not in page(make_sweep())

"""What a person sees while runs go on."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from fwcompare.display import Display, _time
from fwcompare.record import RunRecord
from fwcompare.terminal import plain
from fwcompare.testing import make_run, optimizer, small_data

LAYERS = [{"name": "flat", "kind": "flatten"}, {"name": "logits", "kind": "dense", "units": 3}]


@pytest.fixture
def spec(tmp_path):
    data = small_data(tmp_path / "data", (2, 2, 1), 3)
    made, _ = make_run(tmp_path, "jax", LAYERS, data, optimizer=optimizer("sgd"))
    return made


def _watch(spec, terminal, total=2, width=100, **record):
    """What the display writes for one run of several."""
    written = io.StringIO()
    console = plain(file=written, force_terminal=terminal, width=width, color_system=None)
    epoch = {"event": "epoch", "epoch": 1, "metrics": {"train/loss": 0.5, "val/accuracy": 0.75}}
    with Display(console, total) as display:
        display.begin(spec)
        for event in ({"event": "start"}, {"event": "phase", "name": "build"}, epoch):
            display.event(spec.run, event)
        ended = {"run": "r", "status": "ok", "reason": "", "started_ms": 0, "ended_ms": 1}
        display.end(spec.run, "jax/test s1", RunRecord(**{**ended, **record}))
    return written.getvalue()


def test_a_terminal_shows_what_the_run_is_at(spec):
    shown = _watch(spec, terminal=True)
    for part in ("importing the framework", "first step", "loss 0.5000  val accuracy 0.7500"):
        assert part in shown
    assert "jax/test s1" in shown and "left" in shown


@pytest.mark.parametrize("width", [40, 60, 100])
def test_a_narrow_terminal_still_says_how_far_it_is(spec, width):
    shown = _watch(spec, terminal=True, width=width)
    live = [line for line in re.split(r"\n|\r|\x1b\[[0-9;?]*[a-zA-Z]", shown) if "loss" in line]
    assert live and all("1/" in line and len(line) <= width for line in live)
    assert "0/2" in shown, "of the sweep"


@pytest.mark.parametrize("name", ["[/x]", "[bold]m", ":bug:"])
def test_a_name_is_shown_as_it_is(spec, name):
    assert f"jax/{name} s" in _watch(spec.but(model=replace(spec.model, name=name)), True)


def test_a_run_that_has_ended_is_counted_at_once(spec):
    shown = _watch(spec, terminal=True)
    (printed,) = (m.start() for m in re.finditer(r"jax/test s1 +ok", shown))
    last = shown[printed:].split("1/2")
    assert len(last) > 1 and "loss" not in shown[printed:], "nothing stale stands below its line"


def test_a_pipe_gets_one_line_a_run(spec):
    shown = _watch(spec, terminal=False, metrics={"test/accuracy": 0.9, "time/total_s": 3.0})
    assert shown.splitlines() == [
        "[1/2] jax/test s1                  ok          test/accuracy 0.9000  3.0 s"
    ]
    assert "\x1b" not in shown


def test_a_run_that_failed_says_why(spec):
    shown = _watch(spec, terminal=False, total=1, status="failed", reason="ValueError: no")
    assert "failed" in shown and "ValueError: no" in shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.4, "4 s"), (89, "89 s"), (95, "2 min"), (5000, "83 min"), (9000, "2 h")],
)
def test_times_in_words(seconds, words):
    assert _time(seconds) == words

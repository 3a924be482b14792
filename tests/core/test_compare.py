"""Comparisons are pure functions over records."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from fwcompare import report
from fwcompare.compare import Run, Spread, compare, load_runs
from fwcompare.errors import RequestError
from fwcompare.record import RunRecord


def run(engine, seed, rate=None, status="ok", reason="", **digests):
    metrics = (
        {} if rate is None else {"perf/samples_per_s": rate, "test/accuracy": 0.9 + seed / 100}
    )
    record = RunRecord(f"{engine}-{seed}", status, reason, 1, 2, metrics=metrics, digests=digests)
    return Run(engine, seed, record)


def only(runs, baseline=None):
    (comparison,) = compare(runs, "sweep", baseline)
    return comparison


def rows(comparison):
    return {row.label: row for row in comparison.rows}


def test_ratios_are_paired_by_seed():
    # Ratios by seed are 2, 3 and 1; the ratio of the medians would be 200/100 = 2 by accident of
    # order, so the seeds are given in different orders.
    runs = [run("a", s, r) for s, r in ((0, 100.0), (1, 10.0), (2, 1000.0))]
    runs += [run("b", s, r) for s, r in ((2, 1000.0), (0, 200.0), (1, 30.0))]
    found = rows(only(runs))
    assert found["b"].ratio == Spread(2.0, 1.0, 3.0, 3)
    assert found["a"].ratio == Spread(1.0, 1.0, 1.0, 3)


def test_a_seed_that_one_side_lacks_is_left_out_of_the_ratio():
    runs = [run("a", 0, 100.0), run("a", 1, 100.0), run("b", 1, 300.0), run("b", 2, 900.0)]
    assert rows(only(runs))["b"].ratio == Spread(3.0, 3.0, 3.0, 1)


def test_failed_runs_keep_their_row():
    runs = [run("a", 0, 100.0), run("b", 0, None, "out_of_memory", "too big"), run("b", 1, 50.0)]
    row = rows(only(runs))["b"]
    assert row.statuses == {"out_of_memory": 1, "ok": 1}
    assert row.reasons == ("too big",)
    assert row.ratio is None
    assert only(runs).rows[-1].label == "b"


def test_only_failed_runs():
    comparison = only([run("a", 0, None, "failed", "why")])
    assert comparison.baseline is None
    assert "why" in report.markdown([comparison])


def test_the_baseline_that_was_asked_for():
    runs = [run("a", 0, 100.0), run("b", 0, 50.0)]
    comparison = only(runs, "b")
    assert comparison.baseline == "b" and rows(comparison)["a"].ratio.median == 2.0
    with pytest.raises(RequestError, match="baseline 'c'"):
        compare(runs, "sweep", "c")


def test_other_batches_are_not_the_same_experiment():
    runs = [run("a", 0, 1.0, batches=["x"]), run("b", 0, 1.0, batches=["y"])]
    assert any("different batches" in note for note in only(runs).notes)
    runs = [run("a", 0, 1.0, data="x"), run("b", 0, 1.0, data="x"), run("b", 1, 1.0, data="y")]
    assert not any("different" in note for note in only(runs).notes)


def test_nothing_to_compare(tmp_path):
    with pytest.raises(RequestError, match="no runs"):
        compare([])
    with pytest.raises(RequestError, match="no sweep folder"):
        load_runs(tmp_path)


def test_formats():
    comparisons = compare([run("a", 0, 100.0), run("a|b", 0, 50.0)], "sweep")
    text = report.markdown(comparisons)
    assert "a\\|b" in text and "| baseline |" in text
    (parsed,) = json.loads(report.as_json(comparisons))
    assert parsed["rows"][0]["metrics"]["perf/samples_per_s"]["median"] == 100.0


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_the_terminal(width):
    comparison = only([run("keras_tensorflow", s, 12345.0) for s in range(3)])
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        report.show([comparison], console)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert any("keras_tensorflow" in line and "12,345" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12345.6, "12,346"), (99.96, "100.0"), (1.239, "1.24"), (0.01239, "0.0124"), (0, "0")],
)
def test_numbers(value, shown):
    assert report.number(value) == shown

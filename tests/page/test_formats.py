"""The other formats of a report, and where they go."""

from __future__ import annotations

import csv
import io
import sys
from types import SimpleNamespace

import pytest

from fwcompare import report
from fwcompare.errors import RequestError
from fwcompare.multirun import command
from fwcompare.outcome import outcome
from fwcompare.verbs import call


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_row_an_arm(make_sweep):
    (comparison,) = outcome(make_sweep()).comparisons
    rows = {row["arm"]: row for row in table(report.as_csv([comparison]))}
    assert list(rows) == [row.label for row in comparison.rows]
    own = next(row for row in comparison.rows if row.label == "jax")
    assert float(rows["jax"]["speed_ratio"]) == own.speed.estimate.value
    assert float(rows["jax"]["time/total_s high"]) == own.metrics["time/total_s"].high
    assert rows["pytorch"]["speed_verdict"] == "baseline" and not rows["pytorch"]["speed_low"]


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\tx", 'a "b", c\nd'])
def test_csv_holds_no_formula(make_sweep, name):
    comparisons = outcome(make_sweep(engines=("pytorch", name))).comparisons
    (row,) = [r for r in table(report.as_csv(comparisons)) if r["engine"].endswith(name)]
    assert row["engine"] == (name if name[0] == "a" else f"'{name}")


@pytest.mark.parametrize(
    ("format", "start"),
    [("csv", "sweep,"), ("json", "{"), ("markdown", "### "), ("table", "\nmlp")],
)
def test_a_report_goes_where_it_is_told(make_sweep, tmp_path, capsys, format, start):
    file = tmp_path / "report.txt"
    assert call("report", [str(make_sweep()), "--format", format, "--output", str(file)]) == 0
    assert file.read_text(encoding="utf-8").startswith(start)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["[/bold]", "[red]x", ":bug:"])
def test_a_name_is_no_style_of_the_terminal(make_sweep, capsys, name):
    assert call("report", [str(make_sweep(engines=("pytorch", name), models=(name,)))]) == 0
    shown = capsys.readouterr().out
    assert f"{name} on random" in shown and f"\n {name} " in shown


def test_a_page_goes_into_the_sweep_s_folder(make_sweep, tmp_path, capsys):
    folder = make_sweep()
    assert call("report", [str(folder), "--format", "html"]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    own = tmp_path / "own.html"
    assert call("report", [str(folder), "--format", "html", "--output", str(own)]) == 0
    assert own.is_file() and not list(folder.glob("*.part"))


@pytest.mark.parametrize("format", ["html", "csv"])
def test_a_place_that_is_none_is_said(make_sweep, tmp_path, format):
    where = tmp_path / "nowhere" / "file"
    with pytest.raises(RequestError, match="cannot be written"):
        call("report", [str(make_sweep()), "--format", format, "--output", str(where)])


def test_a_sweep_without_a_run_is_said(make_sweep):
    folder = make_sweep(status=lambda engine, seed: "running")
    with pytest.raises(RequestError, match="No run of the sweep made has ended yet"):
        call("report", [str(folder), "--format", "html"])


def test_plotly_waits_until_there_is_a_page():
    """It takes a quarter of a second, which no other command has."""
    import subprocess

    code = (
        "import sys, fwcompare.multirun, fwcompare.verbs.report, fwcompare.single\n"
        "print('plotly' in sys.modules, 'jinja2' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "False"]


def test_the_command_is_rebuilt_from_what_hydra_was_asked():
    hydra = SimpleNamespace(
        overrides=SimpleNamespace(
            hydra=["hydra.mode=MULTIRUN", "hydra/launcher=joblib"],
            task=["framework=pytorch,jax", "seed=range(3)", "tracking.uri=http://me:word@host/x"],
        ),
        job=SimpleNamespace(config_name="config"),
        runtime=SimpleNamespace(
            config_sources=[SimpleNamespace(provider="command-line", path="my conf")]
        ),
    )
    assert command(hydra) == (
        "fwcompare -m --config-dir 'my conf' hydra/launcher=joblib framework=pytorch,jax "
        "'seed=range(3)' 'tracking.uri=http://me:***@host/x'"
    )

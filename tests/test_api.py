"""The Python interface: what the command line does, as objects and data frames."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import fwcompare
from fwcompare.api import SweepResult
from fwcompare.errors import FwcompareError, RequestError, UnsupportedError

SMALL = {
    "model": "logistic",
    "trainer__epochs": 2,
    "device__threads": 1,
    "parity__in_sweep": False,
    "tracking": "none",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory, cache) -> dict[str, Path]:
    """Options that keep everything in a folder whose name Hydra would not read unquoted."""
    return {
        "paths__outputs": tmp_path_factory.mktemp("its own, [folder]"),
        "paths__cache": cache,
    }


@pytest.fixture(scope="module")
def swept(folders) -> SweepResult:
    """Two engines with three seeds, run from a thread that is not the main one."""
    found: list[SweepResult] = []

    def sweep() -> None:
        asked = {**SMALL, **folders}
        found.append(
            fwcompare.sweep("framework=pytorch,jax", seed=range(3), sweep__name="s", **asked)
        )

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join()
    return found[0]


def test_a_run_is_a_record_with_frames(folders, capsys):
    done = fwcompare.run("framework=pytorch", seed=1, **SMALL, **folders)
    assert (done.ok, done.status, done.spec.seed) == (True, "ok", 1)
    assert list(done.history["epoch"]) == [1, 2]
    assert done.history["val/accuracy"].iloc[-1] == done.metrics["val/accuracy"]
    assert done.folder == folders["paths__outputs"] / "runs" / done.name
    assert capsys.readouterr().out == "", "it prints when asked to"
    done.show()
    assert "test accuracy" in capsys.readouterr().out
    again = fwcompare.load(done.name, outputs=folders["paths__outputs"])
    assert again == fwcompare.load(done.folder) == done


def test_a_sweep_is_frames(swept):
    assert swept.ok and repr(swept) == "<sweep s: 6 ok>"
    assert sorted(swept.runs["seed"]) == [0, 0, 1, 1, 2, 2]
    assert set(swept.runs["arm"]) == {"pytorch", "jax"}
    assert (swept.runs["perf/samples_per_s"] > 0).all()
    assert len(swept.history) == 6 * 2
    assert swept.history.groupby("run")["epoch"].max().eq(2).all()


def test_verdicts_are_those_of_the_comparison(swept):
    (comparison,) = swept.comparisons
    verdicts = swept.verdicts.set_index("arm")
    assert list(verdicts["baseline"]) == ["pytorch", "pytorch"]
    (row,) = (row for row in comparison.rows if row.label == "jax")
    jax = verdicts.loc["jax"]
    assert jax["speed_low"] < jax["speed_ratio"] < jax["speed_high"]
    assert jax["speed_ratio"] == row.speed.estimate.value
    assert (jax["speed_verdict"], jax["standing"]) == (str(row.speed), "unproven")
    assert verdicts["speed_ratio"].isna()["pytorch"], "the baseline is not held against itself"


def test_the_command_line_reports_the_same(swept, cli, capsys):
    place = str(swept.folder.parents[1])
    shown = cli("report", "s", "--outputs", place, "--format", "json")
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)["comparisons"]
    assert told == [json.loads(json.dumps(c.to_json())) for c in swept.comparisons]
    other = fwcompare.load("s", outputs=place, baseline="jax")
    assert other.comparisons[0].baseline == "jax"
    swept.show()
    assert "logistic on digits" in capsys.readouterr().out


def test_a_failed_run_is_a_row(folders):
    rate = "optimizer.lr=1e38"
    asked = {**SMALL, "model": "mlp"}
    done = fwcompare.sweep("framework=pytorch", "optimizer=sgd", rate, **asked, **folders)
    assert not done.ok
    assert list(done.runs["status"]) == ["diverged"]
    assert done.runs["reason"].str.len().all()
    assert list(done.verdicts["runs_ok"]) == [0]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: fwcompare.run("framework=jaxx"), "jaxx"),
        (lambda: fwcompare.run(trainer__epochs=-1), "trainer.epochs"),
        (lambda: fwcompare.run(no_such=3), "no_such"),
        (lambda: fwcompare.run("framework=pytorch,jax"), "several values"),
        (lambda: fwcompare.run("experiment=quickstart"), "fwcompare.sweep"),
        (lambda: fwcompare.run(config_dir="nowhere"), "nowhere"),
        (lambda: fwcompare.sweep("framework=pytorch,jaxx"), "jaxx"),
        (lambda: fwcompare.sweep("hydra/sweeper=basic", trainer__epochs=0), "hydra/sweeper"),
        (lambda: fwcompare.load("nothing"), "nothing"),
        (lambda: fwcompare.load(), "no sweep"),
    ],
)
def test_wrong_requests_are_raised(ask, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError) as error:
        ask()
    assert words in str(error.value)
    assert not [p for p in tmp_path.glob("outputs/**/*") if p.is_file()], "nothing has been run"


def test_what_an_engine_cannot_do_is_raised_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsupportedError):
        fwcompare.run("framework=jax", "execution=eager", **SMALL)


def test_a_callers_hydra_is_left_as_it_was(tmp_path, monkeypatch):
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(tmp_path)
    with initialize_config_module("fwcompare.conf", version_base="1.3"):
        theirs = GlobalHydra.instance().hydra
        with pytest.raises(FwcompareError):
            fwcompare.run("framework=jaxx")
        assert GlobalHydra.instance().hydra is theirs


def test_a_notebook_is_told_in_lines(recwarn):
    import io

    from rich.console import Console

    from fwcompare.waiting import waiting

    said = io.StringIO()
    console = Console(file=said, force_jupyter=False)
    console.is_jupyter = True  # IPython itself would be asked to display otherwise
    shown: list[str] = []
    console.print = lambda words, style: shown.append(words)  # type: ignore[method-assign]
    with waiting(console, "Proving ..."):
        pass
    assert shown == ["Proving ..."]
    assert not recwarn.list, "rich's spinner warns without ipywidgets"


def test_importing_it_is_light(tmp_path):
    code = (
        "import sys, fwcompare\n"
        "assert {'run', 'sweep', 'load'} <= set(dir(fwcompare))\n"
        "heavy = {'pandas', 'hydra', 'omegaconf', 'rich', 'numpy', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert callable(fwcompare.sweep)\n"
        "heavy = {'pandas', 'hydra', 'mlflow', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import fwcompare.multirun\n"
        "assert callable(fwcompare.sweep), 'no module has the name of a function'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)

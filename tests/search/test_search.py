"""Searches by the command line, with an engine that needs no framework."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fwcompare.testing import write_plugin

STUB = Path(__file__).parents[1] / "support" / "stub_engine.py"
SHORT = (
    *("model=logistic", "optimizer=sgd", "trainer.epochs=2", "device.threads=1", "sweep.name=s"),
    *("measure.predict_calls=0", "tracking=none"),
)
RATE = "optimizer.lr=tag(log, interval(1e-3, 1))"


@pytest.fixture
def search(cli, tmp_path):
    """Run a search with two stub engines on the path."""
    site = tmp_path / "site"
    code = STUB.read_text(encoding="utf-8")
    write_plugin(site, "stub", code)
    write_plugin(site, "other", code.replace('name = "stub"', 'name = "other"'))
    (site / "stub_engine.py").write_text(code, encoding="utf-8")

    def run(*options: str, code: int = 0, name: str = "s"):
        given = ("-m", "hydra/sweeper=optuna", *SHORT, *options)
        ended = cli(*given, PYTHONPATH=str(site))
        assert ended.returncode == code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        if code == 2:
            return ended.stderr
        return json.loads((tmp_path / f"outputs/sweeps/{name}/search.json").read_text()), ended

    return run


def test_every_engine_gets_the_same_points_and_the_best_are_compared(search, cli, tmp_path):
    found, ended = search("hydra.sweeper.n_trials=3", "framework=stub,other", RATE, "seed=0,1")
    (lane,) = found["lanes"]
    assert lane["arms"] == ["other", "stub"]
    assert [point["state"] for point in lane["tried"]] == ["complete"] * 3
    for point in lane["tried"]:
        assert set(point["arms"]) == {"other", "stub"} and len(point["runs"]) == 4
        (rate,) = {
            json.loads((tmp_path / f"outputs/sweeps/s/{run}/spec.json").read_text())["optimizer"][
                "lr"
            ]
            for run in point["runs"]
        }
        assert rate == point["point"]["optimizer.lr"]
    assert "Tuned, not the same experiment" in ended.stdout
    assert "3 points by tpe, the same for every engine." in ended.stdout
    page = (tmp_path / "outputs/sweeps/s/report.html").read_text(encoding="utf-8")
    assert "The best point of each engine" in page
    again = cli("report", "s", PYTHONPATH=str(tmp_path / "site"))
    assert again.returncode == 0 and "The best point of each engine" in again.stdout

    # The same command finds nothing left to do; a larger budget goes on.
    _, ended = search("hydra.sweeper.n_trials=3", "framework=stub,other", RATE, "seed=0,1")
    assert "all 3 points were tried" in ended.stderr
    found, _ = search("hydra.sweeper.n_trials=4", "framework=stub,other", RATE, "seed=0,1")
    assert len(found["lanes"][0]["tried"]) == 4
    assert "another search" in search("framework=stub", RATE, code=2)


def test_points_and_engines_beside_one_another(search):
    """Batches of two points, each run by two engines, two runs at a time."""
    several = (
        "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2",
        "compare.measure=accuracy", "hydra.sweeper.n_trials=3", "framework=stub,other", RATE,
    )  # fmt: skip
    found, ended = search(*several)
    assert "Launcher joblib: 2 runs at a time" in ended.stderr
    assert [point["state"] for point in found["lanes"][0]["tried"]] == ["complete"] * 3
    assert all(len(point["runs"]) == 2 for point in found["lanes"][0]["tried"])
    assert "nothing is said of speed" in " ".join(ended.stdout.split())


def test_own_points_several_objectives_and_a_grid(search):
    found, ended = search(
        "hydra.sweeper.points=own", "hydra.sweeper.sampler=grid", "framework=stub,other",
        "optimizer.lr=choice(0.1, 0.2)",
        "hydra.sweeper.objectives=[val/accuracy, time/train_s]",
    )  # fmt: skip
    assert [lane["arms"] for lane in found["lanes"]] == [["stub"], ["other"]] or [
        lane["arms"] for lane in found["lanes"]
    ] == [["other"], ["stub"]]
    for lane in found["lanes"]:
        rates = sorted(point["point"]["optimizer.lr"] for point in lane["tried"])
        assert rates == ["0.1", "0.2"]
    assert found["objectives"] == [
        {"metric": "val/accuracy", "direction": "maximize"},
        {"metric": "time/train_s", "direction": "minimize"},
    ]
    assert "The points that no other beats" in ended.stdout


def test_a_run_that_does_badly_is_ended(search, tmp_path):
    found, _ = search(
        "hydra.sweeper.pruner=median", "hydra.sweeper.sampler=grid", "framework=stub",
        "optimizer.lr=choice(0.5, 0.4, 0.3, 0.6, 1e-9, 2e-9)", "trainer.epochs=400",
    )  # fmt: skip
    (lane,) = found["lanes"]
    pruned = [point for point in lane["tried"] if point["state"] == "pruned"]
    assert pruned and all(
        point["point"]["optimizer.lr"].endswith("e-09")
        or point["point"]["optimizer.lr"].endswith("e-9")
        for point in pruned
    )
    record = json.loads(
        (tmp_path / f"outputs/sweeps/s/{pruned[0]['runs'][0]}/record.json").read_text()
    )
    assert record["status"] == "pruned" and "median pruner" in record["reason"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["framework=stub"], "The search space is empty"),
        (["framework=stub", "optimizer.lrr=choice(1, 2)"], "Did you mean 'optimizer.lr'"),
        (["framework=stub", RATE, "hydra.sweeper.sampler=tpa"], "Did you mean 'tpe'"),
        (["framework=stub", RATE, "hydra.sweeper.sampler=grid"], "A grid needs values"),
        (["framework=stub", RATE, "hydra.sweeper.objectives=test/accuracy"], "val/accuracy"),
        (["framework=stub", RATE, "hydra.sweeper.n_trials=0"], "at least 1"),
        (["framework=stub", RATE, "hydra.sweeper.pruner=median", "seed=0,1"], "only run"),
        (["framework=stub", RATE, "dataset.params.val_fraction=0"], "nothing for validation"),
        (["framework=stub", RATE, "hydra.sweeper.storage=nosuch://x"], "cannot be used"),
        (
            [
                "framework=stub",
                RATE,
                "compare.measure=accuracy",
                "hydra.sweeper.objectives=time/train_s",
            ],
            "measures no times",
        ),
        (
            [
                "framework=stub",
                RATE,
                "hydra/launcher=submitit_local",
                "hydra.sweeper.pruner=median",
            ],
            "must hear of every epoch",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_run(search, tmp_path, options, said):
    assert said in search(*options, code=2)
    assert not list(tmp_path.glob("outputs/sweeps/s/*/record.json"))

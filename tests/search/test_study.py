"""Points from a study, what they were worth, and a study that is gone on with."""

from __future__ import annotations

import math

import pytest

from fwcompare.errors import RequestError
from fwcompare.search.objective import Objective, objectives
from fwcompare.search.result import Lane, Searched, Tried, front, grids
from fwcompare.search.space import Choice, Interval, Space
from fwcompare.search.study import Options, Study

ACCURACY = Objective.named("val/accuracy")
SPEED = Objective.named("perf/samples_per_s")
SPACE = Space(
    (Interval("lr", 1e-3, 1.0, log=True), Choice("width", ("8", "16", "32"))), ((),), ("epochs=1",)
)
GRID = Space((Choice("width", ("8", "16", "32")), Choice("depth", ("1", "2"))), ((),))


def study(tmp_path, space=SPACE, aims=(ACCURACY,), **options) -> Study:
    return Study(space, aims, Options(**options), tmp_path / "search.log", "mine")


def worth(point) -> float:
    """Best at a rate of 0.1, and the more the wider."""
    return 1 - abs(math.log10(point["lr"]) + 1) / 10 + int(point["width"]) / 1000


def search(made: Study) -> None:
    while made.done < made.budget:
        trial = made.propose()
        made.tell(trial, {"jax": [worth(trial.params)]}, [f"run-{trial.number}"])


def test_tpe_comes_closer_than_chance(tmp_path):
    made = study(tmp_path, n_trials=40)
    search(made)
    first, last = made.tried()[:10], made.tried()[-10:]

    def mean(points):
        return sum(worth(p.point) for p in points) / len(points)

    assert mean(last) > mean(first)
    (shares,) = made.importances()
    assert shares["lr"] > shares["width"]


def test_the_same_seed_draws_the_same_points(tmp_path):
    for name in ("a", "b"):
        search(study(tmp_path / name, sampler="random", n_trials=5))
    drawn = [[p.point for p in study(tmp_path / n, sampler="random").tried()] for n in ("a", "b")]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 5


@pytest.mark.parametrize(("budget", "points"), [(20, 6), (4, 4)])
def test_a_grid_is_tried_whole_but_for_the_budget(tmp_path, budget, points):
    made = study(tmp_path, GRID, sampler="grid", n_trials=budget)
    while made.done < made.budget:
        made.tell(made.propose(), {"jax": [0.5]}, [])
    tried = {tuple(point.point.items()) for point in made.tried()}
    assert len(tried) == len(made.tried()) == points


def test_a_search_goes_on_where_it_was_cut_off(tmp_path):
    made = study(tmp_path, n_trials=3)
    made.tell(made.propose(), {"jax": [0.5]}, ["run"])
    cut_off = made.propose().params
    again = study(tmp_path, n_trials=3)
    assert again.done == 1
    trial = again.propose()
    assert trial.params == cut_off
    again.tell(trial, {"jax": [0.6]}, [])
    assert [point.state for point in again.tried()] == ["complete", "cut off", "complete"]


def test_another_search_is_not_mixed_in(tmp_path):
    study(tmp_path)
    with pytest.raises(
        RequestError, match="another search under the name 'mine': axes, fixed differ"
    ):
        study(tmp_path, GRID)
    with pytest.raises(RequestError, match="another search"):
        study(tmp_path, points="own")


def test_a_storage_that_cannot_be_opened_is_said_without_its_password():
    with pytest.raises(RequestError, match="cannot be used") as caught:
        Study(SPACE, (ACCURACY,), Options(), "nosuch://me:secret@host/x", "mine")
    assert "secret" not in str(caught.value)


def test_a_point_without_a_value_everywhere_has_failed(tmp_path):
    made = study(tmp_path)
    made.tell(made.propose(), {"jax": [0.5], "pytorch": [math.nan]}, ["a", "b"])
    (point,) = made.tried()
    assert point.state == "failed" and point.arms == {"jax": [0.5]}


def test_the_test_split_may_not_choose():
    with pytest.raises(RequestError, match="val/accuracy"):
        Objective.named("test/accuracy")
    with pytest.raises(RequestError, match="names 1"):
        objectives(["val/accuracy", "time/total_s"], ["maximize"])
    aims = objectives(["val/accuracy", "val/loss", "perf/samples_per_s", "time/total_s"], None)
    assert [aim.sign for aim in aims] == [1, -1, 1, -1]


def point(number: int, *values: float) -> Tried:
    return Tried(number, "complete", {"lr": 0.1}, {"jax": list(values)}, ())


def test_of_several_objectives_no_point_on_the_front_is_beaten():
    points = [point(0, 0.9, 10), point(1, 0.8, 20), point(2, 0.7, 15), point(3, 0.9, 9)]
    assert [p.number for p in front("jax", points, (ACCURACY, SPEED))] == [0, 1]
    assert [p.number for p in front("jax", [point(0, 0.5), point(1, 0.6)], (ACCURACY,))] == [1]


def test_a_search_is_kept_and_shown(tmp_path):
    lane = Lane(("jax",), (point(0, 0.9), point(1, 0.8)), ({"lr": 1.0},))
    searched = Searched((ACCURACY,), "tpe", "shared", 2, ("lr 0.1 to 1",), (lane,))
    assert Searched.read(tmp_path) is None
    searched.write(tmp_path)
    assert Searched.read(tmp_path) == searched
    best, mattered, points = grids(searched)
    assert best.rows == (("jax", "0", "lr=0.1", "0.9000"),)
    assert mattered.rows == (("jax", "val/accuracy", "lr", "100%"),)
    assert len(points.rows) == 2
    (tmp_path / "search.json").write_text("{", encoding="utf-8")
    with pytest.raises(RequestError, match="is not JSON"):
        Searched.read(tmp_path)

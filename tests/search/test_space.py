"""The space of a search, from overrides as Hydra's users write them."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fwcompare.errors import RequestError
from fwcompare.search.space import Choice, Interval, Space, space


def parsed(*overrides: str) -> Space:
    return space(OverridesParser.create().parse_overrides(list(overrides)))


@pytest.mark.parametrize(
    ("override", "axis"),
    [
        ("optimizer.lr=interval(0.1, 1)", Interval("optimizer.lr", 0.1, 1.0)),
        ("optimizer.lr=tag(log, interval(1e-4, 1e-1))", Interval("optimizer.lr", 1e-4, 0.1, True)),
        ("a=int(interval(1, 9))", Interval("a", 1, 9, integer=True)),
        ("a=tag(log, int, interval(1, 9))", Interval("a", 1, 9, True, True)),
        ("a=choice(8, 16)", Choice("a", ("8", "16"))),
        ("a=8,16", Choice("a", ("8", "16"))),
        ("a=range(1, 4)", Choice("a", ("1", "2", "3"))),
        ("a=[1,2],[3]", Choice("a", ("[1,2]", "[3]"))),
        ("optimizer=sgd,adam", Choice("optimizer", ("sgd", "adam"))),
    ],
)
def test_what_is_swept_is_an_axis(override, axis):
    assert parsed(override).axes == (axis,)


def test_frameworks_and_seeds_are_crossed_and_the_rest_is_fixed():
    found = parsed("framework=jax,pytorch", "seed=range(2)", "a=1,2", "trainer.epochs=3")
    assert found.crossed == (
        ("framework=jax", "seed=0"),
        ("framework=jax", "seed=1"),
        ("framework=pytorch", "seed=0"),
        ("framework=pytorch", "seed=1"),
    )
    assert found.fixed == ("trainer.epochs=3",)
    assert found.overrides({"a": "2"}) == ["trainer.epochs=3", "a=2"]


def test_a_number_is_written_whole():
    value = 0.1 + 0.2
    found = parsed("a=interval(0, 1)")
    assert found.overrides({"a": value}) == ["a=0.30000000000000004"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=1,2"], "search space is empty"),
        (["a=interval(2, 1)"], "holds no value"),
        (["a=tag(log, interval(0, 1))"], "begins above 0"),
        (["seed=interval(0, 3)", "a=1,2"], "seed is run with each of its values"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(overrides, said):
    with pytest.raises(RequestError, match=said):
        parsed(*overrides)


def test_a_grid_needs_values():
    assert parsed("a=1,2", "b=range(2)").grid() == {"a": ("1", "2"), "b": ("0", "1")}
    with pytest.raises(RequestError, match="b is an interval"):
        parsed("a=1,2", "b=interval(0, 1)").grid()


def test_where_things_go_does_not_make_another_search():
    first = parsed("a=1,2", "trainer.epochs=3", "sweep.name=one", "tracking=none")
    assert first.to_json() == parsed("a=1,2", "trainer.epochs=3", "sweep.name=two").to_json()
    assert first.to_json() != parsed("a=1,2", "trainer.epochs=4").to_json()

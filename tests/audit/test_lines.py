"""Settings side by side."""

from __future__ import annotations

from fwcompare.audit.lines import lines
from fwcompare.audit.settings import different
from fwcompare.audit.table import by_value, in_words
from fwcompare.graph import Graph

GRAPH = Graph.from_layers(
    (4, 4, 1),
    [
        {"name": "a", "kind": "batch_norm"},
        {"name": "b", "kind": "batch_norm"},
        {"name": "f", "kind": "flatten"},
        {"name": "d", "kind": "dense", "units": 2},
    ],
)


def _engine(class_name, epsilon, second=None):
    return {
        "optimizer": {"class": class_name, "lr": 0.1},
        "a": {"epsilon": epsilon},
        "b": {"epsilon": second or epsilon},
    }


def test_what_differs_comes_first_and_alike_layers_share_a_line():
    made = lines({"x": _engine("X", 1e-5), "y": _engine("Y", 1e-3)}, GRAPH)
    assert [(line.subject, line.quantity, line.differs) for line in made] == [
        ("batch_norm", "epsilon", True),
        ("optimizer", "class", False),
        ("optimizer", "lr", False),
    ]


def test_layers_that_are_not_alike_have_lines_of_their_own():
    made = lines({"x": _engine("X", 1e-5, 1e-4), "y": _engine("Y", 1e-5)}, GRAPH)
    found = {line.subject: line.differs for line in made if line.quantity == "epsilon"}
    assert found == {"batch_norm a": False, "batch_norm b": True}


def test_a_quantity_that_one_engine_lacks_is_a_difference():
    x, y = _engine("X", 1e-5), _engine("Y", 1e-5)
    y["optimizer"]["clip_norm"] = 1.0
    assert different(x, y, "float64") == ["optimizer clip_norm"]
    (line,) = [line for line in lines({"x": x, "y": y}, GRAPH) if line.differs]
    assert by_value(line) == [(None, ["x"]), (1.0, ["y"])]


def test_numbers_agree_to_the_digits_of_the_precision():
    x, y = _engine("X", 1e-5), _engine("X", 1e-5 * (1 + 1e-8))
    assert different(x, y, "float64") == ["a epsilon", "b epsilon"]
    assert different(x, y, "float32") == []


def test_values_in_words():
    values = [None, True, 1e-08, [[0, 1], [1, 1]], "mean"]
    assert [in_words(value) for value in values] == ["–", "yes", "1e-08", "0+1 × 1+1", "mean"]

"""Models drawn."""

from __future__ import annotations

from fwcompare.diagram import mermaid, rails
from fwcompare.graph import Graph


def _dense(name, *inputs):
    layer = {"name": name, "kind": "dense", "units": 4}
    return {**layer, "inputs": list(inputs)} if inputs else layer


def test_a_chain_has_one_rail():
    graph = Graph.from_layers((4,), [_dense("a"), _dense("b")])
    assert rails(graph) == ["●", "●", "●"]


def test_a_residual_branch_leaves_and_comes_back():
    add = {"name": "sum", "kind": "add", "inputs": ["b", "input"]}
    graph = Graph.from_layers((4,), [_dense("a"), _dense("b"), add, _dense("c")])
    assert rails(graph) == ["●  ", "├─●", "│ ●", "●─╯", "●  "]


def test_a_shortcut_with_a_layer_of_its_own():
    add = {"name": "sum", "kind": "add", "inputs": ["a", "s"]}
    graph = Graph.from_layers((4,), [_dense("a"), _dense("s", "input"), add])
    assert rails(graph) == ["●  ", "├─●", "● │", "●─╯"]


def test_three_that_are_joined():
    layers = [_dense("a", "input"), _dense("b", "input"), _dense("c", "input")]
    join = {"name": "join", "kind": "concat", "inputs": ["a", "b", "c"]}
    drawn = rails(Graph.from_layers((4,), [*layers, join]))
    assert drawn == ["●    ", "├─●  ", "├─┼─●", "● │ │", "●─┴─╯"]


def test_mermaid_names_every_edge_and_escapes_quotes():
    graph = Graph.from_layers((4,), [_dense('say "a"'), _dense("b")])
    drawn = mermaid(graph)
    assert drawn.count("-->") == 2
    assert "n0 --> n1" in drawn and 'say "a"' not in drawn


def test_mermaid_draws_blocks_as_boxes_where_there_are_many_layers():
    layers = [_dense("a/x"), _dense("a/b/y"), _dense("a/b/z"), _dense("end", "a/x", "a/b/z")]
    layers[-1]["kind"], _ = "concat", layers[-1].pop("units")
    graph = Graph.from_layers((4,), layers)
    assert mermaid(graph, most=9) == mermaid(graph)
    assert mermaid(graph, most=3).splitlines()[2:] == [
        '  n1["a/x: dense<br/>4"]',
        '  n2["a/b: 2 layers<br/>4"]',
        '  n3["end: concat<br/>8"]',
        "  n0 --> n1",
        "  n1 --> n2",
        "  n1 --> n3",
        "  n2 --> n3",
    ]
    assert '  n1["a: 3 layers<br/>4"]' in mermaid(graph, most=1).splitlines()

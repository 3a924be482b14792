"""Layers of token ids and sequences: shapes, parameters, FLOPs, and what does not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fwcompare.errors import RequestError
from fwcompare.graph import TOKENS, VALUES, Graph
from fwcompare.graph.embedding import SinusoidalPosition

EMBEDDING = {"name": "e", "kind": "embedding", "tokens": 7, "features": 4}
DENSE = {"name": "d", "kind": "dense", "units": 3}


def layer(kind, shape=(6, 4), **options):
    """The only layer of a graph on sequences of numbers."""
    return Graph.from_layers(shape, [{"name": "x", "kind": kind, **options}]).layers[0]


def test_token_ids_become_vectors():
    graph = Graph.from_layers((6,), [EMBEDDING, DENSE], TOKENS)
    assert graph["e"].shape == (6, 4) and graph.output_shape == (6, 3)
    assert graph["e"].parameters[0].shape == (7, 4) and graph["e"].flops == 0


@pytest.mark.parametrize(
    ("layers", "shape", "input_type", "said"),
    [
        ([DENSE], (6,), TOKENS, "takes numbers"),
        ([EMBEDDING], (6,), VALUES, "takes token ids"),
        ([EMBEDDING, {**EMBEDDING, "name": "f"}], (6,), TOKENS, "but 'e' holds numbers"),
        ([EMBEDDING], (6, 6), TOKENS, r"token ids \(steps\), got \[6, 6\]"),
        ([{**EMBEDDING, "tokens": 0}], (6,), TOKENS, "tokens must be at least 1"),
    ],
)
def test_ids_where_numbers_are_wanted_and_the_other_way_round(layers, shape, input_type, said):
    with pytest.raises(RequestError, match=said):
        Graph.from_layers(shape, layers, input_type)


def test_ids_make_another_digest_and_numbers_keep_theirs():
    graph = Graph.from_layers((6,), [DENSE])
    assert graph.digest == Graph.from_layers((6,), [DENSE], VALUES).digest
    assert Graph((6,), graph.layers, TOKENS).digest != graph.digest


def test_waves_are_those_of_the_paper():
    table = SinusoidalPosition(base=100.0).table((5, 6))
    for p in range(5):
        for i in range(3):
            angle = p / 100 ** (2 * i / 6)
            assert math.isclose(table[p, 2 * i], math.sin(angle), abs_tol=1e-15)
            assert math.isclose(table[p, 2 * i + 1], math.cos(angle), abs_tol=1e-15)
    assert SinusoidalPosition().table((2, 3)).shape == (2, 3), "an odd number of features"
    assert not np.any(SinusoidalPosition().table((1, 4))[0, ::2])


@pytest.mark.parametrize(
    ("kind", "count"),
    # Four inputs, five units: gates * (4 * 5 + 5 * 5 + 5), and n's second bias in a GRU.
    [("lstm", 4 * 50), ("gru", 3 * 50 + 5)],
)
def test_a_recurrent_layer_has_one_bias_a_gate(kind, count):
    assert layer(kind, units=5).trainable_count == count


def test_stacks_and_directions_have_names_and_read_what_lies_below():
    built = layer("gru", units=5, layers=2, bidirectional=True, returns="all")
    kernels = {p.name: p.shape for p in built.parameters if p.name.endswith("/kernel")}
    assert kernels == {
        "0/forward/kernel": (4, 15),
        "0/backward/kernel": (4, 15),
        "1/forward/kernel": (10, 15),
        "1/backward/kernel": (10, 15),
    }
    assert built.shape == (6, 10)
    assert [p.name for p in layer("lstm", units=5).parameters] == [
        "kernel", "recurrent_kernel", "bias",
    ]  # fmt: skip
    both = layer("lstm", units=5, bidirectional=True)
    assert both.parameters[0].name == "forward/kernel" and both.shape == (10,)


def test_flops_of_a_recurrent_layer_are_those_of_its_products():
    one = layer("lstm", shape=(1, 100), units=100).flops
    assert math.isclose(one, 2 * 200 * 400, rel_tol=0.03)
    assert layer("lstm", shape=(7, 100), units=100).flops == 7 * one
    assert layer("lstm", shape=(1, 100), units=100, bidirectional=True).flops == 2 * one


def test_attention_divides_its_features_among_heads():
    built = layer("multi_head_attention", heads=2)
    shapes = {p.name: p.shape for p in built.parameters}
    assert shapes["query/kernel"] == (4, 2, 2) and shapes["output/kernel"] == (2, 2, 4)
    assert shapes["key/bias"] == (2, 2) and shapes["output/bias"] == (4,)
    assert built.trainable_count == 4 * (16 + 4) and built.shape == (6, 4)
    assert layer("multi_head_attention", heads=2, bias=False).trainable_count == 4 * 16


def test_attention_may_look_at_another_sequence():
    layers = [
        {"name": "other", "kind": "dense", "units": 3},
        {"name": "x", "kind": "multi_head_attention", "heads": 2, "inputs": ["input", "other"]},
    ]
    built = Graph.from_layers((6, 4), layers)["x"]
    shapes = {p.name: p.shape for p in built.parameters}
    assert shapes["key/kernel"] == (3, 2, 2) and shapes["query/kernel"] == (4, 2, 2)


@pytest.mark.parametrize(
    ("entry", "shape", "said"),
    [
        ({"kind": "lstm", "units": 0}, (6, 4), "units must be at least 1"),
        ({"kind": "gru", "units": 2, "returns": "first"}, (6, 4), "first"),
        ({"kind": "lstm", "units": 2}, (4,), "needs a sequence"),
        ({"kind": "multi_head_attention", "heads": 3}, (6, 4), "heads=3 must divide the 4"),
        ({"kind": "multi_head_attention", "heads": 2}, (6, 4, 4), "needs a sequence"),
        (
            {"kind": "multi_head_attention", "heads": 2, "causal": True,
             "inputs": ["input", "input"]},
            (6, 4),
            "causal is for one input",
        ),
        ({"kind": "sinusoidal_position", "base": 1.0}, (6, 4), "base must be more than 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(entry, shape, said):
    with pytest.raises(RequestError, match=said):
        Graph.from_layers(shape, [{"name": "x", **entry}])

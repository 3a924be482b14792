"""The FLOPs and bytes of a step, against a count by hand."""

from __future__ import annotations

import pytest

from fwcompare import testing
from fwcompare.graph import Graph
from fwcompare.spec import OPTIMIZERS
from fwcompare.work import UPDATES, sample_flops, training_step

LAYERS = [
    {"name": "flat", "kind": "flatten"},
    {"name": "hidden", "kind": "dense", "units": 4},
    {"name": "act", "kind": "activation", "function": "relu"},
    {"name": "logits", "kind": "dense", "units": 2},
]
GRAPH = Graph.from_layers((3, 1, 1), LAYERS)
HIDDEN, ACT, LOGITS = 2 * 3 * 4 + 4, 4, 2 * 4 * 2 + 2


def test_the_first_layer_needs_no_gradient_of_its_inputs():
    assert sample_flops(GRAPH) == 2 * HIDDEN + 2 * ACT + 3 * LOGITS


def test_a_deep_model_costs_three_times_its_forward_pass():
    layers = [{"name": f"d{i}", "kind": "dense", "units": 64} for i in range(100)]
    graph = Graph.from_layers((64,), layers)
    assert sample_flops(graph) == pytest.approx(3 * graph.flops_per_sample, rel=0.005)


def test_the_update_is_counted_once_a_step():
    parameters = 3 * 4 + 4 + 4 * 2 + 2
    adam, sgd = testing.optimizer("adam"), testing.optimizer("sgd")
    for batch in (1, 8):
        work = training_step(GRAPH, adam, batch, 4)
        assert work.flops == batch * sample_flops(GRAPH) + 12 * parameters
        outputs = 3 + 4 + 4 + 2
        assert work.bytes == 4 * (batch * (3 + 2 * outputs) + (6 + 2 * 2) * parameters)
        assert work.intensity == work.flops / work.bytes
        assert work.bytes - training_step(GRAPH, sgd, batch, 4).bytes == 4 * 4 * parameters


def test_decay_and_clipping_cost_something():
    plain = training_step(GRAPH, testing.optimizer("sgd"), 1, 4).flops
    clipped = testing.optimizer("sgd", decay="l2", weight_decay=0.1, clip_norm=1.0)
    assert training_step(GRAPH, clipped, 1, 4).flops > plain


def test_every_optimizer_has_its_cost():
    assert set(UPDATES) == set(OPTIMIZERS)

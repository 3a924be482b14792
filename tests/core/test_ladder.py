"""The ladder's rungs on traces made by hand: what holds, what does not, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.graph import Graph
from fwcompare.parity.cases import all_cases
from fwcompare.parity.ladder import (
    climb,
    depends_on,
    relative_norm,
    tolerances,
    without_gradient,
)
from fwcompare.parity.trace import Trace, checkpoints

GRAPH = Graph.from_layers(
    (4,),
    [
        {"name": "hidden", "kind": "dense", "units": 3},
        {"name": "norm", "kind": "batch_norm"},
        {"name": "logits", "kind": "dense", "units": 2},
    ],
)
STEPS = 12


def trace(seed=0, **changes):
    """A trace of random numbers; ``changes`` maps an array's name to a factor."""
    random = np.random.default_rng(seed)
    arrays = {"losses": random.uniform(1, 2, STEPS), "evaluations": random.uniform(1, 2, 5)}
    arrays["loss"] = arrays["losses"][:1].copy()
    for mode in ("eval", "train"):
        for layer in GRAPH.layers:
            arrays[f"{mode}:{layer.name}"] = random.normal(size=(8, *layer.shape))
    for name, parameter in GRAPH.parameters():
        if parameter.trainable:
            arrays[f"gradient:{name}"] = random.normal(size=parameter.shape)
        for point in checkpoints(STEPS):
            arrays[f"weights@{point}:{name}"] = random.normal(size=parameter.shape)
            if parameter.trainable:
                slot = f"slots@{point}:{name}.momentum"
                arrays[slot] = random.normal(size=parameter.shape)
    for name, factor in changes.items():
        arrays[name] = arrays[name] * factor
    facts = {
        "checkpoints": checkpoints(STEPS),
        "shapes": {name: list(p.shape) for name, p in GRAPH.parameters()},
        "optimizer": {"name": "momentum", "lr": 0.1},
        "learning_rates": [0.1] * STEPS,
        "batches": ["x"],
        "settings": {},
        "precision": "float64",
    }
    return Trace("engine", arrays, facts)


def rungs(other, nudged=None):
    reference = trace()
    allowed = tolerances(reference, nudged or reference, "float64")
    return {rung.name: rung for rung in climb(reference, other, GRAPH, allowed)}


def test_equal_traces_hold_everywhere():
    found = rungs(trace())
    assert list(found) == ["P0", "P1", "P2", "P3", "P4", "P5", "P6"]
    assert all(rung.holds and rung.difference == 0 for rung in found.values())


@pytest.mark.parametrize(
    ("array", "rung", "where"),
    [
        ("eval:logits", "P1", "eval mode"),
        ("train:logits", "P1", "train mode"),
        ("loss", "P2", ""),
        ("gradient:hidden/kernel", "P3", "hidden/kernel"),
        ("weights@2:logits/bias", "P4", "logits/bias after 2 steps"),
        ("weights@1:norm/moving_variance", "P4", "norm/moving_variance after 1 step"),
        ("slots@10:norm/gamma.momentum", "P4", "norm/gamma.momentum after 10 steps"),
        ("losses", "P6", "train loss, step"),
        ("evaluations", "P6", "evaluation loss, step"),
    ],
)
def test_a_difference_is_found_where_it_is(array, rung, where):
    found = rungs(trace(**{array: 1 + 1e-9}))
    assert [name for name, r in found.items() if not r.holds] == [rung]
    assert where in found[rung].where
    assert found[rung].difference == pytest.approx(1e-9, rel=1e-3)


def test_rounding_is_accepted():
    assert all(r.holds for r in rungs(trace(losses=1 + 1e-14, loss=1 - 1e-15)).values())


def test_nan_never_holds():
    for array, rung in (("losses", "P6"), ("gradient:logits/bias", "P3"), ("eval:logits", "P1")):
        assert not rungs(trace(**{array: np.nan}))[rung].holds


def test_a_missing_tensor_does_not_hold():
    other = trace()
    del other.arrays["gradient:logits/bias"]
    assert not rungs(other)["P3"].holds


def test_other_batches_and_hyper_parameters():
    other = trace()
    other.facts["batches"] = ["y"]
    other.facts["learning_rates"] = [0.2] * STEPS
    found = rungs(other)
    assert not found["P5"].holds
    assert not found["P0"].holds and found["P0"].where == "learning rates"


def test_a_bias_before_a_norm_is_left_out_and_listed():
    assert without_gradient(GRAPH) == ["hidden/bias"]
    other = trace(**{"gradient:hidden/bias": 5.0, "weights@1:norm/moving_mean": 3.0})
    found = rungs(other)
    assert all(rung.holds for rung in found.values())
    assert "hidden/bias" in found["P3"].note and "norm/moving_mean" in found["P4"].note


def test_a_bias_far_before_a_norm_is_left_out_too():
    def names(*between):
        layers = [{"name": "a", "kind": "dense", "units": 3}, *between]
        layers += [{"name": "n", "kind": "batch_norm"}, {"name": "z", "kind": "dense", "units": 2}]
        return without_gradient(Graph.from_layers((4,), layers))

    tanh = {"name": "t", "kind": "activation", "function": "tanh"}
    assert names({"name": "b", "kind": "dense", "units": 3}) == ["a/bias", "b/bias"]
    assert names(tanh) == []
    residual = {"name": "s", "kind": "add", "inputs": ["a", "t"]}
    assert names(tanh, residual) == [], "one way leads through a tanh"


def test_a_bias_of_keys_is_left_out_and_one_of_a_recurrence_is_not():
    layers = [
        {"name": "attention", "kind": "multi_head_attention", "heads": 2},
        {"name": "rnn", "kind": "lstm", "units": 3},
        {"name": "norm", "kind": "batch_norm"},
        {"name": "logits", "kind": "dense", "units": 2},
    ]
    assert without_gradient(Graph.from_layers((5, 4), layers)) == ["attention/key/bias"]


@pytest.mark.parametrize(
    ("between", "passes"),
    [
        ({"kind": "conv2d", "filters": 2, "kernel_size": 1, "padding": "same"}, True),
        ({"kind": "conv2d", "filters": 2, "kernel_size": 3, "padding": "same"}, False),
        ({"kind": "depthwise_conv2d", "kernel_size": 3, "padding": "valid"}, True),
        ({"kind": "conv2d_transpose", "filters": 2, "kernel_size": 3, "padding": "valid"}, False),
        ({"kind": "scale", "factor": 2.0, "learned": True}, True),
        ({"kind": "upsample2d", "size": 2}, True),
        ({"kind": "zero_pad2d", "padding": 1}, False),
        ({"kind": "rms_norm"}, False),
    ],
)
def test_a_bias_before_a_norm_over_single_channels(between, passes):
    conv = {"name": "a", "kind": "conv2d", "filters": 2, "kernel_size": 3}
    norm = {"name": "n", "kind": "group_norm", "groups": 2}
    layers = [conv, {"name": "b", "bias": False, **between}, norm]
    if between["kind"] not in ("conv2d", "depthwise_conv2d", "conv2d_transpose"):
        del layers[1]["bias"]
    graph = Graph.from_layers((5, 5, 2), layers)
    assert ("a/bias" in without_gradient(graph)) == passes
    assert depends_on(graph, ["a/bias"]) == [], "a group norm keeps no statistics"


def test_the_tolerance_follows_the_references_own_response():
    nudged = trace(losses=np.where(np.arange(STEPS) < 6, 1, 1 + 5e-13))
    allowed = tolerances(trace(), nudged, "float64")
    assert allowed.train[0] == 1e-11
    assert allowed.train[8] == pytest.approx(5e-11, rel=1e-2)
    assert allowed.steps == STEPS


def test_steps_are_cut_where_rounding_grows_too_large():
    nudged = trace(losses=np.where(np.arange(STEPS) < 2, 1, 1 + 1e-10))
    assert tolerances(trace(), nudged, "float64").steps == 2
    found = rungs(trace(**{"weights@10:logits/bias": 2.0}), nudged)
    assert found["P4"].holds, "what lies behind the covered steps proves nothing"
    assert "too few" in found["P6"].note


def test_in_float32_any_tensor_may_be_the_one_that_leaps():
    """A unit that switches over changes other tensors in the reference than in another engine."""
    nudged = trace(**{"slots@10:norm/gamma.momentum": 1.001})
    allowed = tolerances(trace(), nudged, "float32")
    assert allowed.state["slots@10:logits/bias.momentum"] == pytest.approx(4e-3, rel=1e-3)
    assert allowed.state["slots@2:logits/bias.momentum"] == 2e-5, "at another checkpoint not"
    exact = tolerances(trace(), nudged, "float64")
    assert exact.state["slots@10:logits/bias.momentum"] == 1e-11


def test_relative_norm():
    a = np.array([3.0, 4.0])
    assert relative_norm(a, a) == 0
    assert relative_norm(a, 2 * a) == 1
    assert relative_norm(a, np.ones(3)) == np.inf
    assert relative_norm(np.zeros(2), np.zeros(2)) == 0


def test_the_cases_touch_everything():
    names = [case.name for case in all_cases()]
    assert len(names) == len(set(names)) > 50

"""Weight maps: what they say, what they refuse, and that a layout goes both ways."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.errors import RequestError
from fwcompare.graph import Graph
from fwcompare.native.mapping import WeightMap, regroups

GRAPH = Graph.from_layers(
    (4, 4, 2),
    [
        {"name": "conv", "kind": "conv2d", "filters": 3, "kernel_size": 3},
        {"name": "flat", "kind": "flatten"},
        {"name": "dense", "kind": "dense", "units": 5},
    ],
)
NATIVE = {"c.weight": (3, 2, 3, 3), "c.bias": (3,), "d.weight": (5, 48), "d.bias": (5,)}
WEIGHTS = {
    "conv/kernel": {"path": "c.weight", "transform": "oihw"},
    "conv/bias": "c.bias",
    "dense/kernel": {"path": "d.weight", "transform": "transpose"},
    "dense/bias": "d.bias",
}


def fits(weights, native=NATIVE, graph=GRAPH, **more):
    made = WeightMap.of({"weights": weights, **more}, graph)
    return made.fits(graph, native, lambda layer, parameter: [])


def numbered(shape):
    return np.arange(np.prod(shape), dtype=np.float64).reshape(shape)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_layout_goes_both_ways(name):
    fit = fits(WEIGHTS)[name]
    array = numbered(fit.parameter.shape)
    assert fit.native(array).shape == NATIVE[fit.path]
    np.testing.assert_array_equal(fit.canonical(fit.native(array)), array)


def test_steps_move_numbers_as_numpy_does():
    found = fits(WEIGHTS)
    kernel = numbered((3, 3, 2, 3))
    np.testing.assert_array_equal(found["conv/kernel"].native(kernel), kernel.transpose(3, 2, 0, 1))
    rows = {**WEIGHTS, "dense/kernel": {"path": "d.weight", "transform": ["rows_chw", "transpose"]}}
    dense = numbered((48, 5))
    image = numbered((2, 4, 4, 3))
    first = image.transpose(0, 3, 1, 2).reshape(2, -1)
    native = fits(rows)["dense/kernel"].native(dense)
    np.testing.assert_array_equal(first @ native.T, image.reshape(2, -1) @ dense)


def test_blocks_change_places_on_the_last_axis():
    graph = Graph.from_layers((5, 2), [{"name": "rnn", "kind": "gru", "units": 3}])
    kernel = {"path": "k", "transform": {"blocks": [1, 0, 2]}}
    weights = {"rnn/kernel": kernel, "rnn/recurrent_kernel": "r", "rnn/bias": "b",
               "rnn/recurrent_bias": "s"}  # fmt: skip
    native = {"k": (2, 9), "r": (3, 9), "b": (9,), "s": (3,)}
    fit = fits(weights, native, graph)["rnn/kernel"]
    array = numbered((2, 9))
    np.testing.assert_array_equal(
        fit.native(array), np.concatenate([array[:, 3:6], array[:, :3], array[:, 6:]], 1)
    )
    np.testing.assert_array_equal(fit.canonical(fit.native(array)), array)


def test_one_native_tensor_may_hold_several():
    graph = Graph.from_layers((6, 4), [{"name": "a", "kind": "multi_head_attention", "heads": 2}])
    parts = ("query", "key", "value")
    axes = {"axes": [1, 2, 0]}
    weights = {
        f"a/{part}/kernel": {"path": "in", "rows": [4 * i, 4 * i + 4], "transform": axes}
        for i, part in enumerate(parts)
    }
    weights |= {
        f"a/{p}/bias": {"path": "b", "rows": [4 * i, 4 * i + 4]} for i, p in enumerate(parts)
    }
    weights |= {"a/output/kernel": {"path": "out", "transform": {"axes": [2, 0, 1]}},
                "a/output/bias": "ob"}  # fmt: skip
    native = {"in": (12, 4), "b": (12,), "out": (4, 4), "ob": (4,)}
    found = fits(weights, native, graph)
    whole = numbered((12, 4))
    value = found["a/value/kernel"].canonical(whole)
    np.testing.assert_array_equal(found["a/value/kernel"].native(value), whole[8:])
    assert value.shape == (4, 2, 2)
    weights["a/value/kernel"] = {**weights["a/value/kernel"], "rows": [4, 8]}
    with pytest.raises(RequestError, match="rows of 'in'"):
        fits(weights, native, graph)


@pytest.mark.parametrize(
    ("change", "more", "native", "words"),
    [
        ({"conv/kernel": None}, {}, NATIVE, ["gaps", "conv/kernel", "c.weight"]),
        ({}, {}, {**NATIVE, "extra.weight": (2,)}, ["without a place in the map: extra.weight"]),
        ({"dense/bias": "nowhere"}, {}, NATIVE, ["not in the native model: nowhere", "d.bias"]),
        ({"conv/kernel": "c.weight"}, {}, NATIVE, ["conv/kernel", "[3, 3, 2, 3]", "[3, 2, 3, 3]"]),
        ({"conv/kernal": "x"}, {}, NATIVE, ["conv/kernal", "Did you mean 'conv/kernel'"]),
        ({"conv/kernel": {"path": "c.weight", "transform": "oiwh"}}, {}, NATIVE, ["oiwh", "oihw"]),
        ({"conv/kernel": {"path": "c.weight", "transform": {"axes": [0]}}}, {}, NATIVE, ["fit"]),
        ({"conv/bias": {"path": "c.bias", "transform": "oihw"}}, {}, NATIVE, ["does not fit"]),
        ({"conv/kernel": {"path": "c.weight", "transform": "rows_chw"}}, {}, NATIVE, ["no image"]),
        ({}, {"layout": "channels"}, NATIVE, ["layout", "channels_first"]),
        ({}, {"wieghts": {}}, NATIVE, ["wieghts", "weights"]),
        ({}, {"layers": {"cnov": "c"}}, NATIVE, ["cnov", "conv"]),
        ({}, {"fixed": {"c.bias": "zero"}}, NATIVE, ["kept at a number", "zero"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(change, more, native, words):
    weights = {name: entry for name, entry in {**WEIGHTS, **change}.items() if entry is not None}
    with pytest.raises(RequestError) as caught:
        fits(weights, native, **more)
    for word in words:
        assert word in str(caught.value)


def test_what_the_graph_does_not_have_is_fixed():
    native = {**NATIVE, "second.bias": (5,)}
    made = WeightMap.of({"weights": WEIGHTS, "fixed": {"second.bias": 0}}, GRAPH)
    assert made.fits(GRAPH, native, lambda *_: []).keys() == WEIGHTS.keys()
    assert made.fixed == {"second.bias": 0.0}


@pytest.mark.parametrize(
    ("one", "other", "holds"),
    [
        ((2, 3, 4), (6, 4), True),
        ((6, 4), (2, 3, 4), True),
        ((3, 3, 1, 4), (3, 3, 4), True),
        ((4, 6), (6, 4), False),
        ((2, 6), (4, 3), False),
        ((5,), (6,), False),
    ],
)
def test_neighbouring_axes_may_be_joined(one, other, holds):
    assert regroups(one, other) is holds

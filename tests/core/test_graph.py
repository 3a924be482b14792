"""Shapes, parameters and FLOPs are inferred without a framework, and misfits are named."""

from __future__ import annotations

import pytest

from fwcompare.errors import RequestError
from fwcompare.graph import KINDS, Graph
from fwcompare.graph.expressions import evaluate
from fwcompare.graph.read import read
from fwcompare.graph.windows import same_padding

IMAGE = (8, 8, 3)


def graph(*layers, shape=IMAGE):
    return Graph.from_layers(shape, layers)


def conv(**options):
    return {"name": "c", "kind": "conv2d", "filters": 4, "kernel_size": 3, **options}


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [(8, 3, 1, (1, 1)), (8, 3, 2, (0, 1)), (7, 3, 2, (1, 1)), (8, 5, 2, (1, 2)), (8, 2, 1, (0, 1))],
)
def test_same_padding_puts_the_odd_cell_after(size, window, stride, expected):
    assert same_padding(size, window, stride) == expected


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"padding": "same"}, (8, 8, 4)),
        ({"padding": "valid"}, (6, 6, 4)),
        ({"padding": "same", "stride": 2}, (4, 4, 4)),
        ({"padding": "valid", "stride": [2, 1], "kernel_size": [3, 5]}, (3, 4, 4)),
    ],
)
def test_convolution_shapes(options, shape):
    assert graph(conv(**options)).output_shape == shape


def test_parameters_and_flops_by_hand():
    # Worked out by hand: LeNet-5 on 28x28, first convolution 'same', as it is usually written.
    lenet = graph(
        {"name": "c1", "kind": "conv2d", "filters": 6, "kernel_size": 5, "padding": "same"},
        {"name": "p1", "kind": "avg_pool2d", "pool_size": 2, "stride": 2},
        {"name": "c2", "kind": "conv2d", "filters": 16, "kernel_size": 5, "padding": "valid"},
        {"name": "p2", "kind": "avg_pool2d", "pool_size": 2, "stride": 2},
        {"name": "f", "kind": "flatten"},
        {"name": "d1", "kind": "dense", "units": 120},
        {"name": "d2", "kind": "dense", "units": 84},
        {"name": "d3", "kind": "dense", "units": 10},
        shape=(28, 28, 1),
    )
    assert lenet.parameter_count == 61_706
    assert lenet["d1"].flops == 2 * 400 * 120 + 120
    assert lenet["c1"].flops == 28 * 28 * 6 * (2 * 25 + 1)


def test_groups_divide_the_kernel():
    grouped = graph(conv(groups=3, filters=6))
    assert dict(grouped.parameters())["c/kernel"].shape == (3, 3, 1, 6)
    assert dict(grouped.parameters())["c/kernel"].fan_out == 18


def test_moving_statistics_are_state_and_not_parameters():
    made = graph({"name": "n", "kind": "batch_norm"})
    assert made.parameter_count == 6
    assert [name for name, p in made.parameters() if not p.trainable] == [
        "n/moving_mean",
        "n/moving_variance",
    ]


def test_residual_and_concat():
    made = graph(
        conv(filters=3),
        {"name": "sum", "kind": "add", "inputs": ["c", "input"]},
        {"name": "both", "kind": "concat", "inputs": ["sum", "c", "input"]},
    )
    assert made.output_shape == (8, 8, 9)


def test_every_option_is_written_out():
    (layer,) = graph(conv()).to_layers()
    assert layer == {
        "name": "c",
        "kind": "conv2d",
        "inputs": ["input"],
        "filters": 4,
        "kernel_size": [3, 3],
        "stride": [1, 1],
        "padding": "same",
        "dilation": [1, 1],
        "groups": 1,
        "bias": True,
    }
    assert Graph.from_layers(IMAGE, [layer]).digest == graph(conv()).digest


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([conv(kind="conv3d")], ["'c'", "conv3d", "conv2d"]),
        ([conv(filter=3)], ["filter", "filters"]),
        ([conv(filters=0)], ["'c'", "at least 1"]),
        ([conv(filters="many")], ["filters", "whole number", "many"]),
        ([conv(kernel_size=9, padding="valid")], ["'c'", "9", "8"]),
        ([conv(padding="full")], ["same or valid", "full"]),
        ([conv(groups=2)], ["groups=2", "3"]),
        ([conv(), conv()], ["'c'", "twice"]),
        ([conv(inputs=["stem"])], ["'c'", "stem"]),
        ([conv(inputs=["c"])], ["'c'", "no earlier layer", "that layer itself"]),
        (
            [conv(inputs=["d"]), conv(name="d", inputs=["c"])],
            ["'c'", "'d' is a later one", "its own output"],
        ),
        ([conv(name="a//b")], ["name"]),
        ([{"name": "d", "kind": "dense"}], ["units", "missing"]),
        ([{"name": "a", "kind": "activation", "function": "relo"}], ["relo", "relu"]),
        ([{"name": "a", "kind": "add"}], ["'a'", "2 or more"]),
        ([{"name": "o", "kind": "dropout", "rate": 1.0}], ["rate", "1.0"]),
        ([{"name": "r", "kind": "reshape", "shape": [5, 5]}], ["reshape", "[5, 5]"]),
        ([conv(), {"name": "s", "kind": "add", "inputs": ["c", "input"]}], ["'s'", "[8, 8, 4]"]),
        ([conv(), conv(name="d", inputs=["input"])], ["'c'", "nowhere"]),
        (["conv"], ["mapping"]),
        ([], ["at least one layer"]),
    ],
)
def test_misfits_are_named(layers, words):
    with pytest.raises(RequestError) as error:
        Graph.from_layers(IMAGE, layers)
    for word in words:
        assert word in str(error.value)


def test_every_kind_has_a_description():
    assert all(kind.__doc__ and kind.kind == name for name, kind in KINDS.items())


def test_reading_puts_params_in(tmp_path):
    file = tmp_path / "m.yml"
    file.write_text(
        "layers:\n"
        "- {name: n, kind: batch_norm, momentum: 0.9, epsilon: 1e-5}\n"
        '- {name: "c${width}", kind: conv2d, filters: "${width * 2}", kernel_size: [3, 3]}\n'
    )
    made = read(file, {"width": 5}, IMAGE)
    assert made.layers[1].name == "c5"
    assert made.output_shape == (8, 8, 10)
    assert made.layers[0].kind.epsilon == 1e-5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layers: 5", ["list"]),
        ("layers: [{name: c, kind: dense, units: 3}]\nlayer: []", ["'layer'", "layers:"]),
        ("{", ["YAML"]),
        ("layers: [{name: c, kind: dense, units: '${widht}'}]", ["widht", "width"]),
        ("layers: [{name: c, kind: dense, units: '${__import__(1)}'}]", ["may hold"]),
        ("layers: [{name: c, kind: dense, units: '${1 // 0}'}]", ["zero"]),
        ("layers: [{name: c, kind: dense, units: '${width +}'}]", ["no expression", "width +"]),
    ],
)
def test_bad_model_files(tmp_path, text, words):
    file = tmp_path / "m.yml"
    file.write_text(text)
    with pytest.raises(RequestError) as error:
        read(file, {"width": 5}, IMAGE)
    for word in words:
        assert word in str(error.value).replace("is not an expression", "is no expression")


def test_a_missing_model_file_is_said(tmp_path):
    with pytest.raises(RequestError, match="cannot be read"):
        read(tmp_path / "none.yml", {}, IMAGE)


def test_expressions():
    assert evaluate("width * 2 + 1", {"width": 4}) == 9
    assert evaluate("-width // 2", {"width": 4}) == -2

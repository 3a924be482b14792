"""Weights are drawn as their scheme says, and come back from a file as they went in."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fwcompare.errors import RequestError
from fwcompare.graph import Graph, draw, load, save
from fwcompare.graph.weights import digest

GRAPH = Graph.from_layers(
    (200,),
    [
        {"name": "d", "kind": "dense", "units": 300},
        {"name": "n", "kind": "batch_norm"},
        {"name": "o", "kind": "dense", "units": 5},
    ],
)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("kaiming", math.sqrt(2 / 200)),
        ("glorot", math.sqrt(2 / 500)),
        ("lecun", math.sqrt(1 / 200)),
        ("normal", 1.0),
    ],
)
def test_schemes_have_their_deviation(scheme, deviation, distribution):
    kernel = draw(GRAPH, scheme, distribution, 1.0, seed=3)["d/kernel"]
    assert kernel.std() == pytest.approx(deviation, rel=0.02)
    assert abs(kernel.mean()) < deviation * 0.02
    if distribution == "uniform":
        assert np.abs(kernel).max() <= math.sqrt(3) * deviation


def test_gain_scales():
    one = draw(GRAPH, "glorot", "normal", 1.0, 3)["d/kernel"]
    assert np.allclose(draw(GRAPH, "glorot", "normal", 2.0, 3)["d/kernel"], 2 * one)


def test_constants():
    weights = draw(GRAPH, "kaiming", "uniform", 1.0, 0)
    assert (weights["n/gamma"] == 1).all() and (weights["n/moving_variance"] == 1).all()
    for name in ("n/beta", "n/moving_mean", "d/bias"):
        assert (weights[name] == 0).all()
    assert not draw(GRAPH, "zeros", "uniform", 1.0, 0)["d/kernel"].any()


def test_each_tensor_has_a_stream_of_its_own():
    other = Graph.from_layers(
        (200,),
        [
            {"name": "x", "kind": "dense", "units": 200},
            {"name": "d", "kind": "dense", "units": 300},
        ],
    )
    same = draw(other, "lecun", "normal", 1.0, 7)["d/kernel"]
    assert (same == draw(GRAPH, "lecun", "normal", 1.0, 7)["d/kernel"]).all()
    assert (same != draw(GRAPH, "lecun", "normal", 1.0, 8)["d/kernel"]).any()


def test_round_trip(tmp_path):
    weights = draw(GRAPH, "kaiming", "uniform", 1.0, 0)
    save(weights, tmp_path / "deep" / "w.safetensors")
    back = load(tmp_path / "deep" / "w.safetensors", GRAPH)
    assert digest(back) == digest(weights)
    assert list(back) == [name for name, _ in GRAPH.parameters()]


def test_a_file_of_another_model_is_refused(tmp_path):
    weights = draw(GRAPH, "kaiming", "uniform", 1.0, 0)
    path = tmp_path / "w.safetensors"
    with pytest.raises(RequestError, match="no weights file"):
        load(path, GRAPH)
    path.write_bytes(b"not safetensors")
    with pytest.raises(RequestError, match="cannot be read"):
        load(path, GRAPH)
    save({k: v for k, v in weights.items() if k != "o/bias"} | {"z/bias": np.ones(2)}, path)
    with pytest.raises(RequestError, match=r"missing o/bias.*unexpected z/bias"):
        load(path, GRAPH)
    save(weights | {"o/bias": np.ones(6)}, path)
    with pytest.raises(RequestError, match=r"'o/bias' has shape \[6\].*\[5\]"):
        load(path, GRAPH)
    save(weights | {"o/bias": np.full(5, np.nan)}, path)
    with pytest.raises(RequestError, match="NaN"):
        load(path, GRAPH)

"""Layers over sequences against the formulas of the contract, in NumPy and in canonical layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fwcompare.graph import Graph, Weights
from fwcompare_pytorch.model import GraphModel

SHAPE = (5, 4)
EXACT = {"rtol": 1e-12, "atol": 1e-13}


def built(*layers: dict[str, Any]) -> tuple[GraphModel, Weights, np.ndarray]:
    """A model, the random weights that it holds, and a batch of random sequences."""
    random = np.random.default_rng(5)
    graph = Graph.from_layers(SHAPE, layers)
    model = GraphModel(graph, True, dtype=torch.float64)
    weights = {name: random.normal(size=p.shape) for name, p in graph.parameters()}
    model.fill(weights)
    return model, weights, random.normal(size=(3, *SHAPE))


def computed(model: GraphModel, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model(torch.from_numpy(x)).numpy()
    return found


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(x: np.ndarray, weights: Weights, prefix: str, units: int) -> np.ndarray:
    """The output at every step: gates i, f, g, o."""
    h = c = np.zeros((len(x), units))
    outputs = []
    for step in range(x.shape[1]):
        gates = x[:, step] @ weights[f"{prefix}kernel"] + h @ weights[f"{prefix}recurrent_kernel"]
        i, f, g, o = np.split(gates + weights[f"{prefix}bias"], 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def gru(x: np.ndarray, weights: Weights, prefix: str, units: int) -> np.ndarray:
    """The output at every step: gates r, z, n, the reset behind the product."""
    h = np.zeros((len(x), units))
    outputs = []
    for step in range(x.shape[1]):
        read = x[:, step] @ weights[f"{prefix}kernel"] + weights[f"{prefix}bias"]
        recalled = h @ weights[f"{prefix}recurrent_kernel"]
        r, z = (
            sigmoid(a + b)
            for a, b in zip(np.split(read, 3, 1)[:2], np.split(recalled, 3, 1)[:2], strict=True)
        )
        n = np.split(read, 3, 1)[2] + r * (
            np.split(recalled, 3, 1)[2] + weights[f"{prefix}recurrent_bias"]
        )
        h = (1 - z) * np.tanh(n) + z * h
        outputs.append(h)
    return np.stack(outputs, axis=1)


RULES = {"lstm": lstm, "gru": gru}


@pytest.mark.parametrize("kind", RULES)
def test_a_recurrent_layer_is_its_formula(kind: str) -> None:
    model, weights, x = built({"name": "x", "kind": kind, "units": 3, "returns": "all"})
    np.testing.assert_allclose(computed(model, x), RULES[kind](x, weights, "x/", 3), **EXACT)


@pytest.mark.parametrize("kind", RULES)
def test_directions_start_at_both_ends_and_end_at_the_other(kind: str) -> None:
    layer = {"name": "x", "kind": kind, "units": 3, "layers": 2, "bidirectional": True}
    model, weights, x = built(layer)
    lower = np.concatenate(
        [
            RULES[kind](x, weights, "x/0/forward/", 3),
            RULES[kind](x[:, ::-1], weights, "x/0/backward/", 3)[:, ::-1],
        ],
        axis=2,
    )
    ends = [
        RULES[kind](lower, weights, "x/1/forward/", 3)[:, -1],
        RULES[kind](lower[:, ::-1], weights, "x/1/backward/", 3)[:, -1],
    ]
    np.testing.assert_allclose(computed(model, x), np.concatenate(ends, axis=1), **EXACT)


@pytest.mark.parametrize(("kind", "moving"), [("lstm", 0), ("gru", 3)])
def test_biases_that_the_contract_has_not_do_not_move(kind: str, moving: int) -> None:
    model, _, x = built({"name": "x", "kind": kind, "units": 3})
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.from_numpy(x)).square().sum().backward()
        optimizer.step()
    second = model.layers[0].native.bias_hh_l0.detach().numpy()
    unmoved = len(second) - moving
    assert not second[:unmoved].any() and second[unmoved:].all()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_its_formula(causal: bool) -> None:
    model, weights, x = built(
        {"name": "x", "kind": "multi_head_attention", "heads": 2, "causal": causal}
    )

    def projected(part: str) -> np.ndarray:
        made = np.einsum("nte,ehd->nhtd", x, weights[f"x/{part}/kernel"])
        return made + weights[f"x/{part}/bias"][:, np.newaxis]

    scores = projected("query") @ projected("key").swapaxes(2, 3) / np.sqrt(2)
    if causal:
        scores = np.where(np.tri(5, dtype=bool), scores, -np.inf)
    shares = np.exp(scores - scores.max(3, keepdims=True))
    seen = shares / shares.sum(3, keepdims=True) @ projected("value")
    expected = np.einsum("nhtd,hde->nte", seen, weights["x/output/kernel"])
    np.testing.assert_allclose(computed(model, x), expected + weights["x/output/bias"], **EXACT)


TOKENS, PADDING, LENGTHS = 7, 0, (1, 3, 6)

#: Layers that take a mask, each on the embedding.
MASKED: list[dict[str, Any]] = [
    {"kind": "lstm", "units": 3, "layers": 2, "bidirectional": True},
    {"kind": "gru", "units": 3, "returns": "all"},
    {"kind": "gru", "units": 3, "layers": 2, "bidirectional": True, "returns": "all"},
    {"kind": "multi_head_attention", "heads": 2},
    {"kind": "multi_head_attention", "heads": 2, "causal": True},
    {"kind": "global_avg_pool1d"},
    {"kind": "global_max_pool1d"},
]


@pytest.mark.parametrize("options", MASKED, ids=lambda options: str(options["kind"]))
def test_a_padded_sample_gives_what_it_gives_by_itself(options: dict[str, Any]) -> None:
    layers = [
        {"name": "padding", "kind": "padding_mask", "padding": PADDING},
        {"name": "e", "kind": "embedding", "tokens": TOKENS, "features": 4, "inputs": ["input"]},
        {"name": "x", **options, "mask": True, "inputs": ["e", "padding"]},
    ]
    random = np.random.default_rng(5)
    steps = max(LENGTHS)
    graph = Graph.from_layers((steps,), layers, "tokens")
    model = GraphModel(graph, True, dtype=torch.float64)
    model.fill({name: random.normal(size=p.shape) for name, p in graph.parameters()})
    ids = random.integers(1, TOKENS, (len(LENGTHS), steps))
    ids[np.arange(steps) >= np.array(LENGTHS)[:, None]] = PADDING
    found = computed(model, ids)
    for sample, length in enumerate(LENGTHS):
        alone = computed(model, ids[sample : sample + 1, :length])[0]
        if alone.ndim == 1:
            np.testing.assert_allclose(found[sample], alone, **EXACT)
            continue
        np.testing.assert_allclose(found[sample, :length], alone, **EXACT)
        if options["kind"] == "gru":
            assert not found[sample, length:].any(), "nothing behind the end"

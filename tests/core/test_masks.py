"""Padding masks: where they fit into a graph, and the errors that a diagnosis knows of them."""

from __future__ import annotations

import numpy as np
import pytest

from fwcompare.errors import RequestError
from fwcompare.graph import TOKENS, VALUES, Graph
from fwcompare.graph.read import read
from fwcompare.parity import masking

MASK = {"name": "padding", "kind": "padding_mask", "padding": 0}
EMBEDDING = {"name": "e", "kind": "embedding", "tokens": 7, "features": 4, "inputs": ["input"]}
POOL = {"name": "pool", "kind": "global_avg_pool1d", "mask": True, "inputs": ["e", "padding"]}
ATTENTION = {"name": "a", "kind": "multi_head_attention", "heads": 2}


def graph(*layers, input_type=TOKENS):
    return Graph.from_layers((6,), layers, input_type)


@pytest.mark.parametrize(
    "layer",
    [
        {"kind": "lstm", "units": 3, "bidirectional": True},
        {"kind": "gru", "units": 3, "returns": "all"},
        {"kind": "multi_head_attention", "heads": 2},
        {"kind": "global_avg_pool1d"},
        {"kind": "global_max_pool1d"},
    ],
)
def test_a_mask_changes_neither_shape_nor_parameters_nor_flops(layer):
    bare = graph(EMBEDDING, {"name": "x", **layer})["x"]
    masked = graph(
        MASK, EMBEDDING, {"name": "x", **layer, "mask": True, "inputs": ["e", "padding"]}
    )["x"]
    assert (masked.shape, masked.parameters, masked.flops) == (
        bare.shape, bare.parameters, bare.flops,
    )  # fmt: skip
    assert masked.input_shapes == (*bare.input_shapes, (6,))


def test_a_mask_is_a_layer_of_its_own_without_parameters_or_flops():
    made = graph(MASK, EMBEDDING, POOL)
    assert made["padding"].shape == (6,) and not made["padding"].flops
    assert Graph.from_layers((6,), made.to_layers(), TOKENS).digest == made.digest


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([MASK, EMBEDDING, {**ATTENTION, "inputs": ["e", "padding"]}], "'padding' is a mask"),
        ([MASK, {"name": "d", "kind": "dense", "units": 2}], "takes numbers, but 'padding' is a"),
        ([MASK, {**EMBEDDING, "inputs": ["padding"]}], "takes token ids, but 'padding' is a mask"),
        ([EMBEDDING, {**ATTENTION, "mask": True}], "a mask as its last input, but 'e' holds"),
        ([MASK, EMBEDDING, {**POOL, "inputs": ["padding", "e"]}], "but 'padding' is a mask"),
        ([EMBEDDING, {**POOL, "inputs": ["e", "input"]}], "but the dataset's inputs are token ids"),
        ([MASK, EMBEDDING, {**POOL, "inputs": ["padding"]}], r"1 input\(s\) and a mask, got 1"),
        ([MASK, EMBEDDING, {**POOL, "inputs": ["e", "e", "padding"]}], "and a mask, got 3"),
        ([MASK], "'padding' gives a mask"),
        ([{**MASK, "padding": -2}, EMBEDDING, POOL], "at least 0, got -2"),
        ([{**MASK, "padding": -1}, EMBEDDING, POOL], "the dataset has no padding"),
        (
            [
                MASK,
                EMBEDDING,
                {"name": "short", "kind": "max_pool1d", "pool_size": 2, "stride": 2},
                {**POOL, "inputs": ["short", "padding"]},
            ],
            "the mask 'padding' has 6 steps, 'short' has 3",
        ),
    ],
)
def test_what_does_not_fit_is_said(layers, said):
    with pytest.raises(RequestError, match=said):
        graph(*layers)


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(RequestError, match="takes token ids, but 'input' holds numbers"):
        graph(MASK, EMBEDDING, POOL, input_type=VALUES)


TEXT = """
layers:
  - {name: padding, when: "${mask}", layers: [{name: mask, kind: padding_mask, padding: 0}]}
  - {name: e, kind: embedding, tokens: 7, features: 4, inputs: [input]}
  - name: block
    layers:
      - {name: rnn, kind: gru, units: 3, mask: "${mask}", inputs: [in, padding]}
"""


def test_a_param_leaves_the_mask_out(tmp_path):
    file = tmp_path / "m.yml"
    file.write_text(TEXT)
    with_mask, without = (read(file, {"mask": mask}, (6,), TOKENS) for mask in (True, False))
    assert with_mask["block/rnn"].inputs == ("e", "padding/mask")
    assert [layer.name for layer in without.layers] == ["e", "block/rnn"]
    assert without["block/rnn"].inputs == ("e",) and not without["block/rnn"].kind.masked


@pytest.mark.parametrize(
    ("mask", "more", "said"),
    [
        (1, "", "Block 'padding': when must be true or false, got 1"),
        (False, "  - {name: d, kind: dense, units: 2, inputs: padding}", "'d' has no input"),
        (False, "  - {name: padding, kind: dense, units: 2}", "'padding' appears twice"),
    ],
)
def test_what_is_wrong_with_a_block_that_is_left_out(tmp_path, mask, more, said):
    file = tmp_path / "m.yml"
    file.write_text(TEXT + more)
    with pytest.raises(RequestError, match=said):
        read(file, {"mask": mask}, (6,), TOKENS)


LENGTHS = np.array([1, 4, 6])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("returns", ["last", "all"])
def test_padding_is_as_if_it_were_not_there(kind, returns):
    """What a diagnosis computes of a padded sample is what it computes of the sample by itself."""
    random = np.random.default_rng(3)
    options = {"units": 3, "layers": 2, "bidirectional": True, "returns": returns}
    layer = Graph.from_layers((6, 4), [{"name": "x", "kind": kind, **options}])["x"]
    weights = {p.name: random.normal(size=p.shape) for p in layer.parameters}
    x = random.normal(size=(3, 6, 4))
    found = masking.recurrent(layer.kind, x, weights, LENGTHS, LENGTHS)
    for sample, length in enumerate(LENGTHS):
        alone = x[sample : sample + 1, :length]
        expected = masking.recurrent(
            layer.kind, alone, weights, LENGTHS[sample : sample + 1], LENGTHS[sample : sample + 1]
        )[0]
        if returns == "last":
            np.testing.assert_allclose(found[sample], expected, rtol=1e-13)
        else:
            np.testing.assert_allclose(found[sample, :length], expected, rtol=1e-13)
            assert not found[sample, length:].any()

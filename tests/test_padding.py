"""Where a model with a padding mask meets a dataset: what is refused before any framework loads."""

from __future__ import annotations

import pytest

from fwcompare.compose import compose
from fwcompare.errors import RequestError

RAGGED = ("dataset=synthetic_tokens", "dataset.params.min_steps=3")


def graph(cache, *overrides):
    return compose([*overrides, f"paths.cache={cache}"]).graph()


@pytest.mark.parametrize("model", ["lstm", "gru", "transformer_encoder"])
def test_a_model_of_the_zoo_leaves_padding_out_where_it_is_told_to(cache, model):
    masked = graph(cache, f"model={model}", "model.params.mask=true", *RAGGED)
    assert masked.layers[0].kind.padding == 16, "one id more than those of tokens"
    assert any(layer.kind.masked for layer in masked.layers)
    bare = graph(cache, f"model={model}", *RAGGED)
    assert not any(layer.kind.masked for layer in bare.layers)
    assert masked.parameter_count == bare.parameter_count


def test_a_dataset_without_padding_is_refused(cache):
    with pytest.raises(RequestError, match=r"padding_mask.*the dataset has no padding"):
        graph(cache, "model=gru", "model.params.mask=true", "dataset=synthetic_tokens")


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (RAGGED, "layer 'padding' takes 2 for padding, the dataset pads with 16"),
        (RAGGED[:1], "layer 'padding' takes 2 for padding, the dataset has none"),
    ],
)
def test_another_id_than_the_datasets_is_refused(cache, tmp_path, dataset, said):
    file = tmp_path / "own.yml"
    file.write_text(
        """
layers:
  - {name: padding, kind: padding_mask, padding: 2}
  - {name: e, kind: embedding, tokens: "${tokens}", features: 4, inputs: [input]}
  - {name: pool, kind: global_avg_pool1d, mask: true, inputs: [e, padding]}
  - {name: logits, kind: dense, units: "${outputs}"}
"""
    )
    with pytest.raises(RequestError, match=said):
        graph(cache, "model=gru", f"model.graph={file}", *dataset)


def test_a_param_that_is_no_truth_value_is_refused(cache):
    with pytest.raises(RequestError, match="when must be true or false, got 1"):
        graph(cache, "model=gru", "model.params.mask=1", *RAGGED)

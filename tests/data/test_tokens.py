"""Token ids: what is refused, the texts that come with Python, tokenizers and made-up chains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare import metrics
from fwcompare.data.batches import SPLITS, DataFolder
from fwcompare.data.prepare import prepare
from fwcompare.data.python_text import PythonReference
from fwcompare.data.sources import source
from fwcompare.data.synthetic_tokens import Chains
from fwcompare.data.tokenizers import Bytes, Words
from fwcompare.errors import RequestError

SHIPPED: dict[str, Any] = {
    "val_fraction": 0.1, "test_fraction": 0.2, "normalize": "none", "split_seed": None,
}  # fmt: skip
TEXT = {**SHIPPED, "steps": 32, "tokenizer": "bytes", "vocabulary": 300}
FLOAT = np.dtype("float64")


def ids(samples: int = 20, steps: int = 5, tokens: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, tokens, (samples, steps))


def npz(folder: Path, x: Any, y: Any, **params: Any) -> DataFolder:
    path = folder / "data.npz"
    np.savez(path, x=x, y=y)
    options = {"task": "classification", "classes": None, "tokens": 4, "file": str(path)}
    return prepare("npz", {**SHIPPED, **options, **params}, 0, folder / "cache")


def test_ids_stay_whole_numbers(tmp_path):
    found = npz(tmp_path, ids(), np.arange(20) % 2)
    assert (found.tokens, found.input_type, found.output_shape) == (4, "tokens", (2,))
    for name in SPLITS:
        assert found.split(name, FLOAT).inputs.dtype == np.int32


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.where(ids() == 3, 4, ids()), "token ids outside 0 to 3, the first, 4, in sample"),
        (ids() - 1, "token ids outside 0 to 3, the first, -1"),
        (ids().astype(float), "of type float64, token ids are whole numbers"),
        (ids()[:, :, None], r"token ids are \(samples, steps\)"),
        (np.array([[1, 2], [3]] * 10, dtype=object), "array 'x' cannot be read"),
    ],
)
def test_what_is_wrong_with_ids_is_said(tmp_path, x, said):
    with pytest.raises(RequestError, match=said):
        npz(tmp_path, x, np.arange(20) % 2)


def test_ragged_rows_are_told_what_to_do(tmp_path):
    with pytest.raises(RequestError) as caught:
        npz(tmp_path, np.array([[1, 2], [3]] * 10, dtype=object), np.arange(20) % 2)
    assert "one length" in str(caught.value.hint)


def test_next_tokens_are_a_target_for_each_step(tmp_path):
    task = {"task": "language_modelling"}
    found = npz(tmp_path, ids(), ids(), **task)
    assert found.output_shape == (5, 4)
    assert found.split("train", FLOAT).targets.shape[1:] == (5,)
    with pytest.raises(RequestError, match="not a next token for each"):
        npz(tmp_path, ids(), ids()[:, :-1], **task)
    with pytest.raises(RequestError, match=r"the targets hold .* outside 0 to 3"):
        npz(tmp_path, ids(), ids() + 1, **task)
    with pytest.raises(RequestError, match="needs token ids"):
        npz(tmp_path, ids(), ids(), **task, tokens=None)


def test_the_reference_predicts_the_byte_behind(tmp_path):
    found = prepare("python_reference", TEXT, 0, tmp_path)
    train = found.split("train", FLOAT)
    assert np.array_equal(train.inputs[0, 1:], train.targets[0, :-1])
    text = bytes(train.inputs.ravel().astype(np.uint8).tolist()).decode(errors="replace")
    assert " the " in text and found.output_shape == (32, 256)


def test_every_package_is_in_every_split(tmp_path):
    found = prepare("python_packages", TEXT, 0, tmp_path)
    assert found.meta["classes"][0] == "asyncio" and found.outputs == 6
    for name in SPLITS:
        assert set(np.unique(found.split(name, FLOAT).targets)) == set(range(6))


def test_a_document_is_in_one_split():
    text = source("python_reference", {**TEXT, "split_seed": 3})
    assert isinstance(text, PythonReference)
    dealt = text.deal(40)
    assert {name: len(numbers) for name, numbers in dealt.items()} == {
        "test": 8, "val": 4, "train": 28,
    }  # fmt: skip
    assert sorted(np.concatenate(list(dealt.values()))) == list(range(40))


def test_words_are_those_of_the_training_split(tmp_path):
    found = prepare("python_reference", {**TEXT, "tokenizer": "words"}, 0, tmp_path)
    assert found.tokens == 300
    unknown = np.mean(found.split("train", FLOAT).inputs == 0)
    assert 0.05 < unknown < 0.6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 1}, "steps must be at least 2"),
        ({"tokenizer": "letters"}, "letters"),
        ({"normalize": "unit"}, "none for token ids"),
        ({"test_fraction": 0.001}, "leaves the test split empty"),
        ({"steps": 400_000}, "no document of the"),
    ],
)
def test_options_of_texts(tmp_path, change, said):
    with pytest.raises(RequestError, match=said):
        prepare("python_reference", {**TEXT, **change}, 0, tmp_path)


def test_tokenizers():
    assert Bytes().encode("aé").tolist() == [97, 195, 169]
    words = Words.of(["b a b, c", "b a"], tokens=3)
    assert words.vocabulary == ("b", "a") and words.tokens == 3
    assert words.encode("a, b?").tolist() == [2, 0, 1, 0]


def test_only_neighbours_tell_the_class_of_a_chain():
    rule = Chains(4000, 20, 8, 2, noise=0.0)
    rows = np.arange(4000)
    tokens, labels = rule.inputs(rows), rule.targets(rows)
    assert np.array_equal(rule.inputs(rows[7:9]), tokens[7:9]), "made by position, in any order"
    pairs = tokens[:, :-1] * 8 + tokens[:, 1:]
    for counted, apart in ((tokens, False), (pairs, True)):
        shares = [np.bincount(counted[labels == c].ravel(), minlength=64) for c in (0, 1)]
        a, b = (share / share.sum() for share in shares)
        assert (np.abs(a - b).sum() > 0.3) == apart


def test_perplexity_is_the_number_of_even_choices():
    logits = np.zeros((2, 3, 5))
    assert np.isclose(metrics.perplexity(logits, np.zeros((2, 3), np.int32)), 5.0)
    right = np.eye(5)[[[0, 1, 2]] * 2] * 50
    assert np.isclose(metrics.perplexity(right, np.array([[0, 1, 2]] * 2)), 1.0)
    assert metrics.perplexity(right * 1e5, np.array([[1, 2, 3]] * 2)) == np.inf

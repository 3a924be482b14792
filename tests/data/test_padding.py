"""Samples of several lengths: what is refused of them, and datasets that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import SPLITS, DataFolder
from fwcompare.data.prepare import prepare
from fwcompare.data.sources import source
from fwcompare.data.tokenizers import Bytes
from fwcompare.errors import RequestError

SHIPPED: dict[str, Any] = {
    "val_fraction": 0.1, "test_fraction": 0.2, "normalize": "none", "split_seed": None,
}  # fmt: skip
CHAINS = {**SHIPPED, "samples": 400, "steps": 12, "tokens": 5, "outputs": 3, "noise": 0.0}
PACKAGES = {**SHIPPED, "steps": 48, "vocabulary": 300, "min_steps": 8}
FLOAT = np.dtype("float64")


def padded(lengths: Any, steps: int = 5, padding: int = 0) -> np.ndarray:
    """Token ids from 1 to 3, and padding behind so many of them in each sample."""
    found = np.random.default_rng(0).integers(1, 4, (len(lengths), steps))
    found[np.arange(steps) >= np.asarray(lengths)[:, None]] = padding
    return found


def npz(folder: Path, x: np.ndarray, **params: Any) -> DataFolder:
    path = folder / "data.npz"
    np.savez(path, x=x, y=np.arange(len(x)) % 2)
    options = {"task": "classification", "classes": None, "tokens": 4, "file": str(path)}
    return prepare("npz", {**SHIPPED, **options, **params}, 0, folder / "cache")


def lengths(data: DataFolder, split: str) -> np.ndarray:
    """How many real tokens each sample has, after a look that they stand in front."""
    real = data.split(split, FLOAT).inputs != data.padding
    counts: np.ndarray = real.sum(axis=1)
    np.testing.assert_array_equal(real, np.arange(real.shape[1]) < counts[:, None])
    return counts


def test_arrays_of_ones_own_say_what_fills_them_up(tmp_path):
    found = npz(tmp_path, padded([1, 2, 3, 4, 5] * 4), padding=0)
    assert (found.padding, found.tokens) == (0, 4)
    assert set(lengths(found, "train")) == {1, 2, 3, 4, 5}
    assert npz(tmp_path, padded([5] * 20)).padding is None


EARLY = padded([5] * 20)
EARLY[3, 1] = EARLY[7, 0] = 0


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (padded([3] * 6 + [0] + [2] * 13), "train part: sample 6 holds no token .*, the only one"),
        (padded([3] * 6 + [0, 2] * 7), r"6 holds no token but padding \(0\), the first of 7"),
        (EARLY, r"sample 3 has padding \(0\) before a token, the first of 2"),
    ],
)
def test_padding_that_blocks_a_sample_or_stands_before_a_token_is_refused(tmp_path, x, said):
    with pytest.raises(RequestError, match=said):
        npz(tmp_path, x, padding=0)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"padding": 4}, "padding must be null or a token id from 0 to 3, got 4"),
        ({"padding": -1}, "padding must be null or a token id from 0 to 3, got -1"),
        ({"padding": 0, "tokens": None}, "padding must be null without tokens, got 0"),
        ({"padding": 0, "task": "language_modelling"}, "counts every step, padding too"),
    ],
)
def test_an_id_that_cannot_be_padding_is_refused(tmp_path, params, said):
    with pytest.raises(RequestError, match=said):
        npz(tmp_path, padded([5] * 20), **params)


def test_chains_of_every_length(tmp_path):
    whole = prepare("synthetic_tokens", CHAINS, 0, tmp_path)
    ragged = prepare("synthetic_tokens", {**CHAINS, "min_steps": 4}, 0, tmp_path)
    assert (whole.tokens, whole.padding) == (5, None)
    assert (ragged.tokens, ragged.padding) == (6, 5)
    assert set(lengths(ragged, "train")) == set(range(4, 13))
    a, b = (data.split("train", FLOAT).inputs for data in (whole, ragged))
    assert np.array_equal(a[b != 5], b[b != 5]), "the same chains, cut"


@pytest.mark.parametrize("min_steps", [0, 12, 13])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("synthetic_tokens", CHAINS),
        ("python_packages", {**PACKAGES, "steps": 12, "tokenizer": "bytes"}),
    ],
)
def test_lengths_that_cannot_be_are_refused(name, params, min_steps):
    with pytest.raises(RequestError, match="min_steps must be null or from 1 to 11, below steps"):
        source(name, {**params, "min_steps": min_steps})


@pytest.mark.parametrize("tokenizer", ["bytes", "words"])
def test_packages_in_pieces_of_several_lengths(tmp_path, tokenizer):
    found = prepare("python_packages", {**PACKAGES, "tokenizer": tokenizer}, 0, tmp_path)
    assert (found.padding, found.tokens) == ((0, 256) if tokenizer == "bytes" else (300, 301))
    for name in SPLITS:
        counts = lengths(found, name)
        assert counts.min() >= 8 and counts.max() == 48 and len(set(counts)) > 20


def test_pieces_follow_one_another():
    made = source("python_packages", {**PACKAGES, "tokenizer": "bytes"})
    ids = Bytes().encode("def f(x):\n    return x\n" * 40)
    pieces = made.samples(ids, document=3, padding=0)
    joined = pieces[pieces != 0]
    np.testing.assert_array_equal(joined, ids[: len(joined)])
    assert len(ids) - len(joined) < made.min_steps, "no more than a short rest is left out"
    assert not len(made.samples(ids[:5], document=0, padding=0))

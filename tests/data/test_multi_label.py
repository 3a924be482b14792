"""Any number of labels a sample: what is refused, what is stored, and made-up ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import SPLITS, DataFolder
from fwcompare.data.prepare import prepare
from fwcompare.data.synthetic import Inputs, Labels, Targets
from fwcompare.errors import RequestError

SHIPPED: dict[str, Any] = {
    "val_fraction": 0.1, "test_fraction": 0.2, "normalize": "none", "split_seed": None,
}  # fmt: skip
X = np.random.default_rng(0).normal(size=(60, 4))
Y = (np.random.default_rng(1).random((60, 3)) < 0.3).astype(int)


def npz(folder: Path, y: Any) -> DataFolder:
    path = folder / "data.npz"
    np.savez(path, x=X, y=y)
    return prepare(
        "npz",
        {**SHIPPED, "task": "multi_label", "classes": None, "tokens": None, "file": str(path)},
        0,
        folder / "cache",
    )


def changed(row: int, column: int, value: float) -> np.ndarray:
    found = Y.astype(float)
    found[row, column] = value
    return found


@pytest.mark.parametrize("kind", [int, bool, np.uint8, float])
def test_labels_are_stored_as_they_are(tmp_path, kind):
    found = npz(tmp_path, Y.astype(kind))
    assert found.outputs == 3 and found.output_shape == (3,) and found.target_scale == 1.0
    targets = np.concatenate([found.split(name, np.dtype("float64")).targets for name in SPLITS])
    assert targets.dtype == np.float64 and set(np.unique(targets)) == {0.0, 1.0}
    assert np.array_equal(targets.sum(axis=0), Y.sum(axis=0))


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (changed(7, 2, 2), "sample 7 has 2 for label 2; 1 says that it has the label"),
        (changed(7, 2, -1), "sample 7 has -1 for label 2"),
        (changed(7, 2, 0.5), "sample 7 has 0.5 for label 2"),
        (changed(7, 2, np.nan), "NaN"),
        (Y[:, 0], r"shape \[60\], not a column for each of 2 or more labels"),
        (Y[:, :1], r"shape \[60, 1\], not a column"),
        (Y[:, :, None], r"shape \[60, 3, 1\], not a column"),
        (Y * [1, 0, 1], "no sample has label 1 of 0 to 2"),
        (Y * [0, 1, 0], "no sample has labels 0, 2 of 0 to 2"),
        (Y[:50], "60 inputs, but 50 targets"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, y, said):
    with pytest.raises(RequestError, match=said):
        npz(tmp_path, y)


def test_parts_must_have_the_same_labels(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X, y_test=Y[:, :2])
    options = {**SHIPPED, "task": "multi_label", "classes": None, "file": str(path)}
    with pytest.raises(RequestError, match="differ in the number of labels"):
        prepare("npz", options, 0, tmp_path / "cache")


def test_made_up_labels_follow_the_inputs_but_for_the_noise():
    ids = np.arange(20_000)
    clean, noisy = (Labels(len(ids), (40,), 5, noise).targets(ids) for noise in (0.0, 0.4))
    assert np.abs(clean.mean(axis=0) - 0.25).max() < 0.02
    assert np.mean(clean == noisy) == pytest.approx(0.8, abs=0.01), "half of what is drawn anew"
    inputs = np.c_[Labels(len(ids), (40,), 5, 0.0).inputs(ids), np.ones(len(ids))]
    line = np.linalg.lstsq(inputs, clean * 2.0 - 1, rcond=None)[0]
    assert np.mean((inputs @ line > 0) == clean) > 0.9, "a line finds them"


def test_a_made_up_sample_does_not_depend_on_its_neighbours():
    rule = Labels(500, (4, 3), 5, 0.3)
    for rows in (Inputs(rule), Targets(rule)):
        whole = rows[np.arange(500)]
        assert whole.shape == rows.shape and whole.dtype == rows.dtype
        some = np.array([499, 7, 7, 250])
        np.testing.assert_array_equal(rows[some], whole[some])

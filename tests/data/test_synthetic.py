"""Made-up samples: the same wherever they are asked for, learnable, and never all in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.prepare import prepare
from fwcompare.data.synthetic import Classes, Inputs, Targets, Values

PARAMS: dict[str, Any] = {
    "samples": 400,
    "input_shape": [6],
    "task": "classification",
    "outputs": 3,
    "noise": 0.0,
    "val_fraction": 0.1,
    "test_fraction": 0.2,
    "normalize": "none",
    "split_seed": None,
}


@pytest.mark.parametrize("rule", [Classes(500, (4, 3), 5, 0.3), Values(500, (4, 3), 2, 0.3)])
def test_a_sample_does_not_depend_on_its_neighbours(rule: Classes | Values) -> None:
    for rows in (Inputs(rule), Targets(rule)):
        whole = rows[np.arange(500)]
        assert whole.shape == rows.shape
        assert whole.dtype == rows.dtype
        some = np.array([499, 7, 7, 250])
        np.testing.assert_array_equal(rows[some], whole[some])


def test_numbers_have_mean_zero_and_deviation_one() -> None:
    inputs = Values(20_000, (5,), 1, 0.0).inputs(np.arange(20_000))
    assert inputs.mean() == pytest.approx(0, abs=0.01)
    assert inputs.std() == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(inputs.T) - np.eye(5)).max() < 0.03


def test_noise_is_the_share_of_labels_drawn_anew() -> None:
    ids = np.arange(20_000)
    clean, noisy = (Classes(len(ids), (6,), 4, noise).targets(ids) for noise in (0.0, 0.4))
    assert np.mean(clean == noisy) == pytest.approx(1 - 0.4 * 3 / 4, abs=0.01)
    assert np.bincount(clean).min() > 4800


def test_the_nearest_prototype_tells_the_class() -> None:
    rule, ids = Classes(2000, (30,), 4, 0.0), np.arange(2000)
    inputs, labels = rule.inputs(ids), rule.targets(ids)
    centres = np.stack([inputs[labels == label].mean(0) for label in range(4)])
    nearest = ((inputs[:, None] - centres) ** 2).sum(2).argmin(1)
    assert np.mean(nearest == labels) > 0.95


def test_targets_follow_the_inputs_but_for_the_noise() -> None:
    ids = np.arange(4000)
    clean, noisy = (Values(len(ids), (5,), 2, noise).targets(ids) for noise in (0.0, 0.5))
    assert np.std(noisy - clean) == pytest.approx(0.5, abs=0.02)
    inputs = Values(len(ids), (5,), 2, 0.0).inputs(ids)
    squares = [inputs[:, i] * inputs[:, j] for i in range(5) for j in range(i, 5)]
    features = np.column_stack([np.ones(len(ids)), inputs, *squares])
    _, residual, *_ = np.linalg.lstsq(features, clean, rcond=None)
    assert residual.max() < 1e-9


def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    params = {**PARAMS, "samples": 3000, "input_shape": [32, 32, 3], "normalize": "standard"}
    tracemalloc.start()
    try:
        found = prepare("synthetic", params, 0, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    stored = (found.path / "train_x.npy").stat().st_size
    assert stored > 25e6
    assert peak < 10e6


def test_the_data_are_the_same_for_every_seed_and_the_split_is_not(tmp_path: Path) -> None:
    one, other = (prepare("synthetic", PARAMS, seed, tmp_path) for seed in (0, 1))
    rows = [
        np.concatenate(
            [found.split(part, np.dtype("f4")).inputs for part in ("train", "val", "test")]
        )
        for found in (one, other)
    ]
    assert not np.array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(*(np.unique(each, axis=0) for each in rows))

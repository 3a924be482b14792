"""Images changed anew in every epoch: what is drawn, what becomes of it, and from what it hangs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from fwcompare.data.augment import Epochs, changed, drawn
from fwcompare.data.batches import Arrays
from fwcompare.data.prepare import prepare
from fwcompare.data.rows import FileRows
from fwcompare.data.stream import Stream, most_resident_bytes
from fwcompare.spec import Augment

BOTH = Augment(flip=True, crop=2)


def images(count: int = 40) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 6, 5, 2)).astype(np.float32)


def by_hand(image: np.ndarray, crop: int, row: int, column: int, flip: bool) -> np.ndarray:
    """One image after another, as one would say it."""
    padded = np.pad(image, ((crop, crop), (crop, crop), (0, 0)), constant_values=-1)
    cut = padded[row : row + image.shape[0], column : column + image.shape[1]]
    return cut[:, ::-1] if flip else cut


@pytest.mark.parametrize("augment", [BOTH, Augment(flip=True), Augment(crop=3)])
def test_each_image_is_padded_cropped_and_flipped_as_drawn(augment: Augment) -> None:
    given, ids = images(), np.arange(40)
    by = drawn(augment, 1, 2, ids)
    found = changed(given, augment.crop, by, np.full(2, -1, np.float32))
    for n in ids:
        expected = by_hand(given[n], augment.crop, by.rows[n], by.columns[n], by.flips[n])
        np.testing.assert_array_equal(found[n], expected)
    assert by.flips.any() == augment.flip


def test_every_place_and_side_is_as_likely() -> None:
    by = drawn(BOTH, 5, 1, np.arange(50_000))
    for places in (by.rows, by.columns):
        counts = np.bincount(places, minlength=5)
        assert len(counts) == 5
        assert abs(counts / 50_000 - 0.2).max() < 0.01
    assert abs(by.flips.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(by.rows, by.columns)[0, 1]) < 0.02
    assert abs(np.corrcoef(by.rows, by.flips)[0, 1]) < 0.02


def test_a_draw_hangs_from_seed_epoch_and_sample_alone() -> None:
    ids = np.arange(300)
    base = drawn(BOTH, 1, 1, ids)
    for seed, epoch in ((2, 1), (1, 2)):
        assert (drawn(BOTH, seed, epoch, ids).rows != base.rows).mean() > 0.5
    some = np.array([250, 3, 77])
    np.testing.assert_array_equal(drawn(BOTH, 1, 1, some).columns, base.columns[some])


def test_the_draws_stay_what_they_are() -> None:
    """Another release must train on the same pixels: a change here is a new experiment."""
    by = drawn(BOTH, 1, 1, np.arange(8))
    assert by.flips.astype(int).tolist() == [0, 1, 0, 1, 1, 0, 1, 0]
    assert by.rows.tolist() == [3, 0, 4, 2, 3, 1, 0, 4]
    assert by.columns.tolist() == [2, 1, 2, 4, 1, 2, 1, 2]


@pytest.mark.parametrize("from_file", [False, True])
def test_an_epoch_comes_from_a_file_and_has_a_digest(tmp_path: Path, from_file: bool) -> None:
    given = images()
    np.save(tmp_path / "a.npy", given)
    rows = FileRows.open(tmp_path / "a.npy", np.dtype("float64")) if from_file else given
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    epochs = Epochs(rows, BOTH, 1, [-1, -1], scratch)
    for epoch in (1, 2, 3, 1):
        expected = changed(given, 2, drawn(BOTH, 1, epoch, np.arange(40)), np.float32([-1, -1]))
        np.testing.assert_array_equal(epochs[epoch][np.arange(40)], expected)
        assert epochs[epoch].dtype == rows.dtype
        assert epochs.digests[epoch] == hashlib.sha256(expected.tobytes()).hexdigest()
    assert list(scratch.iterdir()) == []
    assert len(epochs._kept) == 2


def test_a_stream_gives_batches_of_both(tmp_path: Path) -> None:
    inputs, targets, ids = images(), np.arange(40, dtype=np.int32), np.array([5, 39, 0])
    plain = Stream(Arrays(inputs, targets), None)
    taken = plain.take(1, ids)
    np.testing.assert_array_equal(taken[0], inputs[ids])
    np.testing.assert_array_equal(taken[1], ids)
    assert plain.shapes == ((6, 5, 2), ())
    both = Stream(Arrays(inputs, inputs), Epochs(inputs, BOTH, 1, [0, 0], tmp_path))
    given, wanted = both.take(2, ids)
    assert given is wanted  # what is to be reconstructed is what was given
    assert (given != inputs[ids]).any()


def test_the_limit_is_what_was_said_or_a_share_of_the_memory() -> None:
    assert most_resident_bytes(3) == 3 * 2**20
    assert most_resident_bytes(0) == 0
    assert 2**27 < most_resident_bytes(None) < 2**44


def test_black_is_known_in_normalised_units(tmp_path: Path) -> None:
    params = {"val_fraction": 0.1, "test_fraction": 0.2, "split_seed": 1}
    unit = prepare("digits", {**params, "normalize": "unit"}, 0, tmp_path)
    assert unit.black == [0.0]
    standard = prepare("digits", {**params, "normalize": "standard"}, 0, tmp_path)
    assert standard.black is not None
    least = standard.split("train", np.dtype("float32")).inputs.min()
    assert standard.black == [pytest.approx(least)]
    table = prepare("breast_cancer", {**params, "normalize": "unit"}, 0, tmp_path)
    assert table.black is None

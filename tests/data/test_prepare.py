"""From raw arrays to a folder: splits, normalisation, the cache, and what is refused."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fwcompare.data import sources
from fwcompare.data.batches import SPLITS, Arrays, DataFolder, permutation
from fwcompare.data.prepare import prepare
from fwcompare.errors import RequestError

SHIPPED = {"val_fraction": 0.1, "test_fraction": 0.2, "normalize": "none", "split_seed": None}
NPZ = {**SHIPPED, "task": "classification", "classes": None}


def npz(folder: Path, **arrays: Any) -> str:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def table(samples: int = 50, features: int = 3) -> np.ndarray:
    return np.random.default_rng(2).normal(5, 3, (samples, features))


def labels(samples: int = 50, classes: int = 2) -> np.ndarray:
    return np.arange(samples) % classes


def splits(found: DataFolder) -> dict[str, Arrays]:
    return {name: found.split(name, np.dtype("float32")) for name in SPLITS}


def test_digits_are_those_of_scikit_learn_by_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_digits()
    for place in (None, lambda name: None):
        if place is not None:
            monkeypatch.setattr(sources, "find_spec", place)
        images, target = sources.digits()
        assert images.dtype == expected.images.dtype and target.dtype == expected.target.dtype
        np.testing.assert_array_equal(images, expected.images)
        np.testing.assert_array_equal(target, expected.target)


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "kind", "samples"),
    [
        ("digits", (8, 8, 1), 10, "classification", 1797),
        ("breast_cancer", (30,), 2, "classification", 569),
        ("diabetes", (10,), 1, "regression", 442),
    ],
)
def test_shipped_datasets(
    tmp_path: Path, name: str, shape: tuple[int, ...], outputs: int, kind: str, samples: int
) -> None:
    found = prepare(name, {**SHIPPED, "normalize": "standard"}, 0, tmp_path)
    assert found.input_shape == shape
    assert found.outputs == outputs
    assert found.meta["kind"] == kind
    assert found.meta["source"]
    assert found.meta["licence"]
    assert sum(found.meta["sizes"].values()) == samples
    assert found.size("test") == round(0.2 * samples)
    for name, arrays in splits(found).items():
        stored = np.load(found.path / f"{name}_x.npy", allow_pickle=False)
        assert stored.dtype == np.float32
        assert arrays.inputs.shape == (found.size(name), *shape)
        if kind == "classification":
            assert arrays.targets.dtype == np.int32
            assert arrays.targets.shape == (found.size(name),)
        else:
            assert arrays.targets.shape == (found.size(name), outputs)


def test_the_seed_decides_the_split_unless_one_is_given(tmp_path: Path) -> None:
    one, other = (prepare("digits", SHIPPED, seed, tmp_path) for seed in (1, 2))
    assert one.meta["digest"] != other.meta["digest"]
    fixed = [prepare("digits", {**SHIPPED, "split_seed": 1}, seed, tmp_path) for seed in (1, 2)]
    assert fixed[0] == fixed[1] == one


def test_the_split_is_the_permutation_of_the_seed(tmp_path: Path) -> None:
    inputs = np.arange(50.0)[:, np.newaxis]
    params = {**NPZ, "file": npz(tmp_path, x=inputs, y=labels()), "split_seed": 9}
    found = splits(prepare("npz", params, 0, tmp_path))
    order = permutation(50, 9, "split")
    np.testing.assert_array_equal(found["test"].inputs[:, 0], order[:10])
    np.testing.assert_array_equal(found["val"].inputs[:, 0], order[10:15])
    np.testing.assert_array_equal(found["train"].inputs[:, 0], order[15:])
    for arrays in found.values():
        np.testing.assert_array_equal(arrays.targets, arrays.inputs[:, 0] % 2)


def test_splits_of_the_file_stay_as_they_are(tmp_path: Path) -> None:
    inputs = np.arange(40.0)[:, np.newaxis]
    arrays = {"x_train": inputs, "y_train": labels(40), "x_test": -inputs[:6], "y_test": labels(6)}
    found = splits(prepare("npz", {**NPZ, "file": npz(tmp_path, **arrays)}, 0, tmp_path))
    np.testing.assert_array_equal(found["test"].inputs, -inputs[:6])
    assert len(found["val"]) == 4
    assert len(found["train"]) == 36
    whole = {**arrays, "x_val": inputs[:3], "y_val": labels(3)}
    found = splits(prepare("npz", {**NPZ, "file": npz(tmp_path, **whole)}, 0, tmp_path))
    np.testing.assert_array_equal(found["val"].inputs, inputs[:3])
    assert len(found["train"]) == 40


def test_standard_takes_mean_and_deviation_of_the_training_split(tmp_path: Path) -> None:
    inputs = table()
    inputs[:, 2] = 0.1  # a constant whose computed deviation is not zero
    params = {**NPZ, "file": npz(tmp_path, x=inputs, y=labels()), "split_seed": 4}
    raw = splits(prepare("npz", params, 0, tmp_path))
    done = splits(prepare("npz", {**params, "normalize": "standard"}, 0, tmp_path))
    mean, deviation = raw["train"].inputs[:, :2].mean(0), raw["train"].inputs[:, :2].std(0)
    for name in SPLITS:
        expected = (raw[name].inputs[:, :2] - mean) / deviation
        np.testing.assert_allclose(done[name].inputs[:, :2], expected, atol=1e-5)
        np.testing.assert_array_equal(done[name].inputs[:, 2], 0)


def test_unit_takes_the_range_of_the_training_split(tmp_path: Path) -> None:
    inputs = table()
    inputs[:, 1] = 7
    params = {**NPZ, "file": npz(tmp_path, x=inputs, y=labels()), "normalize": "unit"}
    train = splits(prepare("npz", params, 0, tmp_path))["train"].inputs
    np.testing.assert_array_equal(train.min(0), [0, 0, 0])
    np.testing.assert_array_equal(train.max(0), [1, 0, 1])


def test_images_are_normalised_by_channel_or_by_their_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(10, 200, (50, 4, 4, 3), dtype=np.uint8)
    params = {**NPZ, "file": npz(tmp_path, x=pixels, y=labels()), "val_fraction": 0.0}
    unit = splits(prepare("npz", {**params, "normalize": "unit"}, 0, tmp_path))
    order = permutation(50, 0, "split")
    np.testing.assert_allclose(unit["train"].inputs, pixels[order[10:]] / 255, rtol=1e-6)
    assert len(unit["val"]) == 0
    standard = splits(prepare("npz", {**params, "normalize": "standard"}, 0, tmp_path))
    train = standard["train"].inputs.astype(np.float64)
    np.testing.assert_allclose(train.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(train.std((0, 1, 2)), 1, atol=1e-6)


def test_targets_are_standardised_and_their_scale_is_kept(tmp_path: Path) -> None:
    targets = 1000 + 50 * table(60, 2)
    params = {**NPZ, "task": "regression", "file": npz(tmp_path, x=table(60), y=targets)}
    found = prepare("npz", params, 0, tmp_path)
    train = splits(found)["train"].targets
    assert train.mean() == pytest.approx(0, abs=1e-5)
    assert train.std() == pytest.approx(1, abs=1e-5)
    order = permutation(60, 0, "split")
    back = splits(found)["test"].targets * found.meta["target_scale"] + found.meta["target_mean"]
    np.testing.assert_allclose(back, targets[order[:12]], rtol=1e-5)
    assert found.outputs == 2


def test_a_prepared_dataset_is_used_again(tmp_path: Path) -> None:
    first = prepare("digits", SHIPPED, 0, tmp_path)
    before = (first.path / "train_x.npy").stat().st_mtime_ns
    assert prepare("digits", SHIPPED, 0, tmp_path) == first
    assert (first.path / "train_x.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["meta", "array", "cut off", "empty", "version"])
def test_a_damaged_folder_is_made_again(tmp_path: Path, damage: str) -> None:
    first = prepare("digits", SHIPPED, 0, tmp_path)
    if damage == "meta":
        (first.path / "meta.json").write_text('{"half": ')
    elif damage == "array":
        (first.path / "val_y.npy").unlink()
    elif damage in ("cut off", "empty"):
        path = first.path / "train_x.npy"
        path.write_bytes(path.read_bytes()[: -64 if damage == "cut off" else 0])
    else:
        (first.path / "meta.json").write_text(json.dumps({**first.meta, "format_version": 0}))
    assert prepare("digits", SHIPPED, 0, tmp_path) == first


def test_a_changed_file_is_another_dataset(tmp_path: Path) -> None:
    file = npz(tmp_path, x=table(), y=labels())
    first = prepare("npz", {**NPZ, "file": file}, 0, tmp_path)
    npz(tmp_path, x=table() + 1, y=labels())
    assert prepare("npz", {**NPZ, "file": file}, 0, tmp_path).path != first.path


def made_by_another_process(cache: str) -> str:
    return str(prepare("digits", SHIPPED, 5, Path(cache)).path)


def test_eight_processes_at_once_get_one_folder(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(8, mp_context=fork) as pool:
        found = set(pool.map(made_by_another_process, [str(tmp_path)] * 8))
    folders = [path for path in (tmp_path / "datasets").iterdir() if path.is_dir()]
    assert found == {str(path) for path in folders}
    assert len(folders) == 1


@contextmanager
def room_for(most_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as on a disk that is almost full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with room_for(50_000), pytest.raises(RequestError, match=r"cannot be prepared in .*") as caught:
        prepare("digits", SHIPPED, 0, tmp_path)
    assert "paths.cache" in (caught.value.hint or "")
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["digits.lock"]


def test_a_disk_without_room_is_told_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=400_000)  # digits take 467,220 bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(RequestError, match=r"The dataset 'digits' needs 0\.4 MiB") as caught:
        prepare("digits", SHIPPED, 0, tmp_path)
    assert "paths.cache" in (caught.value.hint or "")
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == ["digits.lock"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    name = prepare("digits", SHIPPED, 0, tmp_path / "elsewhere").path.name
    left = tmp_path / "datasets" / f"{name}.x1y2z3"
    left.mkdir(parents=True)
    (left / "train_x.npy").write_bytes(b"half of it")
    prepare("digits", SHIPPED, 0, tmp_path)
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "datasets").write_text("a file where a folder should be")
    with pytest.raises(RequestError, match="cannot be prepared"):
        prepare("digits", SHIPPED, 0, tmp_path)


def bad(array: np.ndarray, where: Any, value: float) -> np.ndarray:
    array = array.astype(np.float64)
    array[where] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"x": table(), "y": labels(49)}, {}, "50 inputs, but 49 targets"),
        ({"x": bad(table(), (17, 1), np.nan), "y": labels()}, {}, "1 NaN .* first in sample 17"),
        (
            {"x": bad(table(), ([3, 9], 0), np.inf), "y": labels()},
            {},
            "the inputs hold 2 NaN or infinite values, the first in sample 3",
        ),
        (
            {"x": table(), "y": bad(table(50, 1)[:, 0], 8, np.nan)},
            {"task": "regression"},
            "the targets hold 1 NaN or infinite value, the first in sample 8",
        ),
        ({"x": table(), "y": bad(labels(), 6, 0.5)}, {}, "whole numbers, sample 6 has 0.5"),
        ({"x": table(), "y": bad(labels(), 6, -1)}, {}, "from 0 to .* sample 6 has -1"),
        ({"x": table(), "y": labels(50, 4)}, {"classes": 3}, "from 0 to 2, sample 3 has 3"),
        ({"x": table(), "y": labels() * 0}, {}, "fewer than 2 classes: every label is 0"),
        ({"x": table(), "y": labels() + 1}, {}, "no sample has the label 0"),
        ({"x": table(), "y": np.eye(2)[labels()]}, {}, "one label a sample"),
        ({"x": table(), "y": np.zeros((50, 2, 2))}, {"task": "regression"}, "targets have shape"),
        ({"x": np.ones(50), "y": labels()}, {}, r"inputs have shape \[50\]"),
        ({"x": np.ones((50, 0)), "y": labels()}, {}, r"inputs have shape \[50, 0\]"),
        ({"x": np.ones((0, 3)), "y": labels(0)}, {}, "holds no sample"),
        ({"x": table().astype(str), "y": labels()}, {}, "not numbers"),
        ({"x": table().astype(object), "y": labels()}, {}, "the array 'x' cannot be read"),
        ({"x": table() * 1e300, "y": labels()}, {}, "too large for float32"),
        ({"x": table()}, {}, "no array 'y'"),
        ({"x": table(), "y": labels(), "z": labels()}, {}, "array 'z'"),
        (
            {"x_train": table(), "y_train": labels(), "x_test": table()},
            {},
            "no array 'y_test'",
        ),
        (
            {
                "x_train": table(),
                "y_train": labels(),
                "x_test": table(5, 4),
                "y_test": labels(5),
            },
            {},
            "samples differ in shape",
        ),
        ({"x": table(8), "y": labels(8)}, {"val_fraction": 0.01}, "leaves the val split empty"),
        (
            {"x": table(2), "y": labels(2)},
            {"test_fraction": 0.8, "val_fraction": 0},
            "none is left",
        ),
        ({"x": table(), "y": labels()}, {"val_fraction": 0.9}, "leave nothing to train on"),
        ({"x": table(), "y": labels()}, {"val_fraction": -0.1}, "val_fraction must be"),
        ({"x": table(), "y": labels()}, {"test_fraction": 0.0}, "test_fraction must be"),
        (
            {"x": table(), "y": labels()},
            {"test_fraction": "half"},
            "test_fraction must be a number",
        ),
        ({"x": table(), "y": labels()}, {"normalize": "standart"}, "standart"),
        ({"x": table(), "y": labels()}, {"split_seed": -1}, "split_seed must be"),
        ({"x": table(), "y": labels()}, {"klasses": 2}, "klasses"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    params = {**NPZ, "file": npz(tmp_path, **arrays), **options}
    with pytest.raises(RequestError, match=said):
        prepare("npz", params, 0, tmp_path)
    assert not list((tmp_path / "datasets").glob("npz-*"))


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    for content, said in (
        (None, "There is no file"),
        (b"no archive", "no .npz file"),
        (b"PK\x05\x06" + b"\0" * 18, "no array 'x_train'"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(RequestError, match=said) as caught:
            prepare("npz", {**NPZ, "file": str(path)}, 0, tmp_path)
        assert str(path) in caught.value.message
    whole = Path(npz(tmp_path, x=table(), y=labels())).read_bytes()
    path.write_bytes(whole[:200] + b"\xff" * 50 + whole[250:])
    with pytest.raises(RequestError, match="the array 'x' cannot be read"):
        prepare("npz", {**NPZ, "file": str(path)}, 0, tmp_path)


def test_an_unknown_dataset_gets_the_near_miss() -> None:
    with pytest.raises(RequestError) as caught:
        prepare("digit", SHIPPED, 0, Path("nowhere"))
    assert "Did you mean 'digits'?" in (caught.value.hint or "")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, fwcompare.data.prepare\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'jax', 'sklearn', 'scipy', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

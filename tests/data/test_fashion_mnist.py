"""Fashion-MNIST: from a folder or fetched, and only if it is the published content."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data import fashion_mnist
from fwcompare.data.fashion_mnist import DEBIAN_FOLDER, IdxFile
from fwcompare.data.prepare import prepare
from fwcompare.errors import RequestError

PARAMS = {"folder": None, "val_fraction": 0.25, "normalize": "unit", "split_seed": 3}


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small files in the place of the published ones, by name."""
    random = np.random.default_rng(1)
    contents: dict[str, bytes] = {}
    files = {}
    for part, size in (("train", 40), ("test", 12)):
        row = []
        for what, shape in (("images-idx3", (size, 28, 28)), ("labels-idx1", (size,))):
            name = f"{part}-{what}-ubyte"
            values = random.integers(0, 256, shape) if len(shape) > 1 else np.arange(size) % 10
            header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            contents[name] = header + values.astype(np.uint8).tobytes()
            digest = hashlib.sha256(contents[name]).hexdigest()
            row.append(IdxFile(name, shape, digest))
        files[part] = tuple(row)
    monkeypatch.setattr(fashion_mnist, "FILES", files)
    return contents


@pytest.mark.parametrize("form", ["plain", "compressed", "compressed again"])
def test_a_folder_in_any_form_gives_the_same_data(
    tmp_path: Path, contents: dict[str, bytes], form: str
) -> None:
    level = 9 if form == "compressed" else 1
    for name, data in contents.items():
        if form == "plain":
            (tmp_path / name).write_bytes(data)
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data, level))
    found = prepare("fashion_mnist", {**PARAMS, "folder": str(tmp_path)}, 0, tmp_path / "cache")
    assert found.meta["sizes"] == {"train": 30, "val": 10, "test": 12}
    assert found.input_shape == (28, 28, 1)
    assert found.meta["classes"][9] == "Ankle boot"
    test = found.split("test", np.dtype("float32"))
    pixels = np.frombuffer(contents["test-images-idx3-ubyte"][16:], np.uint8)
    expected = (pixels / 255).astype(np.float32).reshape(12, 28, 28, 1)
    np.testing.assert_array_equal(test.inputs, expected)
    np.testing.assert_array_equal(test.targets, np.arange(12) % 10)


def test_a_missing_file_is_named(tmp_path: Path, contents: dict[str, bytes]) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(contents["train-images-idx3-ubyte"])
    with pytest.raises(RequestError, match=r"no train-labels-idx1-ubyte\.gz and no train-labels"):
        prepare("fashion_mnist", {**PARAMS, "folder": str(tmp_path)}, 0, tmp_path / "cache")


def test_a_changed_file_is_refused_by_its_digest(
    tmp_path: Path, contents: dict[str, bytes]
) -> None:
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    labels = contents["test-labels-idx1-ubyte"]
    (tmp_path / "test-labels-idx1-ubyte").write_bytes(labels[:-1] + b"\x09")
    with pytest.raises(RequestError, match="test-labels-idx1-ubyte is not Fashion-MNIST's"):
        prepare("fashion_mnist", {**PARAMS, "folder": str(tmp_path)}, 0, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "datasets").glob("fashion_mnist-*"))


def test_without_a_folder_it_is_fetched_once(
    tmp_path: Path, contents: dict[str, bytes], site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{site.url}/none/", f"{site.url}/data/"))
    site.files = {f"/data/{name}.gz": gzip.compress(data) for name, data in contents.items()}
    site.break_after = 1000
    first = prepare("fashion_mnist", PARAMS, 0, tmp_path)
    asked = len(site.requests)
    site.files.clear()
    again = prepare("fashion_mnist", {**PARAMS, "split_seed": 4}, 0, tmp_path)
    assert len(site.requests) == asked
    assert again.meta["sizes"] == first.meta["sizes"]
    assert again.meta["digest"] != first.meta["digest"]


def test_without_a_network_the_way_out_is_told(
    tmp_path: Path, contents: dict[str, bytes], site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{site.url}/none/",))
    with pytest.raises(RequestError, match="could not be fetched") as caught:
        prepare("fashion_mnist", PARAMS, 0, tmp_path)
    assert "dataset.params.folder" in (caught.value.hint or "")
    assert DEBIAN_FOLDER in (caught.value.hint or "")


@pytest.mark.system
def test_the_published_files(tmp_path: Path) -> None:
    found = prepare("fashion_mnist", {**PARAMS, "folder": DEBIAN_FOLDER}, 0, tmp_path)
    assert found.meta["sizes"] == {"train": 45000, "val": 15000, "test": 10000}
    labels = found.split("test", np.dtype("float32")).targets
    np.testing.assert_array_equal(np.bincount(labels), [1000] * 10)

"""Arrays in files of their own: the same data as an ``.npz`` file, never read whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.prepare import prepare
from fwcompare.errors import RequestError

PARAMS: dict[str, Any] = {
    "task": "classification", "classes": None, "tokens": None, "padding": None,
    "val_fraction": 0.1, "test_fraction": 0.2, "normalize": "standard", "split_seed": 1,
}  # fmt: skip


def put(folder: Path, **arrays: Any) -> str:
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return str(folder)


def test_a_folder_of_arrays_is_the_same_as_an_npz_file(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = {"x": random.normal(size=(90, 4, 4, 3)), "y": np.arange(90) % 3}
    np.savez(tmp_path / "data.npz", **arrays)
    packed = prepare("npz", {**PARAMS, "file": str(tmp_path / "data.npz")}, 0, tmp_path)
    mapped = prepare("npy", {**PARAMS, "folder": put(tmp_path / "a", **arrays)}, 0, tmp_path)
    assert mapped.meta["digest"] == packed.meta["digest"]
    parts = {f"{name}_{part}": a for name, a in arrays.items() for part in ("train", "test")}
    own = prepare("npy", {**PARAMS, "folder": put(tmp_path / "b", **parts)}, 0, tmp_path)
    assert own.meta["sizes"] == {"train": 81, "val": 9, "test": 90}


#: Anonymous memory alone is counted: pages of a mapped file can be taken away at any time.
_MEASURE = """
import re, sys
from pathlib import Path
from fwcompare.data.prepare import prepare

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = anonymous()
import threading, time
most = before
def watch():
    global most
    while True:
        most = max(most, anonymous())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
prepare("npy", {**eval(sys.argv[1]), "folder": sys.argv[2]}, 0, Path(sys.argv[3]))
print(most - before)
"""


@pytest.mark.parametrize("normalize", ["standard", "none"])
def test_it_is_checked_split_normalised_and_written_in_portions(
    tmp_path: Path, normalize: str
) -> None:
    """96 MiB as bytes and four times as much as float32 pass through a few MiB."""
    inputs = np.random.default_rng(1).integers(0, 255, (6000, 64, 64, 4), dtype=np.uint8)
    folder = put(tmp_path / "a", x=inputs, y=np.arange(6000) % 2)
    params = repr({**PARAMS, "normalize": normalize})
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURE, params, folder, tmp_path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 0 < float(ended.stdout) < 48


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, r"There is no x\.npy or x_train\.npy"),
        ({"x": np.ones((5, 2))}, "no array 'y'"),
        ({"x": np.ones((5, 2), object), "y": np.arange(5)}, r"x\.npy cannot be read"),
        ({"x": np.asfortranarray(np.ones((5, 2))), "y": np.arange(5)}, "stored by columns"),
        ({"x": np.ones((5, 2)), "y": np.zeros(5)}, "fewer than 2 classes"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    params = {**PARAMS, "folder": put(tmp_path / "a", **arrays)}
    with pytest.raises(RequestError, match=said):
        prepare("npy", params, 0, tmp_path / "cache")


def test_a_cut_off_file_is_named(tmp_path: Path) -> None:
    folder = Path(put(tmp_path / "a", x=np.ones((50, 20)), y=np.arange(50) % 2))
    whole = (folder / "x.npy").read_bytes()
    (folder / "x.npy").write_bytes(whole[:-100])
    with pytest.raises(RequestError, match=r"x\.npy cannot be read"):
        prepare("npy", {**PARAMS, "folder": str(folder)}, 0, tmp_path / "cache")
    with pytest.raises(RequestError, match="There is no folder"):
        prepare("npy", {**PARAMS, "folder": str(tmp_path / "none")}, 0, tmp_path / "cache")

"""Rows of a file: the numbers of the array, whatever is asked for, and never all of them."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fwcompare.data.rows import FileRows

FLOAT, DOUBLE = np.dtype("float32"), np.dtype("float64")


@pytest.mark.parametrize("floats", [FLOAT, DOUBLE])
@pytest.mark.parametrize("shape", [(50, 3, 2, 1), (50,), (50, 0), (0, 4)])
def test_rows_are_those_of_the_array(
    tmp_path: Path, shape: tuple[int, ...], floats: np.dtype
) -> None:
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.save(tmp_path / "a.npy", array)
    rows = FileRows.open(tmp_path / "a.npy", floats)
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (shape, floats, len(shape), shape[0])
    ids = np.array([7, 0, 49, 7, 3]) if shape[0] else np.zeros(0, int)
    for which in (slice(5), slice(48, 99), slice(None), slice(9, 3), ids, ids.astype(np.int32)):
        found = rows[which]
        assert found.dtype == floats
        assert found.flags.writeable and found.flags.c_contiguous
        np.testing.assert_array_equal(found, array[which])
    np.testing.assert_array_equal(np.asarray(rows), array)


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(9, dtype=np.int32))
    rows = FileRows.open(tmp_path / "a.npy", DOUBLE)
    assert rows[np.array([2, 1])].dtype == np.int32


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    array = np.arange(3000, dtype=np.int32).reshape(1000, 3)
    np.save(tmp_path / "a.npy", array)
    rows = FileRows.open(tmp_path / "a.npy", FLOAT)
    asked = [np.random.default_rng(n).integers(0, 1000, 200) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for ids, found in zip(asked, pool.map(rows.__getitem__, asked), strict=True):
            np.testing.assert_array_equal(found, array[ids])


def test_a_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((100, 10)))
    rows = FileRows.open(tmp_path / "a.npy", DOUBLE)
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(4000)
    with pytest.raises(OSError, match=r"a\.npy is cut off"):
        rows[np.array([99])]


def resident_mib() -> float:
    status = Path("/proc/self/status").read_text()
    return sum(int(n) for n in re.findall(r"Rss(?:Anon|File):\s+(\d+)", status)) / 1024


def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((2000, 16384), np.float32))  # 125 MiB
    rows = FileRows.open(tmp_path / "a.npy", FLOAT)
    before = resident_mib()
    for start in range(0, 2000, 50):
        assert rows[start : start + 50].sum() == 50 * 16384
    assert resident_mib() - before < 30

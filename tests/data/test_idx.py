"""The IDX reader: what it reads, and what it refuses."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fwcompare.data import idx
from fwcompare.errors import RequestError


def packed(array: np.ndarray, code: int) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    axes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + axes + big.tobytes()


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", 0x08), ("i1", 0x09), ("i2", 0x0B), ("i4", 0x0C), ("f4", 0x0D), ("f8", 0x0E)],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_every_type_comes_back(tmp_path: Path, dtype: str, code: int, compressed: bool) -> None:
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    path = tmp_path / "whatever-it-is-called"
    data = packed(array, code)
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)
    found = idx.read(path)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, array)


WHOLE = packed(np.arange(6, dtype="u1").reshape(2, 3), 0x08)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no IDX file"),
        (b"PK\x03\x04 and more", "no IDX file"),
        (b"\0\0\x07\x01" + WHOLE[4:], "no IDX file"),
        (WHOLE[:6], "cut off"),
        (WHOLE[:-1], "cut off"),
        (WHOLE + b"x", "too long"),
        (gzip.compress(WHOLE, mtime=0)[:-9], "broken archive"),
        (b"\x1f\x8b no archive", "broken archive"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "labels"
    path.write_bytes(data)
    with pytest.raises(RequestError, match=said) as caught:
        idx.read(path)
    assert str(path) in caught.value.message


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"labels cannot be read: No such file"):
        idx.read(tmp_path / "labels")


def test_an_archive_is_not_unpacked_beyond_what_is_expected(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(gzip.compress(b"\0" * 10_000_000, mtime=0))
    with pytest.raises(RequestError, match="more than 1000 bytes"):
        idx.content(path, most_bytes=1000)

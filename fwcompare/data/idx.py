"""The IDX format of MNIST and its relatives, plain or compressed with gzip.

Format: two zero bytes, a type code, the number of axes, each axis as a big-endian 32-bit number,
then the values, big-endian (LeCun, Cortes and Burges, "The MNIST database").
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from fwcompare.errors import RequestError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"

#: Content beyond this is not read: no file of a dataset in this format is as large.
MOST_BYTES = 2**31


def content(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of an IDX file, decompressed if need be, whatever the file is called.

    Raises:
        RequestError: the file is missing, unreadable, a broken archive or larger than expected.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(len(_GZIP)) == _GZIP
            file.seek(0)
            read = gzip.GzipFile(fileobj=file).read if packed else file.read
            found = read(most_bytes + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RequestError(f"{path} is a broken archive: {error}.", "Fetch it again.") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error
    if len(found) > most_bytes:
        raise RequestError(f"{path} holds more than {most_bytes} bytes.", "Fetch it again.")
    return found


def parse(data: bytes, where: str) -> np.ndarray:
    """The array in the bytes of an IDX file, in the machine's byte order.

    Raises:
        RequestError: the bytes are no IDX file, or too few or too many; it begins with ``where``.
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not data[3]:
        raise RequestError(f"{where} is no IDX file: it begins with {data[:4].hex(' ')}.")
    dtype, axes = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    whole_axes = (min(len(data), start) - 4) // 4
    shape = tuple(np.frombuffer(data, ">u4", whole_axes, 4).tolist())
    if len(shape) < axes or len(data) != start + math.prod(shape) * dtype.itemsize:
        raise RequestError(
            f"{where} is cut off or too long: {len(data)} bytes for shape {list(shape)}.",
            "Fetch it again.",
        )
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def read(path: Path) -> np.ndarray:
    """The array in an IDX file. Raises ``RequestError`` as ``content`` and ``parse`` do."""
    return parse(content(path), str(path))

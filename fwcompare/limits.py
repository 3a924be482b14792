"""Files of others are read up to a size and no further, and devices and pipes not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError, shown

#: Bytes of a JSON file of a run; a spec holds every layer, a record every block of steps.
LARGEST_JSON = 256_000_000


def user_path(name: str) -> Path:
    """The path that a user wrote, from their home where it begins with ``~``.

    Raises:
        RequestError: no file can have this name, or there is no such user.
    """
    try:
        path = Path(name).expanduser()
        os.lstat(path)
    except RuntimeError as error:  # pathlib's word for a home that is not there
        raise RequestError(f"{shown(name)}: there is no such home folder.") from error
    except ValueError as error:  # zeros, and halves of surrogate pairs
        raise RequestError(f"{shown(repr(name))} cannot be the name of a file: {error}.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise RequestError(f"{shown(name)} cannot be a path: it is too long.") from error
    return path


def read_text(path: Path, most: int, what: str = "The file") -> str:
    """The text of an ordinary file.

    Raises:
        RequestError: it is missing, a device or a pipe, larger than ``most`` bytes, or not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise RequestError(f"{what} {path} is no ordinary file.")
        with path.open("rb") as file:
            large = os.fstat(file.fileno()).st_size > most
            content = b"" if large else file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RequestError(f"{what} {path} cannot be read: {reason}.") from error
    if large or len(content) > most:
        raise RequestError(f"{what} {path} is larger than {most} bytes.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{what} {path} is not text: {error}.") from error


def read_json(path: Path, what: str = "The file") -> Any:
    """Plain data from a JSON file.

    Raises:
        RequestError: it cannot be read, is too large, or is not JSON.
    """
    text = read_text(path, LARGEST_JSON, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{what} {path} is not JSON: {error}.") from error

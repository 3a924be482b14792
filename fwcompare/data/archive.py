"""Files out of a tar archive, read one after another and never written to disk.

An archive that is not trusted can name a file outside of its folder, link to one, be a device, or
grow without end. Nothing is extracted, so none of that can do harm; it is refused all the same,
since such an archive is not what it claims to be.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from fwcompare.errors import RequestError


def files(
    archive: Path, wanted: Callable[[str], bool], most_bytes: int, most_files: int = 1_000_000
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each wanted file, in the order of the archive.

    ``most_bytes`` bounds what all of its files hold together, ``most_files`` how many they are.

    Raises:
        RequestError: the archive is broken, or holds what no dataset does.
    """
    total = 0
    try:
        with tarfile.open(archive, "r:*") as opened:
            for number, member in enumerate(opened, 1):
                _check(archive, member)
                total += member.size
                if total > most_bytes or number > most_files:
                    raise RequestError(
                        f"{archive} holds more than {most_bytes:,} bytes or {most_files:,} files.",
                        "It is not the archive that is expected; fetch it again.",
                    )
                if member.isfile() and wanted(member.name):
                    content = opened.extractfile(member)
                    assert content is not None
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise RequestError(f"{archive} is a broken archive: {error}.", "Fetch it again.") from error


def _check(archive: Path, member: tarfile.TarInfo) -> None:
    """Raise ``RequestError`` unless a member is a plain file or folder within the archive."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        what = "which lies outside of its folder"
    elif member.issym() or member.islnk():
        what = f"which is a link to '{member.linkname}'"
    elif not (member.isfile() or member.isdir()):
        what = "which is neither a file nor a folder"
    else:
        return
    raise RequestError(
        f"{archive} holds '{member.name}', {what}.",
        "Nothing was taken from it; get the archive from another place.",
    )

"""Archives: files in order, and nothing of one that is not what it claims to be."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from fwcompare.data.archive import files
from fwcompare.errors import RequestError


def made(path: Path, *members: tarfile.TarInfo, content: bytes = b"content") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if member.isfile():
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if member.isfile() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_wanted_files_come_in_the_order_of_the_archive(tmp_path: Path) -> None:
    folder = member("data", tarfile.DIRTYPE)
    archive = made(tmp_path / "a.tar.gz", folder, *map(member, ("data/b", "data/c", "data/a")))
    found = list(files(archive, lambda name: name != "data/c", 1000))
    assert found == [("data/b", b"content"), ("data/a", b"content")]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (member("../outside"), "lies outside of its folder"),
        (member("data/../../outside"), "lies outside of its folder"),
        (member("/etc/outside"), "lies outside of its folder"),
        (member("data/link", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd'"),
        (member("data/link", tarfile.LNKTYPE, "data/b"), "a link to 'data/b'"),
        (member("data/null", tarfile.CHRTYPE), "neither a file nor a folder"),
        (member("data/disk", tarfile.BLKTYPE), "neither a file nor a folder"),
        (member("data/pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
    ],
)
def test_what_no_dataset_holds_is_refused(tmp_path: Path, bad: tarfile.TarInfo, said: str) -> None:
    archive = made(tmp_path / "a.tar.gz", member("data/b"), bad)
    with pytest.raises(RequestError, match=said) as caught:
        list(files(archive, lambda name: True, 1000))
    assert bad.name in caught.value.message
    assert [path.name for path in tmp_path.rglob("*")] == ["a.tar.gz"]


def test_one_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    archive = made(tmp_path / "a.tar.gz", member("zeros"), content=bytes(10_000_000))
    assert archive.stat().st_size < 50_000
    with pytest.raises(RequestError, match="more than 1,000,000 bytes"):
        list(files(archive, lambda name: True, 1_000_000))
    many = made(tmp_path / "b.tar.gz", *(member(f"file{n}") for n in range(20)))
    with pytest.raises(RequestError, match="10 files"):
        list(files(many, lambda name: True, 1_000_000, most_files=10))


@pytest.mark.parametrize("damage", ["cut", "changed", "none", "empty"])
def test_a_broken_one_is_named(tmp_path: Path, damage: str) -> None:
    path = made(tmp_path / "a.tar.gz", *(member(f"file{n}") for n in range(50)))
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "changed": whole[:40] + bytes(40) + whole[80:],
            "none": b"no archive at all",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(RequestError, match=r"a\.tar\.gz is a broken archive"):
        list(files(path, lambda name: True, 10**6))

"""Fetching: once, resumed, verified, from the first address that has the right file."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from fwcompare.data.download import download
from fwcompare.errors import RequestError

CONTENT = random.Random(5).randbytes(600_000)


def verify(path: Path) -> None:
    if path.read_bytes() != CONTENT:
        raise RequestError(f"{path.name} is not the right file.")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.gz"


def left(target: Path) -> list[str]:
    return [path.name for path in target.parent.iterdir()]


def test_a_file_is_fetched_once(site: Any, target: Path) -> None:
    site.files["/file.gz"] = CONTENT
    for _ in range(2):
        assert download([f"{site.url}/file.gz"], target, verify) == target
        assert target.read_bytes() == CONTENT
    assert site.requests == [("/file.gz", None)]
    assert left(target) == ["file.gz"]


def test_a_broken_transfer_goes_on_where_it_broke(site: Any, target: Path) -> None:
    site.files["/file.gz"] = CONTENT
    site.break_after = 400_000
    download([f"{site.url}/file.gz"], target, verify)
    assert target.read_bytes() == CONTENT
    assert site.requests == [("/file.gz", None), ("/file.gz", "bytes=400000-")]


def test_what_an_earlier_process_left_is_used(site: Any, target: Path) -> None:
    site.files["/file.gz"] = CONTENT
    target.parent.mkdir()
    target.with_name("file.gz.part").write_bytes(CONTENT[:1000])
    download([f"{site.url}/file.gz"], target, verify)
    assert target.read_bytes() == CONTENT
    assert site.requests == [("/file.gz", "bytes=1000-")]


def test_a_server_that_cannot_resume_sends_it_whole(site: Any, target: Path) -> None:
    site.files["/file.gz"] = CONTENT
    site.resumes = False
    site.break_after = 1000
    download([f"{site.url}/file.gz"], target, verify)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("rest", [b"of another file", b"too long" * 100_000, CONTENT])
def test_a_part_that_does_not_fit_is_thrown_away(site: Any, target: Path, rest: bytes) -> None:
    site.files["/file.gz"] = CONTENT
    target.parent.mkdir()
    target.with_name("file.gz.part").write_bytes(rest)
    download([f"{site.url}/file.gz"], target, verify)
    assert target.read_bytes() == CONTENT
    assert left(target) == ["file.gz"]


def test_a_file_that_decayed_is_fetched_again(site: Any, target: Path) -> None:
    site.files["/file.gz"] = CONTENT
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    download([f"{site.url}/file.gz"], target, verify)
    assert target.read_bytes() == CONTENT


def test_the_next_address_is_asked_when_one_has_the_wrong_file(site: Any, target: Path) -> None:
    site.files |= {"/wrong/file.gz": b"something else", "/right/file.gz": CONTENT}
    urls = [f"{site.url}/{name}/file.gz" for name in ("none", "wrong", "right")]
    download(urls, target, verify)
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in site.requests] == [
        "/none/file.gz",
        "/wrong/file.gz",
        "/right/file.gz",
    ]


def test_every_failure_is_told_and_nothing_is_left(site: Any, target: Path) -> None:
    site.files["/wrong/file.gz"] = b"something else"
    urls = ["http://127.0.0.1:9/file.gz", f"{site.url}/none/file.gz", f"{site.url}/wrong/file.gz"]
    with pytest.raises(RequestError) as caught:
        download(urls, target, verify)
    for url in urls:
        assert url in caught.value.message
    assert "refused" in caught.value.message
    assert "HTTP 404" in caught.value.message
    assert "not the right file" in caught.value.message
    assert left(target) == []

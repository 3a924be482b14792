"""Fetching a file once: from one of several addresses, resumed where it broke off, verified."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwcompare.errors import RequestError

if TYPE_CHECKING:
    import http.client

    from rich.console import Console

#: Seconds without a byte after which an address is given up.
TIMEOUT_S = 30.0
#: Times that one address is asked, as long as some bytes are there to go on from.
ATTEMPTS = 3
_CHUNK_BYTES = 256 * 1024

#: Told of bytes that have come, and of all bytes to come (None where the server does not say).
Advance = Callable[[int, int | None], None]


class _Broken(Exception):
    """A transfer that failed or ended early."""


class _NoRoom(RequestError):
    """The disk cannot take the file, wherever it comes from."""


@dataclass(frozen=True)
class Downloads:
    """Where fetched files are kept, and whether any may be fetched."""

    folder: Path
    #: Take what is there and never ask the network.
    offline: bool = False
    #: Where a bar is shown; None: standard error.
    console: Console | None = None

    def __truediv__(self, name: str) -> Downloads:
        """The same in a folder within this one."""
        return Downloads(self.folder / name, self.offline, self.console)

    def get(
        self, name: str, urls: Sequence[str], verify: Callable[[Path], None], hint: str
    ) -> Path:
        """The verified file of this name, fetched if it is not there.

        ``hint`` says what else can be done, as in "or ...".

        Raises:
            RequestError: it is not there and cannot be fetched, or may not be.
        """
        target = self.folder / name
        if target.is_file() and (not self.offline or _accepted(target, verify) is None):
            return download(urls, target, verify, self.console)
        if self.offline:
            failure = _accepted(target, verify) if target.is_file() else None
            said = failure or f"{name} is not in {self.folder}"
            raise RequestError(
                f"{said.rstrip('.')}, and nothing is fetched: paths.offline is on.",
                f"Put {name} there by other means (it is at {urls[0]}), or {hint}. "
                "Or go online: paths.offline=false, or FWCOMPARE_OFFLINE=0.",
            )
        try:
            return download(urls, target, verify, self.console)
        except _NoRoom:
            raise
        except RequestError as error:
            raise RequestError(
                error.message, f"Put {name} into {self.folder} by other means, or {hint}."
            ) from error


def download(
    urls: Sequence[str],
    target: Path,
    verify: Callable[[Path], None],
    console: Console | None = None,
) -> Path:
    """Make sure that ``target`` is there and verified, fetching it if need be.

    The file grows as ``<target>.part`` and gets its name once it is whole and verified; a later
    call goes on where this one broke off. Callers see to it that one process fetches at a time.

    Raises:
        RequestError: no address gave a file that ``verify`` accepts (it raises ``RequestError``),
            or the disk has no room for it.
        OSError: the file cannot be written; what there was of it is removed.
    """
    if target.is_file() and _accepted(target, verify) is None:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    failures = {}
    for url in urls:
        for _ in range(ATTEMPTS):
            resumed = part.exists()
            failure = _attempt(url, part, target, verify, console)
            if failure is None:
                return target
            failures[url] = failure
            if not resumed and not part.exists():
                break  # nothing came, or a whole file that is not the right one
    shown = "\n".join(f"  {url}: {failure}" for url, failure in failures.items())
    raise RequestError(f"{target.name} could not be fetched:\n{shown}")


def _attempt(
    url: str,
    part: Path,
    target: Path,
    verify: Callable[[Path], None],
    console: Console | None,
) -> str | None:
    """Fetch and verify from one address; why it failed, or None."""
    try:
        with _progress(target.name, console) as advance:
            _fetch(url, part, advance)
    except _Broken as error:
        return str(error)
    except OSError:
        part.unlink(missing_ok=True)  # a full disk gets back what was taken
        raise
    failure = _accepted(part, verify)
    if failure is None:
        part.replace(target)
    else:
        part.unlink()
    return failure


def _accepted(path: Path, verify: Callable[[Path], None]) -> str | None:
    try:
        verify(path)
    except RequestError as error:
        return error.message
    return None


def _fetch(url: str, part: Path, advance: Advance) -> None:
    """Append to ``part`` what is missing; ask again from the start if the server cannot do that."""
    # Here, for every run imports this module, and few fetch anything.
    import http.client
    import urllib.error
    import urllib.request

    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "fwcompare"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            if response.status != http.client.PARTIAL_CONTENT:
                have = 0
            _receive(response, part, have, advance)
    except urllib.error.HTTPError as error:
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # there is nothing behind what is here: it is whole, or verification tells
        raise _Broken(f"HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _Broken(str(error.reason)) from error
    except http.client.HTTPException as error:
        raise _Broken(repr(error)) from error


def _receive(response: http.client.HTTPResponse, part: Path, have: int, advance: Advance) -> None:
    length = response.headers.get("Content-Length")
    total = have + int(length) if length is not None and length.isdigit() else None
    if total is not None:
        require_room(part.parent, total - have, part.name.removesuffix(".part"))
    advance(have, total)
    with part.open("ab" if have else "wb") as file:
        while chunk := _chunk(response):
            file.write(chunk)
            have += len(chunk)
            advance(len(chunk), total)
    if total is not None and have < total:
        raise _Broken(f"ended after {have} of {total} bytes")


def require_room(folder: Path, need: int, what: str, option: str = "paths.cache") -> None:
    """Raise ``RequestError`` unless the disk of ``folder``, which ``option`` chooses, has so many
    bytes free."""
    free = shutil.disk_usage(folder).free
    if need > free:
        need_mib, free_mib = (f"{size / 2**20:,.1f} MiB" for size in (need, free))
        raise _NoRoom(
            f"{what} needs {need_mib} in {folder}, where {free_mib} are free.",
            f"Make room there, or choose another folder with {option}=FOLDER.",
        )


def _chunk(response: http.client.HTTPResponse) -> bytes:
    """The next bytes. An error of the network must not be taken for one of the disk."""
    try:
        return response.read(_CHUNK_BYTES)
    except OSError as error:
        raise _Broken(str(error) or type(error).__name__) from error


@contextmanager
def _progress(name: str, console: Console | None) -> Iterator[Advance]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    from fwcompare.terminal import stderr

    console = console or stderr()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(
        *columns,
        TransferSpeedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(name, total=None)

        def advance(new: int, total: int | None) -> None:
            bar.update(task, advance=new, total=total)

        yield advance

"""How much memory there is: the machine's, what a container or a limit leaves of it, a GPU's.

Read in the parent, without any framework.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fwcompare import gpu


@dataclass(frozen=True)
class Capacity:
    """Memory that a new process can have, and whose it is."""

    bytes: int
    #: How messages call it.
    words: str


def of_device(device: str) -> Capacity | None:
    """What a run on this device can have; None where the system does not tell."""
    return of_gpu() if device == "cuda" else of_machine()


def of_machine(root: Path = Path("/")) -> Capacity | None:
    """The least of what the machine has available, and what control groups and limits leave."""
    found = [*_machine(root), *_control_groups(root), *_limit()]
    return min(found, key=lambda capacity: capacity.bytes, default=None)


def _machine(root: Path) -> Iterator[Capacity]:
    for line in _text(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == "MemAvailable":
            yield Capacity(int(value.split()[0]) * 1024, "this machine has available")


def _control_groups(root: Path) -> Iterator[Capacity]:
    """What each control group leaves, in version 2 and 1, up to the root of the hierarchy."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top, most, used = mount, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, most, used = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inner = top / path.strip().lstrip("/")
        for folder in (inner, *inner.parents):
            limit, taken = _text(folder / most).strip(), _text(folder / used).strip()
            if limit.isdigit() and taken.isdigit():
                left = int(limit) - int(taken) + _reclaimable(folder)
                yield Capacity(max(left, 0), "this container has left")
            if folder == top:
                break


def _reclaimable(folder: Path) -> int:
    """Bytes of file contents that a control group holds and would let go."""
    for line in _text(folder / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _limit() -> Iterator[Capacity]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield Capacity(limit, "a process may have here (ulimit -v)")


def of_gpu() -> Capacity | None:
    """What the first visible NVIDIA device has free."""
    free = gpu.free_bytes()
    return None if free is None else Capacity(free, "the GPU has free")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""

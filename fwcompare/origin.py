"""Which process has begun something, told so that a later one can see whether it has died."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")


def own() -> str:
    """This process: host, machine, boot, process namespace, id and start."""
    return "/".join([*_here(), str(os.getpid()), _start(os.getpid())])


def has_died(process: str) -> bool:
    """Whether a process, as ``own`` told it, certainly runs no more; one of another host may."""
    here = _here()
    parts = process.split("/")
    if len(parts) != len(here) + 2 or not parts[-2].isdigit():
        return False
    place, pid, start = parts[: len(here)], int(parts[-2]), parts[-1]
    if place[:2] != here[:2]:  # another host
        return False
    if place[2] != here[2]:  # this host before it was started anew
        return True
    return place[3] == here[3] and _start(pid) != start


def _here() -> list[str]:
    """Host, machine, boot, and the namespace in which process ids are told apart."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return [socket.gethostname(), _text(_MACHINE_ID), _text(_BOOT_ID), namespace]


def _start(pid: int) -> str:
    """When a process was started, in ticks since the boot; empty where there is none.

    It tells a process from a later one with the same id.
    """
    # The name in brackets may itself hold spaces and brackets; what comes behind it does not.
    behind = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return behind[19] if len(behind) > 19 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""

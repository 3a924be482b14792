"""The NVIDIA device that a run would take, as its driver's tool tells it; no framework is asked.

It is the first that the process may see: ``CUDA_VISIBLE_DEVICES`` may name others, or none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

#: Longest time that the driver's own tool may take.
_TIMEOUT_SECONDS = 10.0

#: How ``CUDA_VISIBLE_DEVICES`` hides every device.
_HIDDEN = ("", "-1", "none", "NoDevFiles")

#: What is read of a device: columns of ``nvidia-smi``, and their names in a record.
_COLUMNS = {
    "name": "name",
    "uuid": "uuid",
    "driver": "driver_version",
    "memory_mib": "memory.total",
}


def present() -> bool:
    """Whether there is a device that this process may see.

    Device files stand for it; where Linux is a guest of Windows there are none, and the driver's
    tool is asked.
    """
    if _visible() is None:
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or bool((_ask("uuid") or "").strip())


def free_bytes() -> int | None:
    """What the device has free; None where nobody tells."""
    try:
        return int((_ask("memory.free") or "").split()[0]) * 2**20
    except (ValueError, IndexError):
        return None


def described() -> dict[str, Any] | None:
    """Name, identity, driver and memory of the device, JSON-able; None where nobody tells."""
    told = (_ask(",".join(_COLUMNS.values())) or "").splitlines()[:1]
    values = [value.strip() for line in told for value in line.split(",")]
    if len(values) != len(_COLUMNS):
        return None
    found: dict[str, Any] = dict(zip(_COLUMNS, values, strict=True))
    memory = found["memory_mib"]
    return found | {"memory_mib": int(memory) if memory.isdigit() else None}


def _visible() -> str | None:
    """The first device that the process may see, as the tool takes it: empty where none is named,
    for the machine's first; None where all are hidden."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return ""
    first = named.split(",")[0].strip()
    return None if first in _HIDDEN else first


def _ask(columns: str) -> str | None:
    """What the tool prints of the first visible device; None where it is absent or fails."""
    import subprocess  # which no run on a CPU needs

    visible = _visible()
    if visible is None:
        return None
    chosen = ["-i", visible] if visible else []
    try:
        ended = subprocess.run(
            ["nvidia-smi", *chosen, f"--query-gpu={columns}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ended.stdout

"""The machine that numbers were measured on."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from typing import Any

import psutil

from fwcompare import __version__
from fwcompare.launch import physical_cores
from fwcompare.worker import _cpu_name


def machine() -> dict[str, Any]:
    """What a reader needs to judge times; JSON-able."""
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "cpu": _cpu_name(),
        "physical_cores": len(physical_cores()),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "fwcompare": __version__,
        "load_1m": os.getloadavg()[0],
    }

"""Look at this machine and installation, and say what is missing and how to get it.

fwcompare doctor
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from fwcompare import __version__
from fwcompare.compose import compose
from fwcompare.config import published_engines
from fwcompare.launch import physical_cores
from fwcompare.plugin import distribution, front, installed, missing, versions
from fwcompare.report import stdout

SUMMARY = "this machine and installation: versions, cores, devices, what is missing"

#: Less free space than this under outputs is worth a warning.
SPACE_BYTES = 1 << 30

Finding = tuple[str, str, str]  # what, state, next step ("" where all is well)


def configure(parser: argparse.ArgumentParser) -> None:
    """This verb takes no arguments."""


def run(arguments: argparse.Namespace) -> int:
    console = stdout()
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    steps = []
    for what, state, step in [*_machine(), *_folders(), *_engines()]:
        style = "yellow" if step else ""
        table.add_row(what, Text(state, style=style))
        if step:
            steps.append(f"{what}: {step}")
    console.print(table)
    if steps:
        console.print("\nWhat you could do:", style="bold")
        for step in steps:
            console.print(f"  {step}", soft_wrap=True)
    else:
        console.print("\nNothing is missing.", style="green")
    return 0


def _machine() -> Iterator[Finding]:
    yield "fwcompare", __version__, ""
    yield "Python", f"{platform.python_version()} on {platform.platform()}", ""
    physical, usable = len(physical_cores()), len(os.sched_getaffinity(0))
    yield "cores", f"{physical} physical, {usable} usable by this process", ""
    yield "threads", f"device.threads is {physical} unless told otherwise", ""
    load = os.getloadavg()[0]
    busy = "wait until other work has ended: timings would be noisy" if load > usable / 2 else ""
    yield "load", f"{load:.2f} over the last minute", busy
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    yield "CUDA devices", ", ".join(devices) or "none: device=cuda is refused here", ""
    found = versions(("hydra-core", "omegaconf", "mlflow", "numpy", "safetensors"))
    yield "core packages", ", ".join(f"{key} {value}" for key, value in found.items()), ""


def _folders() -> Iterator[Finding]:
    made = compose([])
    for what, path in (("outputs", made.outputs), ("cache", made.cache)):
        place = next(p for p in (path, *path.parents) if p.exists())
        free = shutil.disk_usage(place).free
        step = ""
        if not os.access(place, os.W_OK):
            step = f"make {place} writable, or set paths.{what}"
        elif free < SPACE_BYTES:
            step = f"free some space under {place}, or set paths.{what}"
        yield what, f"{path} ({free / 2**30:.1f} GiB free)", step


def _engines() -> Iterator[Finding]:
    present = installed()
    for name in sorted(present):
        engine = front(name)
        found = versions(engine.requirements)
        absent = missing(engine)
        state = ", ".join(f"{key} {value}" for key, value in found.items()) or "no framework"
        yield name, state, f"pip install {' '.join(absent)}" if absent else ""
    providers = {distribution(name) for name in present}
    for name, provider in published_engines().items():
        if provider not in providers:
            yield name, "plugin not installed", f"pip install {provider}"

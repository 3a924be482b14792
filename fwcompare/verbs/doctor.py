"""Look at this machine and installation, and say what is missing and how to get it.

fwcompare doctor               versions, cores, devices, how busy the machine is (takes a second)
fwcompare doctor --peak        also what the machine can calculate and copy at best
fwcompare doctor --repair      also mend what crashes have left in the outputs folder and in MLflow
fwcompare doctor --self-test   also whether each engine's work is waited for before its time is read
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fwcompare import __version__, damage, gpu, machine
from fwcompare.capacity import of_machine
from fwcompare.completion import Completion, check
from fwcompare.compose import compose
from fwcompare.config import Tracking, published_engines
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.launch import physical_cores
from fwcompare.limits import user_path
from fwcompare.plugin import distribution, front, installed, missing, versions
from fwcompare.preflight import size_words
from fwcompare.report import colour
from fwcompare.roofline import Peak, measure
from fwcompare.terminal import stdout
from fwcompare.tracker import finder, store
from fwcompare.waiting import waiting

SUMMARY = "this machine and installation: versions, cores, devices, what is missing"

#: Less free space than this under outputs is worth a warning.
SPACE_BYTES = 1 << 30

_REPAIR = "fwcompare doctor --repair"

Finding = tuple[str, str, str]  # what, state, next step ("" where all is well)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="mend what crashes have left, and say what was done"
    )
    parser.add_argument("--outputs", help="folder of the runs (paths.outputs)")
    parser.add_argument("--peak", action="store_true", help="measure the machine's peak")
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="train a known workload in each engine: none may be faster than the machine's peak",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of both measurements")


def run(arguments: argparse.Namespace) -> int:
    if arguments.threads is not None and arguments.threads < 1:
        raise RequestError(f"--threads must be at least 1, got {arguments.threads}.")
    console = stdout()
    steps = _show([*_machine(), *_activity(), *_folders(), *_engines()], console)
    made = compose([])
    outputs = user_path(arguments.outputs) if arguments.outputs else made.outputs
    status, step = _left_behind(outputs, made.tracking, arguments.repair, console)
    steps += [step] if step else []
    if arguments.peak or arguments.self_test:
        peak = measure(arguments.threads or len(physical_cores()))
        if peak is None:
            raise RequestError("The machine's peak cannot be measured: NumPy failed in a process.")
        console.print()
        steps += _show(_peak(peak), console)
        if arguments.self_test:
            status = _self_test(peak, console)
    if steps:
        console.print("\nWhat you could do:", style="bold")
        for step in steps:
            console.print(f"  {step}", soft_wrap=True)
    elif not status:
        console.print("\nNothing is missing.", style="green")
    return status


def _left_behind(
    outputs: Path, tracking: Tracking, repair: bool, console: Console
) -> tuple[int, str]:
    """What crashes have left: listed, or mended. Returns an exit code and what could be done."""
    status, count = 0, 0
    if repair:
        for each, hindered in damage.mended(damage.found(outputs)):
            said = f"not mended: {hindered}" if hindered else f"mended: {each.cure}"
            _tell(console, f"{each.what}: {each.where}", said, bool(hindered))
            status = max(status, int(bool(hindered)))
    else:
        for each in damage.found(outputs):
            _tell(console, f"{each.what}: {each.where}", f"to mend: {each.cure}", True)
            count += 1
    if tracking.uri is not None or (outputs / "mlflow.db").is_file():
        with waiting(console, "Looking into MLflow ..."):
            names, hindered = _cut_off_in_mlflow(outputs, tracking, repair)
        for name in names:
            said = "mended: it is ended" if repair else "to mend: it is ended"
            _tell(console, f"MLflow run that stands as running: {name}", said, not repair)
            count += not repair
        if hindered:
            _tell(console, "MLflow", f"not looked into: {hindered}", True)
    return status, f"outputs: mend what crashes have left with `{_REPAIR}`" if count else ""


def _cut_off_in_mlflow(
    outputs: Path, tracking: Tracking, repair: bool
) -> tuple[Sequence[str], str]:
    try:
        known = store(tracking, outputs)
        return (known.reconcile(finder(outputs)) if repair else known.cut_off()), ""
    except FwcompareError as error:
        return (), error.message


def _tell(console: Console, what: str, said: str, warn: bool) -> None:
    text = Text(f"{what}\n  ") + Text(said, style="yellow" if warn else "green")
    console.print(text, soft_wrap=True)


def _show(findings: Iterable[Finding], console: Console) -> list[str]:
    """Print findings as a table. Returns what could be done about them."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    steps = []
    for what, state, step in findings:
        table.add_row(what, Text(state, style="yellow" if step else ""))
        if step:
            steps.append(f"{what}: {step}")
    console.print(table)
    return steps


def _machine() -> Iterator[Finding]:
    yield "fwcompare", __version__, ""
    yield "Python", f"{platform.python_version()} on {platform.platform()}", ""
    physical, usable = len(physical_cores()), len(os.sched_getaffinity(0))
    yield "CPU", machine.cpu_name(), ""
    yield "cores", f"{physical} physical, {usable} usable by this process", ""
    yield "threads", f"device.threads is {physical} unless told otherwise", ""
    quota = machine.quota_cores()
    if quota is not None:
        few = f"set device.threads={max(int(quota), 1)}" if quota < physical else ""
        yield "CPU quota", f"{quota:g} cores' worth of time", few
    if (memory := of_machine()) is not None:
        yield "memory", f"{memory.words} {size_words(memory.bytes)}", ""
    yield "GPU", _gpu(), ""
    found = versions(("hydra-core", "omegaconf", "mlflow", "numpy", "safetensors"))
    yield "core packages", ", ".join(f"{key} {value}" for key, value in found.items()), ""


def _gpu() -> str:
    """The device that ``device=cuda`` takes."""
    if not gpu.present():
        return "none that is visible: device=cuda is refused here"
    if (found := gpu.described()) is None:
        return "one, of which nvidia-smi tells nothing"
    memory = found["memory_mib"]
    size = f", {size_words(memory * 2**20)}" if memory else ""
    return f"{found['name']}{size}, driver {found['driver']}"


def _activity() -> Iterator[Finding]:
    """How busy the machine is with other things."""
    cores = machine.own_cores()
    before = machine.snapshot(cores)
    time.sleep(machine.SHORTEST_SECONDS)
    seen = machine.between(before, machine.snapshot(cores), cores)
    if seen.load_1m_end is not None:
        busy = "wait until other work has ended: timings would be noisy"
        state = f"{seen.load_1m_end:.2f} over the last minute"
        yield "load", state, busy if seen.load_1m_end > len(cores) / 2 else ""
    if seen.foreign_cores is not None:
        state = f"{seen.foreign_cores:.2f} of {len(cores)} cores at this moment"
        end = "look with `top` for what is running" if seen.foreign_cores > 0.5 else ""
        yield "other processes", state, end
    if seen.steal_share is not None:
        state = f"{seen.steal_share:.1%} of the cores' time at this moment"
        shared = "other guests share these cores: take a host of your own, or expect noise"
        yield "steal", state, shared if seen.steal_share > machine.STEAL_SHARE else ""
    clock = f"{seen.mhz_end:,.0f} MHz" if seen.mhz_end else "clock not told"
    fixed = seen.governor in (None, "performance")
    faster = "" if fixed else "for steady clocks: cpupower frequency-set --governor performance"
    yield "governor", f"{seen.governor or 'not told here'}, {clock}", faster


def _peak(peak: Peak) -> Iterator[Finding]:
    threads = f"{peak.threads} thread{'s' if peak.threads > 1 else ''}"
    for dtype, rate in peak.flops_per_s.items():
        yield f"peak {dtype}", f"{rate / 1e9:,.0f} GFLOP/s with {threads}", ""
    yield "peak copy", f"{peak.copy_bytes_per_s / 1e9:,.1f} GB/s, read and written", ""
    yield "kernels", f"{peak.kernels} (NumPy's linear algebra)", ""


def _self_test(peak: Peak, console: Console) -> int:
    """Train the known workload in every engine that is complete. Returns 1 unless all are ok."""
    console.print("\nIs work done when its time is read? Dense layers of 2048 units, float32:")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("engine")
    table.add_column("GFLOP/s", justify="right")
    table.add_column("of peak", justify="right")
    table.add_column("result")
    found = []
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as root:
        for name in sorted(installed()):
            if not missing(front(name)):
                with console.status(f"{name} ..."):
                    found.append(check(name, Path(root), peak))
                table.add_row(*_completion_row(found[-1]))
    console.print(table)
    return int(any(completion.state != "ok" for completion in found))


def _completion_row(completion: Completion) -> tuple[Text, str, str, Text]:
    styles = {"ok": "green", "failed": "bold red"}
    told = f"{completion.state}: {completion.reason}" if completion.reason else completion.state
    return (
        Text(completion.engine, style=colour(completion.engine)),
        "–" if completion.flops_per_s is None else f"{completion.flops_per_s / 1e9:,.1f}",
        "–" if completion.share is None else f"{completion.share:.2f}",
        Text(told, style=styles.get(completion.state, "yellow")),
    )


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

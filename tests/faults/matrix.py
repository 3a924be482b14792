"""Every fault in every phase of a run, on the stub engine and, sampled, on real ones.

``make faults`` runs all of it and writes the table in docs/reliability.md; the tests take a sample.
A cell holds if the run left a record with the promised status and reason, the last of its events
and of its log, and no process.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from fwcompare import launch, testing
from fwcompare.record import RunRecord
from fwcompare.spec import Measure, RunSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from stub_engine import FAULTS, PHASES

SUPPORT = Path(__file__).parents[1] / "support"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"

#: What each fault is, in words, and the status that it is promised.
WORDS = {
    "SIGKILL": ("killed by SIGKILL, as by the system's out-of-memory killer", "killed"),
    "SIGTERM": ("ended by SIGTERM", "killed"),
    "SIGINT": ("ended by SIGINT, sent to the worker alone", "killed"),
    "SIGHUP": ("ended by SIGHUP", "killed"),
    "SIGSEGV": ("crash: SIGSEGV", "failed"),
    "SIGABRT": ("crash: SIGABRT", "failed"),
    "SIGBUS": ("crash: SIGBUS", "failed"),
    "SIGFPE": ("crash: SIGFPE", "failed"),
    "SIGILL": ("crash: SIGILL", "failed"),
    "SIGSTOP": ("stopped by SIGSTOP past `trainer.timeout_s`", "timeout"),
    "hang": ("sleeps past `trainer.timeout_s`", "timeout"),
    "hang_deaf": ("the same, and ignores SIGTERM", "timeout"),
    "spin": ("computes without end past `trainer.timeout_s`", "timeout"),
    "raise": ("raises an exception of two lines", "failed"),
    "raise_odd": ("raises with control characters and half a surrogate pair", "failed"),
    "raise_base": ("raises what is no `Exception`", "failed"),
    "recurse": ("recursion without end", "failed"),
    "memory": ("`MemoryError`", "out_of_memory"),
    "device_memory": ('"CUDA out of memory", as PyTorch raises it', "out_of_memory"),
    "address_space": ("the address space is used up (RLIMIT_AS)", "out_of_memory"),
    "bad_alloc": ("`std::bad_alloc` and SIGABRT, as a C++ library ends", "out_of_memory"),
    "exit": ("`_exit(3)` without a record", "failed"),
    "exit_well": ("`_exit(0)` without a record", "failed"),
    "sys_exit": ("`sys.exit(0)` without a record", "failed"),
    "full_events": ("the event file meets a full device (/dev/full: ENOSPC)", "failed"),
    "no_file_grows": ("no file of the worker can grow (RLIMIT_FSIZE: EFBIG)", "failed"),
    "fill_disk": ("the disk is filled to the last byte (a tmpfs: ENOSPC)", "failed"),
    "torn_event": ("half an event is written, then SIGKILL", "killed"),
    "garbage": ("bytes that are no events and no text, then SIGKILL", "killed"),
    "bad_record": ("a record that is garbage, and `_exit(0)`", "failed"),
    "leave_child": ("leaves a child of its own behind, then SIGKILL", "killed"),
    "close_log": ("closes its log and raises", "failed"),
    "long_log": ("logs 20 MB and raises", "failed"),
    "lose_folder": ("removes its run folder and raises", "failed"),
    "nan": ("a loss or an output is NaN", "diverged"),
    "infinite": ("a loss or an output is infinite", "diverged"),
}

#: Words that a reason must hold, where the status alone would not tell the fault.
REASONS = {
    **{name: name for name in WORDS if name.startswith("SIG") and name != "SIGSTOP"},
    **dict.fromkeys(("SIGSTOP", "hang", "hang_deaf", "spin"), "trainer.timeout_s="),
    "exit": "exit code 3",
    "exit_well": "exit code 0",
    "sys_exit": "exit code 0",
    "bad_record": "exit code 0",
}

#: Cells in which a fault comes too late, or spoils nothing that anybody asks for: the run is ok.
HARMLESS = {
    ("predict", "nan"), ("predict", "infinite"), ("record", "full_events"),
    ("record", "no_file_grows"), ("record", "fill_disk"),
}  # fmt: skip

#: Phases without a number that could be spoilt.
WITHOUT_NUMBERS = ("import", "build", "weights", "record")

#: Faults that another one covers on a real engine, where a cell takes seconds.
ON_REAL_ENGINES = (
    ("build", "SIGKILL"), ("step", "SIGSEGV"), ("middle", "raise"), ("middle", "hang"),
    ("between", "nan"), ("eval", "memory"), ("predict", "exit"), ("weights", "no_file_grows"),
    ("record", "SIGKILL"),
)  # fmt: skip
REAL_ENGINES = ("pytorch", "jax")

LAYERS = [
    {"name": "flat", "kind": "flatten"},
    {"name": "logits", "kind": "dense", "units": 3},
]


@dataclass(frozen=True)
class Cell:
    """One fault in one phase."""

    phase: str
    fault: str
    engine: str = "stub"

    def __str__(self) -> str:
        return f"{self.engine}-{self.phase}-{self.fault}"

    @property
    def status(self) -> str:
        return "ok" if (self.phase, self.fault) in HARMLESS else WORDS[self.fault][1]


def all_cells(own_disk: bool) -> Iterator[Cell]:
    """Every cell; those that fill a disk only where there is one to be filled."""
    for fault in FAULTS:
        for phase in PHASES:
            if fault in ("nan", "infinite") and phase in WITHOUT_NUMBERS:
                continue
            if fault != "fill_disk" or own_disk:
                yield Cell(phase, fault)


def install(site: Path) -> None:
    """Install the engines of this matrix into a folder on Python's path."""
    testing.write_plugin(site, "stub", _code("from stub_engine import FRONT"))
    for engine in REAL_ENGINES:
        front = f"from faulty_engine import FaultyFront\nFRONT = FaultyFront({engine!r})"
        testing.write_plugin(site, f"faulty_{engine}", _code(front))


def _code(front: str) -> str:
    return f"import sys\nsys.path.insert(0, {str(SUPPORT)!r})\n{front}\n"


def prepared(cell: Cell, root: Path) -> tuple[RunSpec, Path]:
    """The run of a cell; its seed says the fault, as ``STUB_FAULTS`` has it."""
    engine = cell.engine if cell.engine == "stub" else f"faulty_{cell.engine}"
    # Time is up soon only where that is what is tried.
    waits = WORDS[cell.fault][1] == "timeout"
    seconds = (6.0 if cell.engine == "stub" else 30.0) if waits else 300.0
    root.mkdir(parents=True, exist_ok=True)
    spec, folder = testing.make_run(
        root,
        engine,
        LAYERS,
        testing.small_data(root / "data", (4, 2, 1), 3),
        optimizer=testing.optimizer("sgd", lr=0.5),
        training={"epochs": 3, "batch_size": 16, "timeout_s": seconds},
        step_losses=False,
    )
    return spec.but(measure=Measure(20.0, 0.01, 3), seed=seed_of(cell)), folder


def seed_of(cell: Cell) -> int:
    return list(FAULTS).index(cell.fault) * len(PHASES) + PHASES.index(cell.phase)


#: What the engines read, in the environment of the parent: the fault of every seed.
STUB_FAULTS = ",".join(
    f"{seed_of(Cell(phase, fault))}={phase}:{fault}" for fault in FAULTS for phase in PHASES
)


def wrong(cell: Cell, root: Path) -> str:
    """Run a cell; what does not hold of what is promised, empty where all does."""
    spec, folder = prepared(cell, root)
    record = launch.run(spec, folder)
    if record != RunRecord.read(folder):
        return f"no record on disk: {record.reason}"
    if record.status != cell.status:
        return f"{record.status} instead of {cell.status}: {record.reason}"
    if record.ok:
        return "" if not record.reason else f"ok, and yet: {record.reason}"
    if not record.reason or not record.reason.isprintable():
        return f"no reason in one line: {record.reason!r}"
    said = REASONS.get(cell.fault.replace("_deaf", ""), "")
    if said and said not in record.reason:
        return f"not said: {said}, but {record.reason}"
    if cell.fault != "lose_folder" and cell.phase != "import" and not record.last_events:
        return "no last events"
    if cell.fault == "long_log" and not record.log_tail:
        return "no tail of the log"
    expected = {"middle": 1, "eval": 3, "predict": 3, "weights": 3, "record": 3}.get(cell.phase, 0)
    if cell.fault == "lose_folder":
        expected = 0  # what had been written went with it
    elif cell.status == "diverged" and cell.phase != "eval":
        expected += 1  # the epoch that diverged is written down
    if cell.fault == "fill_disk":
        expected = len(record.history)  # a few events still fit into what is allotted
    if len(record.history) != expected:
        return f"{len(record.history)} epochs instead of {expected}"
    return _left_alive(folder)


def _left_alive(folder: Path) -> str:
    deadline = time.monotonic() + 5
    while True:
        alive = [
            p for p in psutil.process_iter(["cmdline"]) if str(folder) in (p.info["cmdline"] or ())
        ]
        if not alive:
            return ""
        if time.monotonic() > deadline:
            return f"still alive: {alive}"
        time.sleep(0.1)


@contextmanager
def own_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of four megabytes; None where this process may not mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
        capture_output=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def wrong_on(cell: Cell, root: Path) -> str:
    """Run a cell where it belongs: one that fills a disk on a disk of its own."""
    if cell.fault != "fill_disk":
        return wrong(cell, root / str(cell))
    with own_disk(root / str(cell)) as disk:
        assert disk is not None
        return wrong(cell, disk)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--threads", type=int, default=2, help="cells at a time (2)")
    parser.add_argument("--only", choices=("stub", "real"), help="leave the other engines out")
    arguments = parser.parse_args()
    # What a job in the background ignores its workers would ignore, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fwcompare-faults-") as scratch:
        root = Path(scratch)
        install(root / "site")
        sys.path.insert(0, str(root / "site"))
        os.environ["STUB_FAULTS"] = STUB_FAULTS
        with own_disk(root / "trial") as disk:
            cells = list(all_cells(disk is not None))
        if arguments.only == "real":
            cells = []
        if arguments.only != "stub":
            cells += [Cell(*cell, engine=e) for e in REAL_ENGINES for cell in ON_REAL_ENGINES]
        with ThreadPoolExecutor(arguments.threads) as threads:
            seen = threads.map(lambda cell: wrong_on(cell, root), cells)
            found = {}
            for cell, why in zip(cells, seen, strict=True):
                found[cell] = why
                if why:
                    print(f"{cell}: {why}", flush=True)
    failed = sum(map(bool, found.values()))
    print(f"{len(cells)} cells, {failed} not as promised, in {time.monotonic() - began:.0f} s.")
    write_table(arguments.page, found)
    return int(bool(failed))


def write_table(page: Path, found: dict[Cell, str]) -> None:
    """Put the table into the page, between its marks."""
    by_fault: dict[str, list[Cell]] = defaultdict(list)
    for cell in found:
        if cell.engine == "stub":
            by_fault[cell.fault].append(cell)
    lines = ["| the worker ... | promised | seen |", "|---|---|---|"]
    for fault, (words, status) in WORDS.items():
        cells = by_fault[fault]
        if not cells:
            continue
        promised = f"`{status}`"
        if late := [c.phase for c in cells if c.status == "ok"]:
            promised += f"; `ok` in {', '.join(late)}"
        held = sum(not found[cell] for cell in cells)
        lines.append(f"| {words} | {promised} | {held} of {len(cells)} |")
    for real, where in ((False, "the stub engine"), (True, f"{' and '.join(REAL_ENGINES)}")):
        cells = [cell for cell in found if (cell.engine != "stub") == real]
        if cells:
            held = sum(not found[cell] for cell in cells)
            lines += ["", f"{len(cells)} cells on {where}: {held} as promised."]
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    behind = rest.split(END)[1]
    page.write_text("\n".join([before + BEGIN, *lines, END + behind]), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

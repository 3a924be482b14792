"""What fwcompare adds before, between and after the work of a framework.

The command line alone, and for each engine the wall time of a whole untracked run less the phases
that the framework itself accounts for: its import, building, training and inference.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from machine import machine
from overhead import DIGITS, ENGINES, OPTIONS

from fwcompare.compose import compose
from fwcompare.probe import clock
from fwcompare.record import RunRecord, write_json

OUTPUT = Path("outputs/benchmarks/startup.json")
COMMAND = Path(sys.executable).with_name("fwcompare")

#: Seconds that a command which runs nothing may take.
COMMAND_LIMIT = 0.6
#: Seconds that a run may take beyond its framework's phases.
RUN_LIMIT = 1.0

#: Phases of a record that are the framework's work.
WORK = ("import", "build", "train", "eval", "input", "predict")


def wall(arguments: Sequence[str], folder: str) -> float:
    """Seconds of one ``fwcompare`` command, run in ``folder``."""
    began = clock()
    subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return clock() - began


def command(arguments: Sequence[str], calls: int) -> dict[str, Any]:
    """The median time of a command that runs nothing, the first call left out."""
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as folder:
        wall(arguments, folder)
        times = [wall(arguments, folder) for _ in range(calls)]
    return {"seconds": times, "median_s": median(times), "met": median(times) <= COMMAND_LIMIT}


def run(engine: str) -> dict[str, float]:
    """Seconds of one run: the whole command, the framework's phases, and where the rest went."""
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as folder:
        whole = wall([*OPTIONS, *DIGITS, f"framework={engine}", "model=mlp"], folder)
        (path,) = Path(folder, "outputs", "runs").iterdir()
        record = RunRecord.read(path)
    assert record is not None and record.ok
    work = sum(record.phases[name]["seconds"] for name in WORK)
    return {
        "whole_s": whole,
        "work_s": work,
        "beyond_s": whole - work,
        "parent_s": whole - record.metrics["time/total_s"],
    }


def runs(engine: str, calls: int) -> dict[str, Any]:
    """The median of each of an engine's times over ``calls`` runs."""
    found = [run(engine) for _ in range(calls)]
    middle = {name: median(times[name] for times in found) for name in found[0]}
    return {"runs": found, "median": middle, "met": middle["beyond_s"] <= RUN_LIMIT}


def main() -> None:
    """Measure commands and engines and write all that was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--calls", type=int, default=9, help="timed calls of each command")
    parser.add_argument("--runs", type=int, default=3, help="runs of each engine")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    compose([*OPTIONS, *DIGITS]).plan()  # prepares the data, if this machine does not have it yet
    commands = {text: command(text.split(), given.calls) for text in ("--cfg job", "--help")}
    for text, times in commands.items():
        print(f"fwcompare {text:10} {times['median_s']:.2f} s")
    engines = {}
    for engine in given.engines:
        engines[engine] = runs(engine, given.runs)
        print(
            f"{engine:17} {engines[engine]['median']['beyond_s']:.2f} s beyond the framework's work"
        )
    given.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(given.output, {"machine": machine(), "commands": commands, "engines": engines})


if __name__ == "__main__":
    main()

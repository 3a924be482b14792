"""``docs/measured.md``: real sweeps that show what verdicts are worth on this machine.

An A/A sweep of every engine, which must show no difference; a slow-down that was put in on purpose,
which must be found; the quickstart with its verdicts; and what the watching costs: event file, live
display, and reports of a thousand runs. Takes about fifteen minutes.

    .venv/bin/python benchmarks/measured.py
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import display
from machine import machine
from overhead import ENGINES
from page import machine_line, table

from fwcompare.testing import write_plugin

PAGE = Path("docs/measured.md")
COMMAND = Path(sys.executable).with_name("fwcompare")

#: Share by which every step of the slowed engine takes longer.
SLOW_DOWN = 0.10
SEEDS = 6

#: Runs with the live display and without, in turns.
DISPLAY_PAIRS = 8

#: Workloads, and copies of each run in a workload, of the sweep of a thousand runs.
WORKLOADS, COPIES = 12, 4

COMMON = (
    "model=mlp",
    "dataset=digits",
    "trainer.epochs=20",
    "device.threads=1",
    "tracking=none",
    "parity.in_sweep=false",
)

#: A plugin whose engine is PyTorch's with a wait behind every step.
SLOWED = """
from fwcompare.probe import clock
from fwcompare.plugin import front


class SlowedProbe:
    def __init__(self, probe, share):
        self.probe, self.share = probe, share

    def epoch_begin(self, epoch):
        self.probe.epoch_begin(epoch)
        self.last = clock()

    def step(self):
        now = clock()
        until = now + self.share * (now - self.last)
        while clock() < until:
            pass
        self.last = clock()
        self.probe.step()

    def epoch_end(self, losses):
        self.probe.epoch_end(losses)


def __getattr__(name):
    if name != "SlowedTrainer":
        raise AttributeError(name)
    from fwcompare_pytorch.trainer import PyTorchTrainer

    class SlowedTrainer(PyTorchTrainer):
        def fit(self, feed, probe):
            super().fit(feed, SlowedProbe(probe, SHARE))

    return SlowedTrainer


class Front:
    name, trainer, packages = "slowed", "slowed:SlowedTrainer", ("slowed", "fwcompare_pytorch")

    def __getattr__(self, name):
        return getattr(front("pytorch"), name)


FRONT = Front()
"""

TEXT = """\
# Measured verdicts

What the [method](method.md) says of real sweeps. Written by `python benchmarks/measured.py`; do not
edit.

{machine}

## The same engine twice

Each engine against itself, interleaved:

    fwcompare -m framework=ENGINE {common} \\
      'seed=range({seeds})' compare.control=true

The interval should hold 1, and in one row of twenty it will not. The noise floor is the end of the
interval that is farther from 1.

{controls}

## A slow-down that was put in

PyTorch, and PyTorch with a wait of {slow_down:.0%} behind every step, {seeds} seeds: the true ratio
is {truth:.3f}.

{slowed}

## The quickstart

`fwcompare experiment=quickstart`

{quickstart}

## What watching costs

{costs}

The first is from the quickstart, the second from `benchmarks/display.py`. The thousand runs are
those of the quickstart under other names and seeds, with all their blocks; a time is that of the
whole command, the median of three.
"""


def command(folder: Path, *arguments: str, **environment: str) -> str:
    """The standard output of a command in ``folder``."""
    ended = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise SystemExit(f"{ended.stderr}\nfwcompare {' '.join(arguments)}: {ended.returncode}.")
    return ended.stdout


def control_rows(folder: Path) -> Iterator[list[str]]:
    """What an A/A sweep of each engine shows."""
    for engine in ENGINES:
        name = f"again-{engine}"
        seeds = f"seed=range({SEEDS})"
        command(
            folder, "-m", f"framework={engine}", *COMMON, seeds, "compare.control=true",
            f"sweep.name={name}",
        )  # fmt: skip
        (row,) = [row for row in rows(folder, name) if row["control"]]
        estimate = row["speed"]["estimate"]
        low, high = estimate["low"], estimate["high"]
        floor = math.exp(max(abs(math.log(low)), abs(math.log(high))))
        holds = "yes" if low <= 1 <= high else "no"
        yield [engine, f"{estimate['value']:.3f} [{low:.3f}, {high:.3f}]", holds, f"{floor:.3f}"]
        print(engine, f"{estimate['value']:.3f} [{low:.3f}, {high:.3f}]", flush=True)


def rows(folder: Path, sweep: str) -> list[dict[str, Any]]:
    """The rows of a sweep's only comparison."""
    found = json.loads(command(folder, "report", sweep, "--format", "json"))
    (comparison,) = found["comparisons"]
    return list(comparison["rows"])


def slowed(folder: Path) -> str:
    """The comparison of PyTorch with its slowed twin, in Markdown."""
    site = folder / "site"
    write_plugin(site, "slowed", SLOWED.replace("SHARE", str(SLOW_DOWN)))
    command(
        folder, "-m", "framework=pytorch,slowed", *COMMON, f"seed=range({SEEDS})",
        "compare.baseline=pytorch", "sweep.name=slowed", PYTHONPATH=str(site),
    )  # fmt: skip
    return command(folder, "report", "slowed", "--format", "markdown", PYTHONPATH=str(site))


def thousand(folder: Path) -> int:
    """A sweep of a thousand runs, made of the quickstart's; returns how many."""
    sweeps = folder / "outputs" / "sweeps"
    listing = json.loads((sweeps / "quickstart" / "sweep.json").read_text(encoding="utf-8"))
    seeds = 1 + max(cell["seed"] for cell in listing["cells"])
    cells = []
    for workload in range(WORKLOADS):
        for copy in range(COPIES):
            for cell in listing["cells"]:
                name, seed = f"run-{len(cells)}", cell["seed"] + copy * seeds
                origin, made = sweeps / "quickstart" / cell["run"], sweeps / "thousand" / name
                made.mkdir(parents=True)
                spec, record = (
                    json.loads((origin / file).read_text(encoding="utf-8"))
                    for file in ("spec.json", "record.json")
                )
                spec |= {"run": name, "seed": seed}
                spec["model"] |= {"name": f"cnn-{workload}", "digest": f"{workload:064x}"}
                record["run"] = name
                (made / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
                (made / "record.json").write_text(json.dumps(record), encoding="utf-8")
                cells.append({**cell, "run": name, "seed": seed})
    whole = json.dumps({**listing, "name": "thousand", "cells": cells})
    (sweeps / "thousand" / "sweep.json").write_text(whole, encoding="utf-8")
    return len(cells)


def cost_rows(folder: Path) -> Iterator[list[str]]:
    """What events, display and reports cost, by the folder of the quickstart."""
    spent = [row["metrics"] for row in rows(folder, "quickstart")]
    logging = max(m["time/logging_s"]["median"] / m["time/train_s"]["median"] for m in spent)
    events = "writing the event file, of an engine's time of training, at most"
    yield [events, f"{logging:.2%}", "0.5%"]
    shown = f"step time of a run that is shown live over one that is not, {DISPLAY_PAIRS} pairs"
    yield [shown, str(display.ratio(folder, DISPLAY_PAIRS)), "1"]
    runs = thousand(folder)
    comparing = seconds(folder, "report", "thousand", "--format", "json")
    yield [f"comparing {runs:,} runs, from folders to JSON", f"{comparing:.1f} s", "5 s"]
    writing = seconds(folder, "report", "thousand", "--format", "html")
    size = (folder / "outputs/sweeps/thousand/report.html").stat().st_size / 1e6
    of = f"the page of {runs:,} runs in {WORKLOADS} workloads"
    yield [of, f"{writing:.1f} s, {size:.1f} MB", "10 s, 10 MB"]


def seconds(folder: Path, *arguments: str) -> float:
    """The time of a whole command, the median of three calls."""
    times = []
    for _ in range(3):
        began = time.perf_counter()
        command(folder, *arguments)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Run the sweeps and write the page."""
    with tempfile.TemporaryDirectory(prefix="fwcompare-measured-") as scratch:
        folder = Path(scratch)
        found = {
            "controls": table(
                ["engine", "A/A ratio", "holds 1", "noise floor"], control_rows(folder)
            ),
            "slowed": slowed(folder),
        }
        command(folder, "experiment=quickstart", "sweep.name=quickstart", "tracking=none")
        found["quickstart"] = command(folder, "report", "quickstart", "--format", "markdown")
        found["costs"] = table(["what", "measured", "promised"], cost_rows(folder))
    page = TEXT.format(
        machine=machine_line(machine()),
        seeds=SEEDS,
        common=" ".join(COMMON),
        slow_down=SLOW_DOWN,
        truth=1 / (1 + SLOW_DOWN),
        **{name: text.strip() for name, text in found.items()},
    )
    PAGE.write_text(page, encoding="utf-8")
    print(f"Written: {PAGE}")


if __name__ == "__main__":
    main()

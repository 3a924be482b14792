"""``docs/measured.md``: real sweeps that show what verdicts are worth on this machine.

An A/A sweep of every engine, which must show no difference; a slow-down that was put in on purpose,
which must be found; and the quickstart with its verdicts. Takes about ten minutes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import machine
from overhead import ENGINES
from page import machine_line, table

from fwcompare.testing import write_plugin

PAGE = Path("docs/measured.md")
COMMAND = Path(sys.executable).with_name("fwcompare")

#: Share by which every step of the slowed engine takes longer.
SLOW_DOWN = 0.10
SEEDS = 8

COMMON = (
    "model=mlp",
    "dataset=digits",
    "trainer.epochs=10",
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

Writing the event file took at most {logging:.2%} of the time of training, in any engine.
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
        spent = [row["metrics"] for row in rows(folder, "quickstart")]
        logging = max(m["time/logging_s"]["median"] / m["time/train_s"]["median"] for m in spent)
    page = TEXT.format(
        machine=machine_line(machine()),
        seeds=SEEDS,
        common=" ".join(COMMON),
        slow_down=SLOW_DOWN,
        logging=logging,
        truth=1 / (1 + SLOW_DOWN),
        **{name: text.strip() for name, text in found.items()},
    )
    PAGE.write_text(page, encoding="utf-8")
    print(f"Written: {PAGE}")


if __name__ == "__main__":
    main()

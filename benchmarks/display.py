"""What the live display costs the run that it shows: the same runs in a terminal and in a pipe.

    .venv/bin/python benchmarks/display.py

In a terminal the parent draws progress while the child trains; in a pipe it says nothing until the
run ends. The runs take turns, and the ratio of their step times is paired.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ratios import Ratio, paired

from fwcompare.record import RunRecord

COMMAND = Path(sys.executable).with_name("fwcompare")
OPTIONS = (
    "framework=jax",
    "model=cnn",
    "dataset=digits",
    "trainer.epochs=10",
    "device.threads=1",
    "tracking=none",
)


def step_ms(folder: Path, terminal: bool) -> float:
    """Median step time of one run, its display drawn on a terminal of its own or not at all."""
    known = set(folder.glob("outputs/runs/*"))
    if terminal:
        ours, theirs = pty.openpty()
        reader = threading.Thread(target=_drain, args=(ours,), daemon=True)
        reader.start()
        _run(folder, theirs)
        os.close(theirs)
        reader.join(timeout=5)
    else:
        _run(folder, subprocess.DEVNULL)
    (made,) = set(folder.glob("outputs/runs/*")) - known
    record = RunRecord.read(made)
    if record is None or not record.ok:
        raise SystemExit(f"{made}: the run failed.")
    return record.metrics["perf/step_ms_median"]


def _run(folder: Path, error: int) -> None:
    environment = {**os.environ, "TERM": "xterm-256color"}
    subprocess.run(
        [COMMAND, *OPTIONS],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=error,
        check=True,
    )


def _drain(terminal: int) -> None:
    """Take what is drawn, as a terminal does, until the other side is closed."""
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass


def ratio(folder: Path, pairs: int) -> Ratio:
    """The step time of runs that are shown live over that of runs that are not, in turns."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(pairs):
        for terminal in (True, False) if number % 2 else (False, True):
            times[terminal].append(step_ms(folder, terminal))
    return paired(times[True], times[False])


def main() -> None:
    """Run in turns and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory(prefix="fwcompare-display-") as folder:
        print(f"step time, shown live over not shown: {ratio(Path(folder), pairs)}")


if __name__ == "__main__":
    main()

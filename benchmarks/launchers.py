"""What launchers bring, and what the sweeper itself costs a cell.

    python benchmarks/launchers.py            all of it, 10 minutes on a quiet machine of 2 cores
    python benchmarks/launchers.py --part beside|cell|queue

The first part runs a real engine, untimed, one run at a time and two; the others a stub engine that
trains two steps in NumPy, so that what is left is fwcompare.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from stub_plugin import SHORT, install  # noqa: E402

FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")

#: Sixteen runs of a few seconds.
REAL = (
    *("framework=pytorch", "model=mlp", "trainer.epochs=20"),
    *("device.threads=1", "compare.measure=accuracy", "parity.in_sweep=false", "tracking=none"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("beside", "cell", "queue"))
    given = parser.parse_args()
    parts = {"beside": beside, "cell": cell, "queue": queue}
    for name, measure in parts.items():
        if given.part in (None, name):
            with tempfile.TemporaryDirectory(prefix="fwcompare-launchers-") as folder:
                measure(Path(folder))
    return 0


def begin(folder: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a sweep of this name."""
    environment = {**os.environ, "PYTHONPATH": str(install(folder / "site"))}
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [FWCOMPARE, "-m", f"sweep.name={name}", *options],
            cwd=folder, env=environment, stdout=log, stderr=log,
        )  # fmt: skip


def records(folder: Path, name: str) -> list[dict]:
    places = folder.glob(f"outputs/sweeps/{name}/*/record.json")
    return sorted((json.loads(p.read_text()) for p in places), key=lambda r: r["started_ms"])


def beside(folder: Path, seeds: int = 16) -> None:
    """Two runs at a time against one. The span of the runs leaves out what starts an engine."""
    one = None
    for name, options in (
        ("warm-up", ("seed=0",)),
        ("one at a time", ()),
        ("joblib, two", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")),
        ("Ray, two", ("hydra/launcher=ray", "hydra.launcher.num_cpus=2")),
    ):
        key = name.replace(" ", "-").replace(",", "")
        began = time.monotonic()
        given = [*REAL, *([] if name == "warm-up" else [f"seed=range({seeds})"])]
        code = begin(folder, key, *given, *options).wait()
        whole = time.monotonic() - began
        assert code == 0, (folder / f"{key}.log").read_text()[-3000:]
        found = records(folder, key)
        span = (max(r["ended_ms"] for r in found) - found[0]["started_ms"]) / 1e3
        if name == "warm-up":
            continue
        one = one or (whole, span)
        print(
            f"{name}: {len(found)} runs in {whole:.1f} s ({one[0] / whole:.2f}x), "
            f"of which runs {span:.1f} s ({one[1] / span:.2f}x)", flush=True,
        )  # fmt: skip


def cell(folder: Path, cells: int = 60) -> None:
    """All that is not a run, by cell."""
    for launcher in ("basic", "joblib"):
        own = [f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=1"]
        began = time.time()
        process = begin(
            folder, launcher, *SHORT, f"seed=range({cells})", "tracking=none",
            "dataset.params.split_seed=0", *own[: 1 if launcher == "basic" else 2],
        )  # fmt: skip
        assert process.wait() == 0, (folder / f"{launcher}.log").read_text()[-3000:]
        ended, found = time.time(), records(folder, launcher)
        first = found[0]["started_ms"] / 1e3 - began
        inside = sum(r["ended_ms"] - r["started_ms"] for r in found) / 1e3
        after = ended - found[-1]["ended_ms"] / 1e3
        between = ended - began - first - inside - after
        print(
            f"{launcher}, {cells} cells: {1e3 * first / cells:.0f} ms a cell before the first run, "
            f"{1e3 * between / cells:.0f} between two (a process is started there), "
            f"{1e3 * after / cells:.0f} at the end", flush=True,
        )  # fmt: skip


def queue(folder: Path, counts: Sequence[int] = (250, 1000)) -> None:
    """How long it takes until the first of many cells begins."""
    for cells in counts:
        name = f"queue{cells}"
        began = time.time()
        process = begin(
            folder, name, *SHORT, f"seed=range({cells})", "tracking=none",
            "dataset.params.split_seed=0", "hydra/launcher=joblib", "compare.measure=accuracy",
            "hydra.launcher.n_jobs=2",
        )  # fmt: skip
        while not (found := records(folder, name)):
            assert process.poll() is None, (folder / f"{name}.log").read_text()[-3000:]
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.wait()
        first = found[0]["started_ms"] / 1e3 - began
        print(f"{cells} cells: the first begins after {first:.1f} s, {1e3 * first / cells:.0f} ms "
              "a cell", flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())

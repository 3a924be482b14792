"""A sweep of many short runs: memory of the parent, cost a cell, and how quickly all answers after.

    python benchmarks/load.py                 1,000 runs of a stub engine, tracked
    python benchmarks/load.py --runs 50 --engine pytorch

The stub engine trains two steps in NumPy: what is measured is fwcompare and not a framework.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from stub_plugin import SHORT, install  # noqa: E402

FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")
MIB = 2**20


def main() -> int:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # into a file, too
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--engine", default="stub")
    parser.add_argument("--tracking", default="sqlite")
    parser.add_argument("--folder", type=Path, help="where to work (a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fwcompare-load-") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        site = install(Path(temporary) / "site")
        environment = {**os.environ, "PYTHONPATH": str(site)}
        sweep(given, folder, environment)
        answers(folder, environment)
    return 0


def sweep(given: argparse.Namespace, folder: Path, environment: dict[str, str]) -> None:
    """Run the sweep while its parent's memory is watched."""
    options = [*SHORT, f"framework={given.engine}", f"seed=range({given.runs})", "sweep.name=load",
               "dataset.params.split_seed=0", f"tracking={given.tracking}"]  # fmt: skip
    began, wall = time.monotonic(), time.time()
    with (folder / "load.log").open("w") as log:
        process = subprocess.Popen(
            [FWCOMPARE, "-m", *options], cwd=folder, env=environment, stdout=log, stderr=log
        )
        watched = psutil.Process(process.pid)
        runs = folder / "outputs/sweeps/load"
        memory: list[tuple[int, float]] = []
        while process.poll() is None:
            with suppress(psutil.Error):
                ended = sum(1 for _ in runs.glob("*/record.json"))
                memory.append((ended, watched.memory_info().rss / MIB))
            time.sleep(2)
    took = time.monotonic() - began
    assert process.returncode == 0, (folder / "load.log").read_text()[-3000:]
    records = sorted(
        (json.loads(path.read_text()) for path in runs.glob("*/record.json")),
        key=lambda record: record["started_ms"],
    )
    print(f"{len(records)} runs of {given.engine}, tracking={given.tracking}: {took:.0f} s")
    print(f"until the first run began: {records[0]['started_ms'] / 1e3 - wall:.1f} s")
    starts = [record["started_ms"] / 1e3 for record in records]
    cells = [after - before for before, after in itertools.pairwise(starts)]
    inside = [(record["ended_ms"] - record["started_ms"]) / 1e3 for record in records]
    tenth = max(len(cells) // 10, 1)
    for name, part in (("first", slice(0, tenth)), ("last", slice(-tenth, None))):
        cell, run = statistics.median(cells[part]), statistics.median(inside[part])
        print(f"a cell, {name} tenth: {cell:.2f} s, of which the worker {run:.2f} s")
    reached = [(ended, mib) for ended, mib in memory if ended]
    for share in (0.1, 0.5, 0.9):
        near = min(reached, key=lambda pair: abs(pair[0] - share * given.runs))
        print(f"memory of the parent after {near[0]} runs: {near[1]:.0f} MiB")
    print(f"at most, with the report at the end: {max(mib for _, mib in memory):.0f} MiB")
    end = time.time() - max(record["ended_ms"] for record in records) / 1e3
    print(f"from the last run to the end: {end:.1f} s")


def answers(folder: Path, environment: dict[str, str]) -> None:
    """How long what a person asks for afterwards takes."""
    for arguments in (["report", "load"], ["report", "load", "--format", "html"], ["runs"],
                      ["sync"]):  # fmt: skip
        began = time.monotonic()
        subprocess.run(
            [FWCOMPARE, *arguments], cwd=folder, env=environment, check=True, capture_output=True
        )
        print(f"fwcompare {' '.join(arguments)}: {time.monotonic() - began:.1f} s")
    page = folder / "outputs/sweeps/load/report.html"
    print(f"report.html: {page.stat().st_size / MIB:.1f} MiB")
    store = folder / "outputs/mlflow.db"
    if store.exists():
        print(f"mlflow.db: {store.stat().st_size / MIB:.1f} MiB")
        ask(folder, environment)


def ask(folder: Path, environment: dict[str, str]) -> None:
    """The runs table, as MLflow's page asks for it."""
    server = subprocess.Popen(
        [FWCOMPARE, "ui", "--port", "5731"], cwd=folder, env=environment,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        began = time.monotonic()
        while not answering("http://127.0.0.1:5731/health"):
            assert server.poll() is None and time.monotonic() - began < 120, "no answer"
            time.sleep(0.1)
        print(f"fwcompare ui answers after {time.monotonic() - began:.1f} s")
        body = json.dumps({"experiment_ids": ["1"], "max_results": 100}).encode()
        for name in ("first", "second"):
            request = urllib.request.Request(
                "http://127.0.0.1:5731/api/2.0/mlflow/runs/search", body,
                {"Content-Type": "application/json"},
            )  # fmt: skip
            began = time.monotonic()
            with urllib.request.urlopen(request) as answer:
                count = len(json.load(answer)["runs"])
            print(f"{name} page of {count} runs: {time.monotonic() - began:.2f} s")
    finally:
        server.terminate()
        server.wait()


def answering(address: str) -> bool:
    """Whether a server is there."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())

"""In a process of its own: build one model of an engine again and again, by hand and by a trainer.

Run as ``python benchmarks/builds.py FOLDER``; ``FOLDER/request.json`` is what ``building.py`` wrote
there, and ``FOLDER/times.json`` is what is left behind.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import loops
import numpy as np

from fwcompare.data.batches import DataFolder
from fwcompare.plugin import Trainer, load_trainer, open_job
from fwcompare.record import SPEC_FILE, write_json
from fwcompare.spec import RunSpec
from fwcompare.worker import CORES

#: In the order of a round, so that the arms of each ratio are next to each other.
ARMS = ("hand_again", "hand", "native", "aligned")

#: Rounds before the first that is timed: what a framework loads or compiles once, at its first
#: model, is not what building a model costs.
WARM_UP = 1


def from_folder(folder: Path) -> Trainer:
    """The trainer of a run folder, from reading its spec on: graph, weights and all."""
    spec = RunSpec.read(folder / SPEC_FILE)
    job, _ = open_job(spec, folder)
    return load_trainer(spec.framework.trainer)(job)


def problem(folder: Path) -> loops.Problem:
    """The same experiment for a builder written by hand."""
    spec = RunSpec.read(folder / SPEC_FILE)
    data = DataFolder.open(Path(spec.dataset.folder))
    train = data.split("train", spec.dtype)
    return loops.Problem(
        model=spec.model.name,
        params=spec.model.params,
        inputs=np.array(train.inputs),
        labels=np.array(train.targets),
        outputs=data.outputs,
        tokens=data.tokens,
        batch_size=spec.training.batch_size,
        learning_rate=spec.optimizer.lr,
    )


def wait() -> None:
    """Until what was begun is done; JAX alone goes on behind a call on a CPU."""
    if jax := sys.modules.get("jax"):
        jax.block_until_ready(jax.live_arrays())


def seconds(build: Callable[[], Any]) -> float:
    """CPU time of one build, in all threads: what it takes on a core of its own, however busy the
    machine is. Its garbage, and that of the build before, is collected outside."""
    gc.collect()
    began = process_time()
    built = build()
    wait()
    taken = process_time() - began
    del built
    return taken


def measure(request: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds of every arm in each round."""
    folders = {semantics: Path(path) for semantics, path in request["folders"].items()}
    engine, given = request["engine"], problem(folders["native"])
    builds: dict[str, Callable[[], Any]] = {
        "hand_again": lambda: loops.make(engine, given),
        "hand": lambda: loops.make(engine, given),
        "native": lambda: from_folder(folders["native"]),
        "aligned": lambda: from_folder(folders["aligned"]),
    }
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(WARM_UP + request["rounds"]):
        for arm in ARMS if number % 2 else reversed(ARMS):
            taken = seconds(builds[arm])
            if number >= WARM_UP:
                times[arm].append(taken)
    return times


def main(folder: Path) -> None:
    """Do the request in ``folder``."""
    os.sched_setaffinity(0, {int(core) for core in os.environ[CORES].split(",")})
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    write_json(folder / "times.json", measure(request))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

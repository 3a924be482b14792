"""In a process of its own: time the arms of one engine in alternation.

Run as ``python benchmarks/arms.py FOLDER``; ``FOLDER/request.json`` is what ``overhead.py`` wrote
there, and ``FOLDER/times.json`` is what is left behind.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loops
import numpy as np

from fwcompare.data.batches import DataFolder, Feed
from fwcompare.graph import load
from fwcompare.plugin import Job, load_trainer
from fwcompare.probe import Probe, clock
from fwcompare.record import INITIAL_WEIGHTS, SPEC_FILE, EventFile, write_json
from fwcompare.spec import RunSpec
from fwcompare.worker import CORES

#: In the order of a round, so that the arms of each ratio run next to each other.
ARMS = ("hand_again", "hand", "native", "aligned")

#: Fits of each arm before the first that is timed; the first of them compiles.
WARM_UP = 2


class Ours:
    """The trainer of a run folder, driven as the worker drives it."""

    def __init__(self, folder: Path) -> None:
        self.spec = spec = RunSpec.read(folder / SPEC_FILE)
        data = DataFolder.open(Path(spec.dataset.folder))
        train = data.split("train", np.dtype(spec.precision))
        weights = load(folder / INITIAL_WEIGHTS, spec.model.graph)
        self.samples = len(train)
        job = Job(spec, spec.model.graph, weights, train, self.feed(spec.training.epochs))
        self.trainer = load_trainer(spec.framework.trainer)(job)
        self.events = EventFile(folder / "events.jsonl")

    def feed(self, epochs: int) -> Feed:
        training = self.spec.training
        return Feed(self.samples, training.batch_size, epochs, self.spec.seed, training.drop_last)

    def fit(self, epochs: int) -> None:
        """Train for so many epochs, each with its events and its loss, and wait for the device."""
        feed = self.feed(epochs)
        probe = Probe(self.events, feed.batch_sizes, self.spec.measure.block_ms / 1e3)
        probe.synchronize_with(self.trainer.synchronize)
        self.trainer.fit(feed, probe)
        self.trainer.synchronize()


def problem(spec: RunSpec) -> loops.Problem:
    """The data and options of a spec, for a loop that knows no specs."""
    data = DataFolder.open(Path(spec.dataset.folder))
    train = data.split("train", np.dtype(spec.precision))
    return loops.Problem(
        model=spec.model.name,
        images=np.array(train.inputs),
        labels=np.array(train.targets),
        classes=data.outputs,
        batch_size=spec.training.batch_size,
        learning_rate=spec.optimizer.lr,
    )


def seconds(fit: Callable[[int], None], epochs: int) -> float:
    """Time of one fit, with the garbage of the arm before it collected outside."""
    gc.collect()
    began = clock()
    fit(epochs)
    return clock() - began


def measure(engine: str, cell: dict[str, Any], rounds: int, least: float) -> dict[str, Any]:
    """Times of every arm in ``rounds`` rounds of fits that last about ``least`` seconds."""
    native, aligned = Ours(Path(cell["native"])), Ours(Path(cell["aligned"]))
    task = problem(native.spec)
    arms: dict[str, Callable[[int], None]] = {
        "hand_again": loops.make(engine, task).fit,
        "hand": loops.make(engine, task).fit,
        "native": native.fit,
        "aligned": aligned.fit,
    }
    for _ in range(WARM_UP):
        for fit in arms.values():
            fit(2)
    epochs = max(math.ceil(4 * least / seconds(arms["hand"], 4)), 2)
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for round_ in range(rounds):
        for arm in ARMS if round_ % 2 else reversed(ARMS):
            times[arm].append(seconds(arms[arm], epochs))
    return {"steps": epochs * task.steps, "seconds": times, "facts": native.trainer.facts()}


def main(folder: Path) -> None:
    """Do the request in ``folder``."""
    os.sched_setaffinity(0, {int(core) for core in os.environ[CORES].split(",")})
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    cells = {
        model: measure(request["engine"], cell, request["rounds"], request["seconds"])
        for model, cell in request["cells"].items()
    }
    write_json(folder / "times.json", cells)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""In a process of its own: time the arms of one engine in alternation.

Run as ``python benchmarks/arms.py FOLDER``; ``FOLDER/request.json`` is what ``overhead.py`` wrote
there, and ``FOLDER/times.json`` is what is left behind.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loops
import numpy as np

from fwcompare.data.batches import Arrays, DataFolder, Feed
from fwcompare.graph import load
from fwcompare.plugin import Job, load_trainer
from fwcompare.probe import Probe, clock
from fwcompare.record import EVENTS_FILE, INITIAL_WEIGHTS, SPEC_FILE, EventFile, write_json
from fwcompare.spec import RunSpec
from fwcompare.worker import CORES

#: In the order of a round, so that the arms of each ratio run next to each other.
ARMS = ("hand_again", "hand", "native", "aligned")

#: Fits of each arm before the first that is timed; the first of them compiles.
WARM_UP = 2


#: Steps of an epoch, whose samples are repeated or left out. An epoch of digits has but 19; what is
#: compared here is the step, not what happens once an epoch or once a fit.
STEPS = {
    "mlp": 300,
    "cnn": 100,
    "cnn_bn": 80,
    "resnet18": 20,
    "lstm": 40,
    "gru": 40,
    "gpt_small": 20,
}


class Ours:
    """The trainer of a run folder, driven as the worker drives it."""

    def __init__(self, folder: Path, train: Arrays) -> None:
        spec = RunSpec.read(folder / SPEC_FILE)
        weights = load(folder / INITIAL_WEIGHTS, spec.model.graph)
        training = spec.training
        self.feed = Feed(
            len(train), training.batch_size, training.epochs, spec.seed, training.drop_last
        )
        job = Job(spec, spec.model.graph, weights, train, self.feed)
        self.trainer = load_trainer(spec.framework.trainer)(job)
        self.events = EventFile(folder / EVENTS_FILE)
        self.block_seconds = spec.measure.block_ms / 1e3

    def fit(self) -> None:
        """Train for the epochs of the spec, with the events of a run, and wait for the device."""
        probe = Probe(self.events, self.feed.batch_sizes, self.block_seconds)
        probe.synchronize_with(self.trainer.synchronize)
        self.trainer.fit(self.feed, probe)
        self.trainer.synchronize()


def training_data(data: DataFolder, spec: RunSpec) -> Arrays:
    """As many samples of the training split as ``STEPS`` steps need, some perhaps repeatedly."""
    train = data.split("train", spec.dtype)
    ids = np.arange(STEPS[spec.model.name] * spec.training.batch_size) % len(train)
    return Arrays(train.inputs[ids], train.targets[ids])


def seconds(fit: Callable[[], None]) -> float:
    """Time of one fit; the garbage of the arm before is collected outside."""
    gc.collect()
    began = clock()
    fit()
    return clock() - began


def measure(engine: str, cell: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Seconds of every arm in each of ``rounds`` rounds."""
    spec = RunSpec.read(Path(cell["native"]) / SPEC_FILE)
    data = DataFolder.open(Path(spec.dataset.folder))
    train = training_data(data, spec)
    problem = loops.Problem(
        model=spec.model.name,
        params=spec.model.params,
        inputs=train.inputs,
        labels=train.targets,
        outputs=data.outputs,
        tokens=data.tokens,
        batch_size=spec.training.batch_size,
        learning_rate=spec.optimizer.lr,
    )
    native = Ours(Path(cell["native"]), train)
    arms: dict[str, Callable[[], None]] = {
        "hand_again": loops.make(engine, problem).fit,
        "hand": loops.make(engine, problem).fit,
        "native": native.fit,
        "aligned": Ours(Path(cell["aligned"]), train).fit,
    }
    for _ in range(WARM_UP):
        for fit in arms.values():
            fit()
    times: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for number in range(rounds):
        for arm in ARMS if number % 2 else reversed(ARMS):
            times[arm].append(seconds(arms[arm]))
    return {"steps": problem.steps, "seconds": times, "facts": native.trainer.facts()}


def main(folder: Path) -> None:
    """Do the request in ``folder``."""
    os.sched_setaffinity(0, {int(core) for core in os.environ[CORES].split(",")})
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    cells = {
        model: measure(request["engine"], cell, request["rounds"])
        for model, cell in request["cells"].items()
    }
    write_json(folder / "times.json", cells)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

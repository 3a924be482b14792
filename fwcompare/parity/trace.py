"""In the worker: what an engine computes on the way, written down for comparison.

A trace holds, for one batch and the same initial weights, every layer's output in both modes, the
loss and every gradient; then weights, statistics and optimizer slots after 1, 2, 10 and all steps;
the loss of every step, and the evaluation loss at each of those points.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare import metrics
from fwcompare.audit.settings import Settings
from fwcompare.data.batches import Feed
from fwcompare.graph import INPUT, Weights
from fwcompare.graph import weights as canonical
from fwcompare.plugin import Job, Trainer, load_trainer, open_job
from fwcompare.probe import Probe
from fwcompare.record import EVENTS_FILE, EventFile, write_json
from fwcompare.spec import RunSpec

ARRAYS_FILE = "trace.safetensors"
FACTS_FILE = "trace.json"

#: Steps after which weights and slots are looked at, besides the last.
CHECKPOINTS = (1, 2, 10)


@dataclass(frozen=True)
class Trace:
    """One engine's trace. Arrays by kind and name, such as ``gradient:conv1/kernel``."""

    engine: str
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    def of(self, kind: str) -> dict[str, np.ndarray]:
        """The arrays of one kind by name, such as ``weights@10``."""
        prefix = f"{kind}:"
        return {k[len(prefix) :]: a for k, a in self.arrays.items() if k.startswith(prefix)}

    @property
    def steps(self) -> int:
        return len(self.arrays["losses"])

    @property
    def checkpoints(self) -> list[int]:
        """Steps after which the state was looked at."""
        return [int(step) for step in self.facts["checkpoints"]]

    def write(self, folder: Path) -> None:
        canonical.save(self.arrays, folder / ARRAYS_FILE)
        write_json(folder / FACTS_FILE, {"engine": self.engine, "facts": self.facts})

    @classmethod
    def read(cls, folder: Path) -> Trace:
        from safetensors.numpy import load_file

        data = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        return cls(data["engine"], load_file(folder / ARRAYS_FILE), data["facts"])


def checkpoints(steps: int) -> list[int]:
    """Where the state is looked at in a trace of so many steps."""
    return [step for step in CHECKPOINTS if step < steps] + [steps]


def trace(folder: Path, mutation: str | None = None) -> Trace:
    """Run the spec in ``folder`` as a proof and write its trace there.

    ``spec.training.max_steps`` says how many steps. ``mutation`` names a deliberate error that is
    switched on first, to show that the ladder finds it.
    """
    spec = RunSpec.read(folder / "spec.json")
    job, data = open_job(spec, folder)
    train, feed = job.train, job.feed
    trainer, fed = _build(job, mutation)
    settings = trainer.settings()
    arrays: dict[str, np.ndarray] = {}

    first = feed.batches(1)[0] if feed.total_steps else np.arange(min(len(train), 8))
    inputs, targets = np.ascontiguousarray(train.inputs[first]), train.targets[first]
    _add(arrays, "given", {INPUT: inputs})
    arrays["targets"] = np.ascontiguousarray(targets)
    _add(arrays, "weights@0", trainer.weights())
    _add(arrays, "eval", trainer.activations(inputs, training=False))
    _add(arrays, "train", trainer.activations(inputs, training=True))
    loss, gradients = trainer.gradients(inputs, targets)
    arrays["loss"] = np.array([loss], dtype=np.float64)
    _add(arrays, "gradient", gradients)

    held_out = data.split("val" if data.size("val") else "test", spec.dtype)

    def evaluate() -> float:
        size = spec.training.batch_size
        chunks = [held_out.inputs[i : i + size] for i in range(0, len(held_out), size)]
        outputs = np.concatenate([trainer.predict(np.ascontiguousarray(c)) for c in chunks])
        return metrics.loss(spec.task.loss, outputs, np.asarray(held_out.targets))

    points = checkpoints(feed.total_steps) if feed.total_steps else []
    evaluations, losses, before = [evaluate()], [], 0
    events = EventFile(folder / EVENTS_FILE)
    for point in points:
        part = fed.part(before, point)
        probe = Probe(events, part.batch_sizes, block_seconds=1.0, keep_step_losses=True)
        probe.synchronize_with(trainer.synchronize)
        trainer.fit(part, probe)
        losses += probe.observed.step_losses
        evaluations.append(evaluate())
        _add(arrays, f"weights@{point}", trainer.weights())
        for slot, tensors in trainer.slots().items():
            _add(arrays, f"slots@{point}", {f"{name}.{slot}": a for name, a in tensors.items()})
        before = point
    events.close()
    arrays["losses"] = np.array(losses)
    arrays["evaluations"] = np.array(evaluations)
    made = Trace(spec.framework.name, arrays, _facts(spec, job, fed, trainer, points, settings))
    made.write(folder)
    return made


def _build(job: Job, mutation: str | None) -> tuple[Trainer, Feed]:
    """The engine, with a deliberate error in it if one is named, and what it is fed."""
    build = load_trainer(job.spec.framework.trainer)
    if mutation is None:
        return build(job), job.feed
    from fwcompare.parity.mutations import find

    return find(mutation, job.spec.framework.name).build(build, job)


def _add(arrays: dict[str, np.ndarray], kind: str, found: Mapping[str, Any] | Weights) -> None:
    for name, array in found.items():
        arrays[f"{kind}:{name}"] = np.ascontiguousarray(array, dtype=np.float64)


def _facts(
    spec: RunSpec, job: Job, fed: Feed, trainer: Trainer, points: list[int], settings: Settings
) -> dict[str, Any]:
    """What must be equal besides the arrays: shapes, settings, batches.

    ``settings`` are those of the built objects before training, ``optimizer`` what was asked for.
    """
    return {
        "checkpoints": points,
        "shapes": {name: list(array.shape) for name, array in trainer.weights().items()},
        "optimizer": asdict(spec.optimizer),
        "learning_rates": [float(rate) for rate in job.learning_rates],
        "batches": fed.digests(),
        "settings": settings,
        "resolved": trainer.facts(),
        # Own code tells of the layers that its map names, and of no other.
        "own_code": spec.framework.code is not None,
        "precision": spec.precision,
        "execution": spec.execution,
    }

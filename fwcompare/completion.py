"""A self-test of the clock: no engine may train faster than the machine can calculate.

JAX on any device, and every framework on a GPU, returns from a step before its work is done; a
trainer whose ``synchronize`` does not wait would look many times too fast. So each engine trains a
workload whose work is known, one that keeps the cores busy with large matrix products, and by the
probe's clock it must stay below the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fwcompare import launch
from fwcompare.conformance import trial
from fwcompare.record import RunRecord
from fwcompare.roofline import Peak, achieved, possible, remark
from fwcompare.spec import RunSpec

#: Two layers of 2048 x 2048 at a batch of 512 make 21 GFLOP a step: a tenth of a second or more on
#: a core, which neither dispatch nor the clock's resolution can hide.
_UNITS, _BATCH, _STEPS = 2048, 512, 6

_LAYERS = (
    {"name": "hidden1", "kind": "dense", "units": _UNITS},
    {"name": "act1", "kind": "activation", "function": "relu"},
    {"name": "hidden2", "kind": "dense", "units": _UNITS},
    {"name": "act2", "kind": "activation", "function": "relu"},
    {"name": "logits", "kind": "dense", "units": 10},
)


@dataclass(frozen=True)
class Completion:
    """Whether an engine's work was done when its times were read."""

    engine: str
    #: ``ok``, ``failed``, or ``not run`` where the workload left no time.
    state: str
    reason: str = ""
    #: FLOPs a second of the fastest block of steps, and as a share of the measured peak.
    flops_per_s: float | None = None
    share: float | None = None


def workload(root: Path, engine: str, threads: int) -> tuple[RunSpec, Path]:
    """The known workload in one engine: its spec and its prepared run folder under ``root``."""
    data = trial.small_data(root / "data", (_UNITS,), 10, samples=_BATCH * _STEPS)
    return trial.make_run(
        root,
        engine,
        _LAYERS,
        data,
        optimizer=trial.optimizer("sgd", lr=1e-4),
        precision="float32",
        training={"batch_size": _BATCH},
        step_losses=False,
        threads=threads,
    )


def judge(record: RunRecord, spec: RunSpec, peak: Peak) -> Completion:
    """Compare what a run of the workload claims with what the machine can do.

    The fastest block counts: where a framework waits by itself at the end of an epoch, the blocks
    before it look too fast and the last one too slow, and their median may look right.
    """
    engine = spec.framework.name
    if not record.ok:
        return Completion(engine, "not run", f"{record.status}: {record.reason}")
    rates = [steps / max(seconds, 1e-9) for _, steps, seconds in record.blocks]
    fastest = max(rates, default=0.0) * spec.training.batch_size
    reached = achieved(record, spec, [peak], fastest) if rates else None
    if reached is None:
        return Completion(engine, "not run", "no step was timed against this peak")
    state = "ok" if possible(reached.share) else "failed"
    return Completion(engine, state, remark(reached.share), reached.flops_per_s, reached.share)


def check(engine: str, root: Path, peak: Peak) -> Completion:
    """Train the workload in a fresh process, as any timed run, and judge it."""
    spec, folder = workload(root / engine, engine, peak.threads)
    return judge(launch.run(spec, folder), spec, peak)

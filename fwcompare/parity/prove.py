"""The whole proof: every engine traced in a warm worker, and compared with the reference."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fwcompare import launch
from fwcompare.config import require_ready
from fwcompare.errors import FwcompareError, RequestError, RunError, unknown
from fwcompare.graph import load, save
from fwcompare.launch import WarmPool, prepare
from fwcompare.limits import read_json
from fwcompare.parity.diagnosis import diagnose
from fwcompare.parity.ladder import (
    NUDGE_ULPS,
    SMOKE_STEPS,
    Rung,
    Tolerances,
    climb,
    tolerances,
)
from fwcompare.parity.trace import Trace
from fwcompare.plugin import distribution, front, own_code, refusal, versions
from fwcompare.record import INITIAL_WEIGHTS, write_json
from fwcompare.spec import Distributed, Framework, RunSpec
from fwcompare.worker import TRACE

#: Raised when what a proof compares or accepts changes, so that an older one is not reused.
PROOF_VERSION = 2

#: Called with an engine's name and what is being done with it.
Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class Verdict:
    """What the ladder says of one engine."""

    engine: str
    execution: str
    #: ``proven``, ``failed``, ``unsupported`` or ``error``.
    state: str
    rungs: tuple[Rung, ...] = ()
    #: For a failed rung the first place of departure and likely causes; for others the reason.
    reason: str = ""

    @property
    def proven(self) -> bool:
        return self.state == "proven"

    @property
    def worst(self) -> Rung | None:
        """The first rung that does not hold."""
        return next((rung for rung in self.rungs if not rung.holds), None)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        return cls(**{**data, "rungs": tuple(Rung(**rung) for rung in data["rungs"])})


@dataclass(frozen=True)
class Proof:
    """The verdicts of all engines on one experiment."""

    reference: str
    precision: str
    #: Steps of training that the proof covers.
    steps: int
    #: Largest accepted relative difference of the training loss, at the last step.
    tolerance: float
    verdicts: tuple[Verdict, ...]
    #: Changes made for the proof, such as a dropout rate set to zero.
    notes: tuple[str, ...] = ()
    #: Steps that were traced; more than are covered where rounding alone grows too large.
    traced: int = 0

    @property
    def holds(self) -> bool:
        """No engine failed; one that is unsupported does not count against it."""
        return all(verdict.state in ("proven", "unsupported") for verdict in self.verdicts)

    def of(self, engine: str) -> Verdict | None:
        return next((verdict for verdict in self.verdicts if verdict.engine == engine), None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Proof:
        verdicts = tuple(Verdict.from_json(verdict) for verdict in data["verdicts"])
        return cls(**{**data, "verdicts": verdicts, "notes": tuple(data["notes"])})


def for_proof(spec: RunSpec, precision: str, steps: int) -> tuple[RunSpec, list[str]]:
    """The spec as the proof runs it: no dropout, so many steps, one thread.

    Returns the spec and what was changed in words.
    """
    notes = []
    layers = []
    for layer in spec.model.layers:
        if layer["kind"] == "dropout" and layer["rate"]:
            notes.append(f"{layer['name']}: dropout rate {layer['rate']:g} set to 0")
            layer = {**layer, "rate": 0.0}
        layers.append(layer)
    if precision == "float32" and steps > SMOKE_STEPS:
        notes.append(f"float32: a smoke test of {SMOKE_STEPS} steps; float64 proves")
        steps = SMOKE_STEPS
    if spec.distributed.active:
        notes.append(f"{spec.distributed.words} against one process")
    if spec.normalises_locally:
        notes.append("distributed.batch_norm=local: statistics are those of shares of a batch")
    most = spec.training.max_steps
    training = replace(
        spec.training, max_steps=steps if most is None else min(steps, most), timeout_s=600.0
    )
    model = replace(spec.model, layers=tuple(layers))
    measure = replace(spec.measure, step_losses=True)
    device = replace(spec.device, threads=1)
    changed = spec.but(
        model=model, precision=precision, training=training, measure=measure, device=device,
        sweep=None, run="proof",
    )  # fmt: skip
    return changed, notes


def for_engine(spec: RunSpec, engine: str, execution: str) -> RunSpec:
    """The same experiment in another engine."""
    found = front(engine)
    code = own_code(found, spec.model.native)
    framework = Framework(engine, found.trainer, tuple(found.packages), code=code)
    return spec.but(
        framework=framework,
        execution=execution,
        versions=versions(("fwcompare", distribution(engine), *found.requirements)),
    )


def prove(
    spec: RunSpec,
    engines: Sequence[str],
    reference: str = "pytorch",
    precision: str = "float64",
    steps: int = 100,
    cache: Path | None = None,
    mutations: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    pool: WarmPool | None = None,
    kept_only: bool = False,
) -> Proof:
    """Trace every engine and climb the ladder against the reference.

    ``cache`` is a folder in which proofs are kept by all that they depend on. ``mutations`` names a
    deliberate error by engine, to show that the ladder finds it.

    Raises:
        RunError: ``kept_only`` is asked for, and the proof is not in the cache.
        RequestError: the reference is not installed or cannot do this experiment.
    """
    base, notes = for_proof(spec, precision, steps)
    if mutations and base.distributed.active:
        raise RequestError(
            "Deliberate errors are switched on in one process.", "Leave out distributed=."
        )
    for engine in dict.fromkeys([reference, *engines]):
        if code := for_engine(base, engine, base.execution).framework.code:
            notes.append(f"{engine}: own code, {code.shown}")
    file = cache / f"{_key(base, engines, reference, precision)}.json" if cache else None
    if file and not mutations and (kept := _kept(file)):
        return kept
    if kept_only:
        raise RunError("stopped before the proof")
    own_pool = pool or WarmPool()
    scratch = Path(tempfile.mkdtemp(prefix="fwcompare-proof-"))
    try:
        proof = _Proving(
            base, reference, precision, scratch, own_pool, progress or (lambda *_: None)
        ).run(engines, mutations or {}, tuple(notes))
    finally:
        if pool is None:
            own_pool.close()
        shutil.rmtree(scratch, ignore_errors=True)
    # An error may be gone with the next attempt; a proof that holds or fails stays.
    settled = all(verdict.state != "error" for verdict in proof.verdicts)
    if file and not mutations and settled:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, proof.to_json(), durable=False)
    return proof


def _key(base: RunSpec, engines: Iterable[str], reference: str, precision: str) -> str:
    """All that a proof depends on: the mathematics, the device, the engines, every version."""
    what = [base.group, base.seed, base.dataset.digest, base.device.name]
    parts: list[Any] = [PROOF_VERSION, *what, reference, precision]
    for engine in sorted({*engines, reference}):
        found = for_engine(base, engine, base.execution)
        code = found.framework.code
        own = [code.digest] if code else []
        work = found.distributed
        own += [f"{work.name} {work.shares} {work.batch_norm}"] if work.active else []
        parts.append([engine, found.execution, found.versions, *own])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _kept(file: Path) -> Proof | None:
    try:
        return Proof.from_json(read_json(file))
    except (RequestError, ValueError, KeyError, TypeError):
        return None


@dataclass
class _Proving:
    """One proof in progress."""

    base: RunSpec
    reference: str
    precision: str
    scratch: Path
    pool: WarmPool
    progress: Progress

    def run(
        self, engines: Sequence[str], mutations: Mapping[str, str], notes: tuple[str, ...]
    ) -> Proof:
        # The reference is one process, whatever the others are.
        alone = self.base.but(distributed=Distributed())
        spec = for_engine(alone, self.reference, "native")
        if reason := front(self.reference).supports(spec):
            raise RequestError(
                f"The reference {self.reference} cannot do this: {reason}",
                "Choose another with parity.reference=ENGINE.",
            )
        execution = self.base.execution
        same = front(self.reference).same_execution.get(execution, execution) == spec.execution
        # In another execution, and as several processes, the reference is one more engine.
        itself = same and not mutations and not self.base.distributed.active
        others = [engine for engine in engines if engine != self.reference or not itself]
        # The reference is traced twice; the second trace tells what rounding alone does.
        # Ranks have the cores, and on other machines the order of the engines, for themselves.
        cores = 1 if self.base.distributed.active else max(len(os.sched_getaffinity(0)), 1)
        with ThreadPoolExecutor(max_workers=cores) as threads:
            base = threads.submit(self.traced, spec, "reference")
            nudged = threads.submit(self.traced, spec, "nudged", None, True)
            found = {
                engine: threads.submit(self.attempt, engine, mutations.get(engine))
                for engine in others
            }
            trace, response = base.result(), nudged.result()
            allowed = tolerances(trace, response, self.precision)
            verdicts = [
                self.judge(trace, engine, found[engine].result(), allowed) for engine in others
            ]
        if self.reference in engines and itself:
            verdicts.insert(0, self.judge(trace, self.reference, trace, allowed))
        last = allowed.steps - 1
        tolerance = float(allowed.train[last]) if last >= 0 else 0.0
        return Proof(
            self.reference,
            self.precision,
            allowed.steps,
            tolerance,
            tuple(verdicts),
            notes,
            trace.steps,
        )

    def attempt(self, engine: str, mutation: str | None) -> Trace | Verdict:
        """The trace of an engine, or a verdict that says why there is none."""
        spec = for_engine(self.base, engine, self.base.execution)
        if reason := refusal(front(engine), spec):
            return Verdict(engine, spec.execution, "unsupported", (), reason)
        try:
            return self.traced(spec, engine, mutation)
        except FwcompareError as error:
            return Verdict(engine, spec.execution, "error", (), error.message)

    def traced(
        self, spec: RunSpec, name: str, mutation: str | None = None, nudge: bool = False
    ) -> Trace:
        self.progress(name, "tracing")
        folder = self.scratch / name
        if spec.distributed.active:
            record = launch.run(spec, folder, do=[TRACE])  # a process that is warm is one
            status, reason = record.status, record.reason
        else:
            prepare(spec, folder)
            if nudge:
                _nudge(spec, folder)
            reply = self.pool.trace(spec, folder, mutation)
            status, reason = reply["status"], reply["reason"]
        if status != "ok":
            raise RunError(f"{spec.framework.name} {status}: {reason}")
        self.progress(name, "traced")
        return Trace.read(folder)

    def judge(
        self, trace: Trace, engine: str, found: Trace | Verdict, allowed: Tolerances
    ) -> Verdict:
        if isinstance(found, Verdict):
            return found
        graph = self.base.model.graph
        rungs = tuple(climb(trace, found, graph, allowed))
        if all(rung.holds for rung in rungs):
            return Verdict(engine, self.base.execution, "proven", rungs)
        reason = diagnose(trace, found, graph, allowed, self.base)
        return Verdict(engine, self.base.execution, "failed", rungs, reason)


def _nudge(spec: RunSpec, folder: Path) -> None:
    """Move every initial weight by ``NUDGE_ULPS`` units in the last place, up or down at random."""
    path = folder / INITIAL_WEIGHTS
    random = np.random.default_rng(0)
    weights = {}
    for name, array in load(path, spec.model.graph).items():
        ulps = np.where(random.random(array.shape) < 0.5, -1, 1) * NUDGE_ULPS[spec.precision]
        # A zero stays: the smallest subnormal number is no rounding error.
        moved = np.where(array == 0, array, array + ulps * np.spacing(array))
        weights[name] = moved.astype(array.dtype)
    save(weights, path)


def refuse_framework(options: Iterable[str]) -> None:
    """Raise ``RequestError`` for an option of one engine where several are asked for."""
    for option in options:
        if re.match(r"\+*framework[.=]", option):
            raise RequestError(
                f"{option} is for one run; here several engines are asked for.",
                "Name them: --engines pytorch,jax. They run in this interpreter.",
            )


def choose_engines(wanted: Sequence[str] | None, available: Iterable[str]) -> list[str]:
    """The engines to prove: those asked for, or all that are installed.

    Raises:
        RequestError: there is no such engine.
        UnsupportedError: its plugin or its framework is not installed.
    """
    known = list(available)
    if not wanted:
        return sorted(known)
    for engine in wanted:
        if engine not in known:
            require_ready(engine)
            raise unknown("framework", engine, known)
    return list(wanted)

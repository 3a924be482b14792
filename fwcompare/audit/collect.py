"""In the parent: every engine's settings for one experiment, from warm workers or kept ones."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fwcompare.arms import Run
from fwcompare.audit.lines import Line, lines
from fwcompare.audit.settings import read
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.launch import WarmPool, prepare
from fwcompare.limits import read_json
from fwcompare.parity.prove import for_engine
from fwcompare.plugin import front
from fwcompare.record import write_json
from fwcompare.spec import Distributed, RunSpec
from fwcompare.waiting import waiting

#: File in a sweep folder with what its engines resolve by themselves.
AUDITS_FILE = "audits.json"

#: Raised when what an audit reads changes, so that an older one is not reused.
AUDIT_VERSION = 1


@dataclass(frozen=True)
class Audit:
    """What engines resolved for one experiment, side by side."""

    semantics: str
    model: str
    optimizer: str
    engines: tuple[str, ...]
    lines: tuple[Line, ...]
    #: Engines that could not build the experiment, with the reason.
    refused: dict[str, str]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Audit:
        made = tuple(Line(e["subject"], e["quantity"], e["values"]) for e in data["lines"])
        return cls(**{**data, "engines": tuple(data["engines"]), "lines": made})

    @property
    def differing(self) -> list[Line]:
        return [line for line in self.lines if line.differs]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "lines": [line.to_json() for line in self.lines]}


def audit_runs(
    runs: Sequence[Run], precision: str, cache: Path, console: Console, pool: WarmPool
) -> list[Audit]:
    """Audit what a sweep's engines resolve by themselves.

    With native semantics every group is audited; with aligned ones, where defaults play no part,
    each model with each optimizer that several engines ran: in ``precision``, that of the proofs,
    so that the same warm workers of ``pool`` do both. Audits are kept in ``cache``.
    """
    found = []
    for members in _audited(runs).values():
        engines = list(dict.fromkeys(member.framework.name for member in members))
        if len(engines) < 2 and members[0].aligned:
            continue  # nothing to lay side by side
        first = members[0]
        if first.aligned:
            device = replace(first.device, threads=1)
            first = first.but(semantics="native", precision=precision, device=device)
        file = cache / f"audit-{_key(first, engines)}.json"
        audit = _kept(file)
        if audit is None:
            with waiting(console, f"Reading the defaults of {len(engines)} engines ..."):
                audit = collect(first, engines, pool=pool)
            # A refusal stays; an error may be gone with the next attempt.
            if all(front(e).supports(for_engine(first, e, "native")) for e in audit.refused):
                cache.mkdir(parents=True, exist_ok=True)
                write_json(file, audit.to_json())
        found.append(audit)
    return found


def _audited(runs: Sequence[Run]) -> dict[tuple[str, ...], list[RunSpec]]:
    """The specs of a sweep by what they share an audit for."""
    good = [r.spec for r in runs if r.spec and r.spec.framework.python is None and r.record.ok]
    native = {spec.group for spec in good if not spec.aligned}
    groups: dict[tuple[str, ...], list[RunSpec]] = {}
    for spec in good:
        if not spec.aligned:
            groups.setdefault((spec.group,), []).append(spec)
        elif spec.but(semantics="native").group not in native:
            groups.setdefault((spec.model.digest, spec.optimizer.name), []).append(spec)
    return groups


def _key(spec: RunSpec, engines: Sequence[str]) -> str:
    """All that an audit depends on: the mathematics, the engines in their order, every version."""
    parts: list[Any] = [AUDIT_VERSION, spec.group, spec.execution, spec.precision]
    parts += [[e, for_engine(spec, e, spec.execution).versions] for e in engines]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _kept(file: Path) -> Audit | None:
    try:
        return Audit.from_json(read_json(file))
    except (RequestError, ValueError, KeyError, TypeError):
        return None


def kept_audits(folder: Path) -> list[Audit]:
    """The audits that a sweep folder keeps; none where it has none that can be read."""
    try:
        entries = read_json(folder / AUDITS_FILE)
        return [Audit.from_json(entry) for entry in entries]
    except (RequestError, ValueError, KeyError, TypeError):
        return []


def collect(
    spec: RunSpec,
    engines: Sequence[str],
    progress: Callable[[str], None] = lambda engine: None,
    pool: WarmPool | None = None,
) -> Audit:
    """Build the experiment in every engine and read what each resolved; nothing is trained."""
    if pool is None:
        with WarmPool() as pool:
            return collect(spec, engines, progress, pool)
    settings, refused = {}, {}
    with tempfile.TemporaryDirectory(prefix="fwcompare-audit-") as scratch:

        def one(engine: str) -> str:
            # Who shares a batch changes none of the settings, and a warm worker is one process.
            alone = spec.but(run=engine, sweep=None, distributed=Distributed())
            own = for_engine(alone, engine, "native")
            if reason := front(engine).supports(own):
                return reason
            folder = Path(scratch) / engine
            prepare(own, folder)
            try:
                reply = pool.audit(own, folder)
            except FwcompareError as error:  # its worker is gone
                return error.message
            progress(engine)
            return "" if reply["status"] == "ok" else reply["reason"]

        with ThreadPoolExecutor(max_workers=max(len(os.sched_getaffinity(0)), 1)) as threads:
            for engine, reason in zip(engines, threads.map(one, engines), strict=True):
                if reason:
                    refused[engine] = reason
                else:
                    settings[engine] = read(Path(scratch) / engine)
    return Audit(
        spec.semantics,
        spec.model.name,
        spec.optimizer.name,
        tuple(settings),
        tuple(lines(settings, spec.model.graph)) if settings else (),
        refused,
    )

"""In the parent: every engine's settings for one experiment, from warm workers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fwcompare.arms import Run
from fwcompare.audit.lines import Line, lines
from fwcompare.audit.settings import read
from fwcompare.launch import WarmPool, prepare
from fwcompare.parity.prove import for_engine
from fwcompare.plugin import front
from fwcompare.spec import RunSpec
from fwcompare.waiting import waiting

#: File in a sweep folder with what its engines resolved under native semantics.
AUDITS_FILE = "audits.json"


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


def audit_runs(runs: Sequence[Run], console: Console) -> list[Audit]:
    """Audit every group of a sweep that ran with native semantics, in the engines that ran it."""
    groups: dict[str, list[RunSpec]] = {}
    for run in runs:
        spec = run.spec
        if spec and not spec.aligned and spec.framework.python is None and run.record.ok:
            groups.setdefault(spec.group, []).append(spec)
    found = []
    for members in groups.values():
        engines = list(dict.fromkeys(member.framework.name for member in members))
        with waiting(console, f"Reading the defaults of {len(engines)} engines ..."):
            found.append(collect(members[0], engines))
    return found


def kept_audits(folder: Path) -> list[Audit]:
    """The audits that a sweep folder keeps; none where it has none that can be read."""
    try:
        entries = json.loads((folder / AUDITS_FILE).read_text(encoding="utf-8"))
        return [Audit.from_json(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
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
            own = for_engine(spec, engine, "native").but(run=engine, sweep=None)
            if reason := front(engine).supports(own):
                return reason
            folder = Path(scratch) / engine
            prepare(own, folder)
            reply = pool.audit(own, folder)
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

"""What a sweep's proofs say of its runs: proven, not comparable, or unproven."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from fwcompare.arms import Run
from fwcompare.compare import Standing, Standings
from fwcompare.config import Parity
from fwcompare.errors import FwcompareError
from fwcompare.parity.prove import Verdict, prove
from fwcompare.plugin import installed
from fwcompare.spec import RunSpec

#: File in a sweep folder with the standings of its arms.
PROOFS_FILE = "proofs.json"


@dataclass(frozen=True)
class ArmProof:
    """The standing of one engine and execution within a group."""

    group: str
    engine: str
    execution: str
    standing: Standing

    @property
    def key(self) -> tuple[str, str, str]:
        return self.group, self.engine, self.execution

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def kept_standings(folder: Path) -> Standings:
    """The standings that a sweep folder keeps; none where it has none that can be read."""
    try:
        entries = json.loads((folder / PROOFS_FILE).read_text(encoding="utf-8"))
        return {
            (entry["group"], entry["engine"], entry["execution"]): Standing(**entry["standing"])
            for entry in entries
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def prove_runs(
    runs: Sequence[Run], options: Parity, cache: Path, console: Console
) -> list[ArmProof]:
    """Prove every group of a sweep in each of its executions, or use proofs that were kept."""
    found: list[ArmProof] = []
    for (group, execution), members in _blocks(runs).items():
        spec = members[0]
        engines = list(dict.fromkeys(member.framework.name for member in members))
        for engine, standing in _prove_block(spec, engines, options, cache, console):
            found.append(ArmProof(group, engine, execution, standing))
    return found


def _blocks(runs: Sequence[Run]) -> dict[tuple[str, str], list[RunSpec]]:
    blocks: dict[tuple[str, str], list[RunSpec]] = {}
    for run in runs:
        if run.spec is not None and run.spec.framework.python is None and run.record.ok:
            blocks.setdefault((run.spec.group, run.spec.execution), []).append(run.spec)
    return blocks


def _prove_block(
    spec: RunSpec, engines: list[str], options: Parity, cache: Path, console: Console
) -> Iterator[tuple[str, Standing]]:
    reason = _no_proof(spec, engines, options)
    if not reason:
        reference = options.reference if options.reference in installed() else engines[0]
        try:
            with console.status(f"Proving that {len(engines)} engines do the same ..."):
                proof = prove(spec, engines, reference, options.precision, options.steps, cache)
        except FwcompareError as error:
            reason = error.message
        else:
            for engine in engines:
                yield engine, _standing(proof.of(engine))
            return
    for engine in engines:
        yield engine, Standing("unproven", reason)


def _no_proof(spec: RunSpec, engines: list[str], options: Parity) -> str:
    """Why no proof is attempted; empty if one is."""
    if not options.in_sweep:
        return "parity.in_sweep=false"
    if not spec.aligned:
        return "native semantics: each framework has its own defaults"
    if len(engines) == 1 and engines[0] == options.reference:
        return "one engine alone"
    return ""


def _standing(verdict: Verdict | None) -> Standing:
    if verdict is None:
        return Standing("unproven")
    if verdict.proven:
        return Standing("proven")
    if verdict.state == "failed":
        return Standing("not comparable", verdict.reason)
    return Standing("unproven", verdict.reason)

"""What a sweep's proofs say of its runs: proven, not comparable, or unproven."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fwcompare.arms import Run
from fwcompare.compare import Standing, Standings
from fwcompare.config import Parity
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.launch import WarmPool
from fwcompare.limits import read_json
from fwcompare.parity.ladder import Rung
from fwcompare.parity.prove import Verdict, prove
from fwcompare.plugin import installed
from fwcompare.spec import RunSpec
from fwcompare.waiting import waiting

#: File in a sweep folder with the standings of its arms.
PROOFS_FILE = "proofs.json"


@dataclass(frozen=True)
class ArmProof:
    """The standing of one engine and execution on one kind of device, within a group."""

    group: str
    engine: str
    execution: str
    standing: Standing
    #: What was compared, with the largest differences; empty where nothing was.
    rungs: tuple[Rung, ...] = ()
    #: The engine that it was compared with, the type of number, and the steps that are covered.
    reference: str = ""
    precision: str = ""
    steps: int = 0
    device: str = "cpu"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ArmProof:
        """Rebuild a proof. Raises ``KeyError`` or ``TypeError`` if the data are none."""
        rungs = tuple(Rung(**rung) for rung in data.get("rungs", ()))
        return cls(**{**data, "standing": Standing(**data["standing"]), "rungs": rungs})

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.group, self.engine, self.execution, self.device

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def kept_proofs(folder: Path) -> list[ArmProof]:
    """The proofs that a sweep folder keeps; none where it has none that can be read."""
    try:
        entries = read_json(folder / PROOFS_FILE)
        return [ArmProof.from_json(entry) for entry in entries]
    except (RequestError, ValueError, KeyError, TypeError):
        return []


def kept_standings(folder: Path) -> Standings:
    """The standings in the proofs that a sweep folder keeps."""
    return {proof.key: proof.standing for proof in kept_proofs(folder)}


def prove_runs(
    runs: Sequence[Run],
    options: Parity,
    cache: Path,
    console: Console,
    pool: WarmPool,
    fresh: bool = True,
) -> list[ArmProof]:
    """Prove every group of a sweep in each of its executions and on each kind of device, or use
    proofs that were kept. ``fresh`` allows proofs that are not there yet."""
    found: list[ArmProof] = []
    for (group, execution, device), members in _blocks(runs).items():
        spec = members[0]
        engines = list(dict.fromkeys(member.framework.name for member in members))
        codes = {(m.framework.name, m.framework.code and m.framework.code.digest) for m in members}
        unproven = [
            ArmProof(group, engine, execution, Standing("unproven"), device=device)
            for engine in engines
        ]
        if len(codes) > len(engines):
            reason = "one engine has several codes here; prove each: fwcompare parity"
            found += [replace(arm, standing=Standing("unproven", reason)) for arm in unproven]
        else:
            found += _prove_block(spec, unproven, options, cache, console, pool, fresh)
    return found


def _blocks(runs: Sequence[Run]) -> dict[tuple[str, str, str], list[RunSpec]]:
    blocks: dict[tuple[str, str, str], list[RunSpec]] = {}
    for run in runs:
        if run.spec is not None and run.spec.framework.python is None and run.record.ok:
            spec = run.spec
            blocks.setdefault((spec.group, spec.execution, spec.place), []).append(spec)
    return blocks


def _prove_block(
    spec: RunSpec,
    unproven: list[ArmProof],
    options: Parity,
    cache: Path,
    console: Console,
    pool: WarmPool,
    fresh: bool,
) -> Iterator[ArmProof]:
    engines = [arm.engine for arm in unproven]
    reason = _no_proof(spec, engines, options)
    if not reason:
        reference = options.reference if options.reference in installed() else engines[0]
        try:
            with waiting(console, f"Proving that {len(engines)} engines do the same ..."):
                proof = prove(
                    spec,
                    engines,
                    reference,
                    options.precision,
                    options.steps,
                    cache,
                    pool=pool,
                    kept_only=not fresh,
                )
        except FwcompareError as error:
            reason = error.message
        else:
            for arm in unproven:
                verdict = proof.of(arm.engine)
                yield replace(
                    arm,
                    standing=_standing(verdict),
                    rungs=verdict.rungs if verdict else (),
                    reference=proof.reference,
                    precision=proof.precision,
                    steps=proof.steps,
                )
            return
    for arm in unproven:
        yield replace(arm, standing=Standing("unproven", reason))


def _no_proof(spec: RunSpec, engines: list[str], options: Parity) -> str:
    """Why no proof is attempted; empty if one is."""
    if not options.in_sweep:
        return "parity.in_sweep=false"
    if not spec.aligned:
        return "native semantics: each framework has its own defaults"
    # Several processes of the reference are held against one of it.
    if engines == [options.reference] and not spec.distributed.active:
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

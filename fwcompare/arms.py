"""The runs of a sweep by arm: what is compared inside a group, paired by seed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.limits import read_json
from fwcompare.record import SPEC_FILE, RunRecord
from fwcompare.record import SWEEP_FILE as SWEEP_FILE
from fwcompare.spec import EXECUTIONS, RunSpec
from fwcompare.verdict import Question

#: What stands behind the name of an arm that repeats another as an A/A control.
AGAIN = "(again)"

#: What stands behind the engine of an arm whose model is the user's own code.
OWN_CODE = "(own code)"

#: How an arm is told apart by what it does not have.
_ABSENT = {"processes": "1 process", "python": "own python", "code": ""}


@dataclass(frozen=True)
class Run:
    """A run as it is compared: what was asked and what was observed."""

    engine: str
    seed: int
    record: RunRecord
    #: None where the run was refused before there was a spec.
    spec: RunSpec | None = None
    #: What distinguishes its arm, besides the engine.
    variant: tuple[tuple[str, str], ...] = ()
    #: Whether it repeats a cell of the baseline, to show what no difference looks like.
    control: bool = False

    @property
    def started(self) -> bool:
        """Whether the engine had its chance: what was refused or cut off tells nothing of it."""
        return self.record.status not in ("unsupported", "killed", "pruned")


def read_listing(folder: Path) -> dict[str, Any]:
    """The listing of a sweep folder.

    Raises:
        RequestError: the folder is no sweep.
    """
    try:
        listing = read_json(folder / SWEEP_FILE)
        if all(isinstance(cell["run"], str) for cell in listing["cells"]):
            return dict(listing)
        reason = "a run has no name"
    except RequestError as error:
        reason = error.message
    except (KeyError, TypeError) as error:
        reason = str(error)
    raise RequestError(
        f"{folder} is no sweep folder: {SWEEP_FILE} cannot be read ({reason.rstrip('.')}).",
        "`fwcompare runs` lists what there is.",
    )


def load_runs(folder: Path) -> list[Run]:
    """The runs of a sweep folder, finished or not, in their order.

    Raises:
        RequestError: the folder is no sweep.
    """
    listing = read_listing(folder)
    asked = listing.get("compare")
    timed = not isinstance(asked, dict) or asked.get("measure", "speed") == "speed"
    found = []
    for cell in listing["cells"]:
        record = RunRecord.read(folder / cell["run"])
        if record is not None:
            shown = record if timed else untimed(record)
            found.append(load_run(folder / cell["run"], shown, cell))
    return found


def untimed(record: RunRecord) -> RunRecord:
    """A record without its times, which say nothing where runs shared cores."""

    def kept(values: Mapping[str, float]) -> dict[str, float]:
        return {n: v for n, v in values.items() if not n.startswith(("time/", "perf/"))}

    history = [kept(entry) for entry in record.history]
    return replace(record, metrics=kept(record.metrics), history=history, blocks=[], phases={})


def _together(spec: RunSpec) -> str:
    """What shares a batch; a single process by the machinery for several is told from one without
    it."""
    work = spec.distributed
    if not work.active:
        return ""
    return work.words if work.shares > 1 else f"{work.name} of 1"


def load_run(
    folder: Path,
    record: RunRecord,
    cell: dict[str, Any] | None = None,
    known: RunSpec | None = None,
) -> Run:
    """One run from its folder; ``cell`` tells what its own files do not, and ``known`` is its spec
    where the folder is lost."""
    cell = cell or {}
    control = bool(cell.get("control", False))
    try:
        spec = RunSpec.read(folder / SPEC_FILE)
    except RequestError:
        if known is None:
            engine, seed = str(cell.get("engine", "?")), int(cell.get("seed", 0))
            return Run(engine, seed, record, control=control)
        spec = known
    variant = (
        ("execution", spec.execution),
        ("precision", spec.precision),
        ("device", spec.device.name),
        ("threads", str(spec.device.threads)),
        ("processes", _together(spec)),
        ("python", spec.framework.python or ""),
        ("code", spec.framework.code.digest[:6] if spec.framework.code else ""),
    )
    return Run(spec.framework.name, spec.seed, record, spec, variant, control)


def by_group(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by the mathematics that they did; one refused without a spec is in every group."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.spec is not None:
            groups[run.spec.group].append(run)
    refused = [run for run in runs if run.spec is None]
    return {group: [*own, *refused] for group, own in (groups or {"": []}).items()}


def varying(runs: Iterable[Run]) -> set[str]:
    """What tells arms of one engine apart in these runs."""
    seen: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for key, value in run.variant:
            seen[key].add(value)
    return {key for key, values in seen.items() if len(values) > 1}


def by_arm(runs: Iterable[Run], keys: set[str]) -> dict[str, list[Run]]:
    """Runs by the label of their arm: the engine, and the values of the varying ``keys``."""
    arms: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        extra = [value or _ABSENT[key] for key, value in run.variant if key in keys]
        own = [OWN_CODE] if dict(run.variant).get("code") else []
        again = [AGAIN] if run.control else []
        label = " ".join([run.engine, *own, *filter(None, extra), *again])
        arms[label].append(run)
    return dict(arms)


def baseline(arms: Mapping[str, Sequence[Run]], wanted: str | None) -> str | None:
    """The label of the arm that others are measured against; None where none has a good run.

    ``wanted`` is an engine or a label. Of an engine's arms the one that a control repeats comes
    first, then the execution that its users have by default.
    """
    controlled = {(r.engine, r.variant) for runs in arms.values() for r in runs if r.control}
    fitting = [
        label
        for label, runs in arms.items()
        if wanted in (None, label, runs[0].engine)
        and not runs[0].control
        and any(run.record.ok for run in runs)
    ]
    if wanted is None:
        fitting = [
            label for label in fitting if arms[label][0].engine == arms[fitting[0]][0].engine
        ]

    def rank(label: str) -> tuple[bool, bool, int]:
        first = arms[label][0]
        execution = dict(first.variant).get("execution", EXECUTIONS[0])
        controls = (first.engine, first.variant) in controlled
        return label != wanted, not controls, EXECUTIONS.index(execution)

    return min(fitting, key=rank, default=None)


def by_seed(runs: Iterable[Run], question: Question) -> dict[int, float]:
    """The metric of the good runs, on the scale of the question.

    Runs of one seed are averaged. A value that is missing, no number, infinite or, for a ratio, not
    above zero has no place there and is left out; ``left_out`` says so.
    """
    values: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        value = _value(run, question)
        if value is not None:
            values[run.seed].append(value)
    return {seed: math.fsum(own) / len(own) for seed, own in values.items()}


def left_out(runs: Iterable[Run], question: Question) -> str:
    """Which good runs have no usable value of the metric; empty where all have."""
    without = [run.seed for run in runs if run.record.ok and _value(run, question) is None]
    if not without:
        return ""
    return (
        f"{question.metric} is missing or no usable number in seed "
        f"{', '.join(map(str, sorted(without)))}: left out of it"
    )


def _value(run: Run, question: Question) -> float | None:
    if not run.record.ok:
        return None
    return question.scaled(run.record.metrics.get(question.metric, math.nan))


def difference(own: Iterable[Run], base: Iterable[Run]) -> str:
    """What speaks against two arms having done the same, in words; empty if nothing does.

    Digests of one seed must agree: of the data and the initial weights in one precision, and of the
    order of the batches in any.
    """
    seen: dict[tuple[str, int, str], str] = {}
    for run in base:
        seen |= dict(_digests(run))
    for run in own:
        for (kind, seed, precision), digest in _digests(run):
            if seen.get((kind, seed, precision), digest) != digest:
                return f"other {kind.replace('_', ' ')} than the baseline in seed {seed}"
    return ""


def _digests(run: Run) -> Iterable[tuple[tuple[str, int, str], str]]:
    precision = run.spec.precision if run.spec else ""
    for kind, told in (("data", precision), ("initial_weights", precision), ("batches", "")):
        if digest := run.record.digests.get(kind):
            yield (kind, run.seed, told), json.dumps(digest)

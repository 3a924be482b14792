"""Records to a ``Comparison``: pure functions."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError, unknown
from fwcompare.record import SPEC_FILE, RunRecord
from fwcompare.spec import RunSpec

#: File in a sweep folder that lists its cells.
SWEEP_FILE = "sweep.json"

#: Metrics that are rates: the larger, the better.
THROUGHPUT = "perf/samples_per_s"


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


@dataclass(frozen=True)
class Spread:
    """Median and range over the runs of one arm."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """The spread of some values; None for none."""
        if not values:
            return None
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Standing:
    """Whether an arm was proven to be the same experiment as the reference."""

    #: ``proven``, ``not comparable`` or ``unproven``.
    state: str
    #: Why it is not proven; empty for a proven one.
    reason: str = ""


#: The standing of each (group, engine, execution).
Standings = Mapping[tuple[str, str, str], Standing]


@dataclass(frozen=True)
class Row:
    """One arm of a comparison."""

    label: str
    engine: str
    standing: Standing
    #: Ids of the runs.
    runs: tuple[str, ...]
    statuses: dict[str, int]
    #: Spread of every final metric over the good runs.
    metrics: dict[str, Spread]
    #: Throughput over the baseline's, paired by seed; None without a common seed.
    ratio: Spread | None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Arms that did the same mathematics, side by side."""

    name: str
    title: str
    #: The metric that users quote, such as ``test/accuracy``.
    metric: str
    baseline: str | None
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def load_runs(folder: Path) -> list[Run]:
    """The runs of a sweep folder, finished or not, in their order.

    Raises:
        RequestError: the folder is no sweep.
    """
    try:
        listing = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))
        cells = listing["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(
            f"{folder} is no sweep folder: {SWEEP_FILE} cannot be read ({error}).",
            "`fwcompare runs` lists what there is.",
        ) from error
    found = []
    for cell in cells:
        record = RunRecord.read(folder / cell["run"])
        if record is not None:
            found.append(load_run(folder / cell["run"], record, cell))
    return found


def load_run(folder: Path, record: RunRecord, cell: dict[str, Any] | None = None) -> Run:
    """One run from its folder; ``cell`` helps out where a run has no spec."""
    try:
        spec = RunSpec.read(folder / SPEC_FILE)
    except RequestError:
        cell = cell or {}
        return Run(str(cell.get("engine", "?")), int(cell.get("seed", 0)), record)
    variant = (
        ("execution", spec.execution),
        ("precision", spec.precision),
        ("device", spec.device.name),
        ("threads", str(spec.device.threads)),
        ("python", spec.framework.python or ""),
    )
    return Run(spec.framework.name, spec.seed, record, spec, variant)


def compare(
    runs: Sequence[Run],
    name: str = "",
    baseline: str | None = None,
    standings: Standings | None = None,
) -> tuple[Comparison, ...]:
    """One comparison for each group (the same mathematics), in order of appearance.

    ``baseline`` names an engine; None takes the first that has a good run. An arm without a
    standing counts as unproven.

    Raises:
        RequestError: there are no runs, or the baseline is not among them.
    """
    if not runs:
        raise RequestError("There are no runs to compare.")
    engines = {run.engine for run in runs}
    if baseline is not None and baseline not in engines:
        raise unknown("baseline", baseline, engines)
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.spec is not None:
            groups[run.spec.group].append(run)
    refused = [run for run in runs if run.spec is None]
    if not groups:
        groups[""] = []
    return tuple(
        _compare_group(name, [*own, *refused], baseline, standings or {}) for own in groups.values()
    )


def _compare_group(
    name: str, runs: Sequence[Run], baseline: str | None, standings: Standings
) -> Comparison:
    varying = _varying(runs)
    arms: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        arms[_label(run, varying)].append(run)
    base = _baseline(arms, baseline)
    reference = _throughput_by_seed(arms[base]) if base else {}
    rows = tuple(_row(label, own, reference, standings) for label, own in arms.items())
    spec = next((run.spec for run in runs if run.spec is not None), None)
    metric = f"test/{spec.task.metric}" if spec else "test/accuracy"
    return Comparison(name, _title(spec), metric, base, _in_order(rows), tuple(_notes(runs)))


def _varying(runs: Iterable[Run]) -> set[str]:
    seen: dict[str, set[str]] = defaultdict(set)
    for run in runs:
        for key, value in run.variant:
            seen[key].add(value)
    return {key for key, values in seen.items() if len(values) > 1}


def _label(run: Run, varying: set[str]) -> str:
    extra = [value or "own python" for key, value in run.variant if key in varying]
    return " ".join([run.engine, *extra])


def _baseline(arms: dict[str, list[Run]], wanted: str | None) -> str | None:
    for label, runs in arms.items():
        fits = wanted is None or runs[0].engine == wanted
        if fits and any(run.record.ok for run in runs):
            return label
    return None


def _throughput_by_seed(runs: Iterable[Run]) -> dict[int, float]:
    return {
        run.seed: run.record.metrics[THROUGHPUT]
        for run in runs
        if run.record.ok and THROUGHPUT in run.record.metrics
    }


def _row(label: str, runs: Sequence[Run], reference: dict[int, float], standings: Standings) -> Row:
    good = [run.record for run in runs if run.record.ok]
    values: dict[str, list[float]] = defaultdict(list)
    for record in good:
        for key, value in record.metrics.items():
            values[key].append(value)
    own = _throughput_by_seed(runs)
    ratios = [own[seed] / reference[seed] for seed in sorted(own.keys() & reference.keys())]
    spreads = {key: spread for key, v in sorted(values.items()) if (spread := Spread.of(v))}
    return Row(
        label=label,
        engine=runs[0].engine,
        standing=_standing(runs[0].spec, standings),
        runs=tuple(run.record.run for run in runs),
        statuses=dict(Counter(run.record.status for run in runs)),
        metrics=spreads,
        ratio=Spread.of(ratios),
        reasons=tuple(dict.fromkeys(r.record.reason for r in runs if r.record.reason)),
        warnings=tuple(dict.fromkeys(w for record in good for w in record.warnings)),
    )


def _standing(spec: RunSpec | None, standings: Standings) -> Standing:
    if spec is None:
        return Standing("unproven")
    if spec.framework.python is not None:
        return Standing("unproven", "an interpreter of its own")
    return standings.get((spec.group, spec.framework.name, spec.execution), Standing("unproven"))


def _in_order(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Fastest first; rows without a throughput last."""

    def key(row: Row) -> tuple[bool, float, str]:
        spread = row.metrics.get(THROUGHPUT)
        return (spread is None, -(spread.median if spread else 0.0), row.label)

    return tuple(sorted(rows, key=key))


def _title(spec: RunSpec | None) -> str:
    if spec is None:
        return "no run was started"
    training = spec.training
    epochs = f"{training.epochs} epoch{'s' if training.epochs != 1 else ''}"
    return (
        f"{spec.model.name} on {spec.dataset.name}, {spec.optimizer.name} "
        f"lr={spec.optimizer.lr:g}, batch {training.batch_size}, {epochs}, "
        f"{spec.semantics} semantics"
    )


def _notes(runs: Sequence[Run]) -> Iterable[str]:
    """What a reader must know before trusting the rows."""
    for kind, what in (("data", "data"), ("initial_weights", "initial weights")):
        by_seed: dict[tuple[int, str], set[str]] = defaultdict(set)
        for run in runs:
            if digest := run.record.digests.get(kind):
                precision = run.spec.precision if run.spec else ""
                by_seed[run.seed, precision].add(digest)
        if any(len(digests) > 1 for digests in by_seed.values()):
            yield f"Runs of one seed had different {what}: not the same experiment."
    orders: dict[int, set[str]] = defaultdict(set)
    for run in runs:
        if digests := run.record.digests.get("batches"):
            orders[run.seed].add(json.dumps(digests))
    if any(len(found) > 1 for found in orders.values()):
        yield "Runs of one seed had different batches: not the same experiment."
    seeds = {run.seed for run in runs if run.record.ok}
    if len(seeds) < 3:
        yield f"Only {len(seeds)} seed(s): a spread needs at least 3."

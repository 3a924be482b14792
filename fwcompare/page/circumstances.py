"""The circumstances of the runs as tables: the machine, versions, what engines resolved, how each
run ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fwcompare.audit.table import in_words
from fwcompare.grid import Grid, number
from fwcompare.page import words
from fwcompare.page.evidence import Evidence


def machine(evidence: Evidence) -> Grid:
    """The machine as the good runs saw it, and what it does at best."""
    good = [run.record for run in evidence.runs if run.record.ok]
    found = [
        (
            heading,
            words.listed(str(value) for record in good if (value := read(record)) is not None),
        )
        for heading, read in (
            ("processor", lambda record: record.environment.get("cpu")),
            ("system", lambda record: record.environment.get("platform")),
            ("GPU", lambda record: _gpu(record.environment.get("gpu"))),
            ("cores given", lambda record: _joined(record.environment.get("cores"))),
            ("container", lambda record: record.environment.get("container")),
            ("governor", lambda record: _condition(record, "governor")),
        )
    ]
    found += [
        (
            f"measured peak, {peak.threads} thread{'s' if peak.threads != 1 else ''}",
            ", ".join(
                [
                    *(
                        f"{number(flops / 1e9)} GFLOP/s in {kind}"
                        for kind, flops in peak.flops_per_s.items()
                    ),
                    f"copying {number(peak.copy_bytes_per_s / 1e9)} GB/s",
                ]
            ),
        )
        for peak in evidence.peaks
    ]
    return Grid("Machine", ("what", "value"), tuple(pair for pair in found if pair[1]))


def _joined(values: Sequence[int] | None) -> str | None:
    return ", ".join(map(str, values)) if values else None


def _gpu(found: Mapping[str, Any] | None) -> str | None:
    return f"{found['name']}, driver {found['driver']}" if found else None


def _condition(record: Any, name: str) -> Any:
    return record.environment.get("conditions", {}).get(name)


def versions(evidence: Evidence) -> Grid:
    """The versions of each engine's packages; those that all share in one row."""
    engines: dict[str, dict[str, set[str]]] = {}
    for run in evidence.runs:
        own = engines.setdefault(run.engine, {})
        for name, version in run.record.versions.items():
            own.setdefault(name, set()).add(version)
    engines = {engine: own for engine, own in engines.items() if own}
    if not engines:
        return Grid("Versions", ("engine", "packages"), ())

    def told(packages: Mapping[str, set[str]]) -> str:
        return ", ".join(f"{name} {words.listed(found)}" for name, found in packages.items())

    first = next(iter(engines.values()))
    common = {
        name: found
        for name, found in first.items()
        if len(engines) > 1 and all(own.get(name) == found for own in engines.values())
    }
    rows = [("all", told(common))] if common else []
    for engine, own in sorted(engines.items()):
        rest = {name: found for name, found in own.items() if name not in common}
        rows.append((engine, told(rest)))
    return Grid("Versions", ("engine", "packages"), tuple(rows))


def facts(evidence: Evidence) -> Grid:
    """What each engine said of itself in its first good run."""
    rows = []
    for comparison in evidence.comparisons:
        for label, runs in evidence.arms(comparison).items():
            good = next((run for run in runs if run.record.ok), None)
            for name, value in _flat(good.record.facts if good else {}):
                rows.append((label, name, value))
    rows = list(dict.fromkeys(rows))
    return Grid("What each engine resolved in these runs", ("engine", "what", "value"), tuple(rows))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        else:
            yield name, in_words(value)


def runs(evidence: Evidence) -> Grid:
    """Every run and how it ended."""
    labels = {
        name: row.label
        for comparison in evidence.comparisons
        for row in comparison.rows
        for name in row.runs
    }
    return Grid(
        f"The {len(evidence.runs)} runs",
        ("engine", "run", "seed", "status", "ended (UTC)", "reason"),
        tuple(
            (
                labels.get(run.record.run, run.engine),
                run.record.run,
                str(run.seed),
                run.record.status,
                _moment(run.record.ended_ms),
                words.shortened(run.record.reason),
            )
            for run in evidence.runs
        ),
    )


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S")

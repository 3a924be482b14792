"""One run folder as the names of the contract: params, tags, metric points and a description.

Nothing here knows MLflow, so that what is shown can be tested without it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fwcompare.errors import RequestError, RunError
from fwcompare.plugin import front
from fwcompare.record import EVENTS_FILE, RECORD_FILE, SPEC_FILE, RunRecord, read_events
from fwcompare.spec import RunSpec
from fwcompare.typed import fits

#: Parts of a spec that no user wrote: where it lives, what a plugin fills in, and the layers, which
#: the graph's digest stands for and an artifact shows.
LEFT_OUT = {
    "run",
    "sweep",
    "attempt",
    "schema_version",
    "model.layers",
    "dataset.folder",
    "framework.trainer",
    "framework.packages",
}

#: A spec's fields that the command line calls by another name.
RENAMED = {"training": "trainer", "init.source": "init.from"}

#: What MLflow does not take in a key.
_ODD_CHARACTERS = re.compile(r"[^\w./: -]")


class Point(NamedTuple):
    """One value of a metric, with the time of its event and the epoch as its step."""

    key: str
    value: float
    time_ms: int
    step: int


@dataclass(frozen=True)
class Entry:
    """A finished run, read from its folder."""

    folder: Path
    spec: RunSpec
    record: RunRecord

    @classmethod
    def read(cls, folder: Path) -> Entry:
        """Read a run folder.

        Raises:
            RequestError: the folder holds no spec that can be read.
            RunError: the run has no record yet.
        """
        spec = RunSpec.read(folder / SPEC_FILE)
        record = RunRecord.read(folder)
        if record is None:
            raise RunError(
                f"The run in {folder} has no {RECORD_FILE} yet.",
                "Wait until it has ended; if it was cut off, run it again.",
            )
        return cls(folder, spec, record)

    @property
    def name(self) -> str:
        """Short, and sorted by framework in a table; it tells what most runs have not."""
        spec = self.spec
        rare = [spec.execution] if spec.execution != "native" else []
        rare += [spec.precision] if spec.precision != "float32" else []
        rare += [f"x{spec.distributed.shares}"] if spec.distributed.active else []
        return " ".join([f"{spec.framework.name}/{spec.model.name}", *rare, f"s{spec.seed}"])

    @property
    def tags(self) -> dict[str, str]:
        """All that the folder alone decides, so that a replay sets the same values."""
        spec, record = self.spec, self.record
        own: dict[str, object] = {
            "kind": "run",
            "framework": spec.framework.name,
            "model": spec.model.name,
            "dataset": spec.dataset.name,
            "optimizer": spec.optimizer.name,
            "device": spec.device.name,
            "precision": spec.precision,
            "execution": spec.execution,
            "semantics": spec.semantics,
            "seed": spec.seed,
            "status": record.status,
            "attempt": spec.attempt,
            "run": spec.run,
            "group": spec.group,
            "arm": spec.arm,
            "cell": spec.cell,
        }
        if spec.distributed.meets:
            own["processes"] = spec.distributed.processes
        elif spec.distributed.active:
            own["replicas"] = spec.distributed.replicas
        if record.reason:
            own["reason"] = record.reason
        if spec.sweep:
            own["sweep"] = spec.sweep
        if record.status == "diverged" or not all(map(math.isfinite, self._values())):
            own["diverged"] = "true"
        tags = {f"fwcompare.{key}": str(value) for key, value in own.items()}
        with suppress(RequestError):  # the plugin need not be installed where a folder is replayed
            tags["mlflow.runColor"] = front(spec.framework.name).colour
        return tags

    @property
    def note(self) -> str:
        """What ran and how it ended, in Markdown, for somebody who sees this run alone."""
        spec, record = self.spec, self.record
        threads = "1 thread" if spec.device.threads == 1 else f"{spec.device.threads} threads"
        if spec.distributed.meets:
            threads = f"{spec.distributed.words} of {threads} each"
        elif spec.distributed.active:
            threads = f"{threads} for {spec.distributed.words}"
        lines = [
            f"**{spec.framework.name}** trains `{spec.model.name}` on `{spec.dataset.name}`"
            f" ({spec.task.name}) with `{spec.optimizer.name}`, learning rate"
            f" {spec.optimizer.lr:g}, batches of {spec.training.batch_size},"
            f" epochs: {spec.training.epochs}, seed {spec.seed}.",
            f"{spec.precision} on {spec.device.name} with {threads}; {spec.semantics} semantics,"
            f" {spec.execution} execution.",
        ]
        lines += list(self._ranks())
        if not record.ok:
            lines.append(f"Ended as **{record.status}**: {record.reason}")
        lines += [f"- {warning}" for warning in record.warnings]
        lines.append(f"Run folder: `{self.folder.absolute()}`")
        return "\n\n".join(lines)

    def _ranks(self) -> Iterator[str]:
        """What each process of a distributed run has taken, a line each."""
        ranks = self.record.facts.get("ranks", [])
        for rank in ranks if isinstance(ranks, list) else []:
            with suppress(KeyError, TypeError):
                yield (
                    f"- rank {rank['rank']} on {rank['host']}, cores {rank['cores']}: "
                    f"peak {rank['peak_rss_mib']:.0f} MiB"
                )

    @property
    def graph(self) -> dict[str, Any]:
        """The model as data, JSON-able."""
        model = self.spec.model
        return {
            "name": model.name,
            "digest": model.digest,
            "input_shape": list(model.input_shape),
            "layers": list(model.layers),
        }

    def points(self) -> list[Point]:
        """Every finite value: a series by epoch, and what is known once at the last epoch.

        Times come from the events and the record, never from the clock: they are part of a
        point's identity, so that the same point sent twice is one point.
        """
        series = list(self._epochs())
        last = max((point.step for point in series), default=0)
        in_series = {point.key for point in series}
        series += [
            Point(metric_key(name), value, self.record.ended_ms, last)
            for name, value in self.record.metrics.items()
            if metric_key(name) not in in_series
        ]
        return [point for point in series if math.isfinite(point.value)]

    def _epochs(self) -> Iterator[Point]:
        """The epochs of the newest attempt in this folder."""
        epochs: list[dict[str, Any]] = []
        for event, _ in read_events(self.folder / EVENTS_FILE):
            if event.get("event") == "start":
                epochs.clear()
            elif event.get("event") == "epoch" and _whole(event):
                epochs.append(event)
        for event in epochs:
            for name, value in event["metrics"].items():
                yield Point(metric_key(name), value, event["time_ms"], event["epoch"])

    def _values(self) -> Iterable[float]:
        yield from self.record.metrics.values()
        yield from (value for epoch in self.record.history for value in epoch.values())


def _whole(event: Mapping[str, Any]) -> bool:
    """Whether an epoch's event has what a point is made of; a damaged line is left out."""
    return (
        fits(int, event.get("epoch"))
        and fits(int, event.get("time_ms"))
        and fits(dict[str, float], event.get("metrics"))
    )


def params_of(spec: RunSpec) -> dict[str, str]:
    """The resolved config as dotted keys, named as on the command line.

    Text stays as it is; anything else is JSON, so that null, true and lists read as in the config.
    """
    data = spec.to_json()
    data["model"].pop("native")
    code = spec.framework.code
    data["framework"] |= {"code": f"{code.shown} {code.digest}" if code else None}
    return dict(_flat("", data))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = RENAMED.get(f"{prefix}{name}", f"{prefix}{name}")
        if key in LEFT_OUT:
            continue
        if isinstance(value, Mapping):
            yield from _flat(f"{key}.", value)
        else:
            yield metric_key(key), value if isinstance(value, str) else json.dumps(value)


def metric_key(name: str) -> str:
    """A key, of a metric or a param, that every MLflow store takes."""
    return _ODD_CHARACTERS.sub("_", name)

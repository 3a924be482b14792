"""What was observed: events as a run goes, and the ``RunRecord`` at its end, both as files.

The run folder is the source of truth; MLflow is a view of it that can be rebuilt.
"""

from __future__ import annotations

import json
import os
import time
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TextIO

from fwcompare.atomic import write_text
from fwcompare.errors import RequestError
from fwcompare.limits import read_json
from fwcompare.typed import fits

SCHEMA_VERSION = 1

#: How a run can end.
STATUSES = (
    "ok",
    "failed",
    "unsupported",
    "out_of_memory",
    "timeout",
    "diverged",
    "killed",
    "pruned",
)

#: Statuses that are no failure: what an engine cannot do, and what a search gave up on purpose.
NO_FAILURES = ("ok", "unsupported", "pruned")

#: Bytes of one event; an epoch's blocks of steps take some thirty each.
LONGEST_EVENT = 1 << 28

SPEC_FILE = "spec.json"
EVENTS_FILE = "events.jsonl"
RECORD_FILE = "record.json"
LOG_FILE = "worker.log"
#: File in a sweep folder that lists its cells.
SWEEP_FILE = "sweep.json"
#: What a language model wrote after its training.
SAMPLES_FILE = "samples.txt"
INITIAL_WEIGHTS = "weights/initial.safetensors"
FINAL_WEIGHTS = "weights/final.safetensors"


def now_ms() -> int:
    """Milliseconds since the epoch: a date for people and MLflow, never a duration."""
    return time.time_ns() // 1_000_000


def write_json(path: Path, data: Any, durable: bool = True) -> None:
    """Write so that a crash leaves the old file or the new one, never half of it."""
    write_text(path, json.dumps(data, indent=1) + "\n", durable)


def plain(text: str) -> str:
    """Text that any terminal, file and page takes: what cannot be printed is a question mark."""
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)


class EventFile:
    """Appends events as JSON lines; each line is flushed, so that a crash costs at most one."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", encoding="utf-8")
        #: Seconds that writing has taken so far.
        self.seconds = 0.0

    def write(self, event: str, **values: Any) -> None:
        """Append one event with the time of day."""
        began = time.perf_counter()
        line = json.dumps({"event": event, "time_ms": now_ms(), **values})
        self._file.write(line + "\n")
        self._file.flush()
        self.seconds += time.perf_counter() - began

    def close(self) -> None:
        self._file.close()


def read_events(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each whole event from byte ``offset`` on, with the offset behind it.

    A last line that is torn or still being written is left for the next call. Where there is no
    ordinary file there is no event.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(offset)
        while (line := file.readline(LONGEST_EVENT)).endswith(b"\n"):
            offset += len(line)
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                yield event, offset


def log_tail(folder: Path, lines: int = 20, most_bytes: int = 20_000) -> list[str]:
    """The last lines of a run's log that say something."""
    if not (folder / LOG_FILE).is_file():
        return []
    try:
        with (folder / LOG_FILE).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - most_bytes, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [plain(line.rstrip()) for line in text.splitlines() if line.strip()][-lines:]


@dataclass(frozen=True)
class RunRecord:
    """One run as it was observed.

    ``metrics`` holds the final metrics by their contract names; ``history`` one mapping an epoch;
    ``blocks`` the raw timing samples (epoch, steps, seconds) of synchronised spans of training.
    """

    run: str
    status: str
    #: One line that says why a run is not ok; empty for a good one.
    reason: str
    started_ms: int
    ended_ms: int
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    blocks: list[tuple[int, int, float]] = field(default_factory=list)
    #: Seconds and peak bytes by phase.
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    #: SHA-256 of data, initial weights, final weights, and sample ids of each epoch.
    digests: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    #: What the engine resolved by itself: device, execution, compilations.
    facts: dict[str, Any] = field(default_factory=dict)
    #: Remarks on trust, such as "used 1.9 cores at 1 thread".
    warnings: list[str] = field(default_factory=list)
    #: Other raw samples, such as the latency of each prediction.
    samples: dict[str, list[float]] = field(default_factory=dict)
    #: Of a run that is not ok: the last that it wrote down, and the last lines of its log.
    last_events: list[dict[str, Any]] = field(default_factory=list)
    log_tail: list[str] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    def write(self, folder: Path) -> None:
        write_json(folder / RECORD_FILE, asdict(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunRecord:
        """Rebuild a record. Raises ``ValueError`` if the data are none."""
        known = {f.name for f in fields(cls)}
        if data.get("schema_version") != SCHEMA_VERSION or set(data) - known:
            raise ValueError("not a run record of this release")
        record = cls(**{**data, "reason": plain(str(data["reason"]))})
        if record.status not in STATUSES:
            raise ValueError(f"unknown status {record.status!r}")
        for name, hint in typing.get_type_hints(cls).items():
            if not fits(hint, getattr(record, name)):
                raise ValueError(f"{name} is not what a record has there")
        return record

    @classmethod
    def read(cls, folder: Path) -> RunRecord | None:
        """The record in a run folder, or None where there is none that can be read."""
        try:
            return cls.from_json(read_json(folder / RECORD_FILE))
        except (RequestError, ValueError, TypeError, AttributeError):
            return None

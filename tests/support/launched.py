"""What a sweep of the stub engine has left, whatever ran it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fwcompare.record import RunRecord


@dataclass(frozen=True)
class Swept:
    """What a sweep said, and what it has left."""

    said: str
    listing: dict[str, Any]
    #: The newest attempt of each seed.
    records: dict[int, RunRecord | None]
    folder: Path

    @property
    def statuses(self) -> dict[int, str]:
        return {seed: record.status if record else "" for seed, record in self.records.items()}

    @property
    def report(self) -> str:
        return (self.folder / "report.html").read_text(encoding="utf-8")


def read(root: Path, said: str = "") -> Swept:
    """The sweep ``s`` as its folder tells it."""
    folder = root / "outputs/sweeps/s"
    if not (folder / "sweep.json").exists():
        return Swept(said, {}, {}, folder)
    listing = json.loads((folder / "sweep.json").read_text())
    records = {cell["seed"]: RunRecord.read(folder / cell["run"]) for cell in listing["cells"]}
    return Swept(said, listing, records, folder)


def every_core() -> int:
    return len(os.sched_getaffinity(0))

"""What the end of a sweep adds to its parent run and to its runs. Nothing here knows MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: The report as a page, in a sweep folder and among the artifacts.
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Conclusion:
    """A sweep that has ended, as a store shows it."""

    #: One of a run record's.
    status: str
    #: When the last run ended.
    ended_ms: int
    #: What ran and how it ended: the end of a sentence that names the sweep.
    headline: str
    #: Verdicts and all that must be known to read them, in Markdown.
    body: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: tuple[Path, ...] = ()
    #: Tags for each run, by the name of its folder.
    run_tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    #: Names of runs worth seeing side by side: one of each arm.
    side_by_side: tuple[str, ...] = ()

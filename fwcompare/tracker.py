"""Tracking beside runs: MLflow is told, and when it cannot be told the runs go on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fwcompare import report
from fwcompare.compare import Comparison
from fwcompare.config import Tracking
from fwcompare.errors import FwcompareError


def store_uri(tracking: Tracking, outputs: Path) -> str:
    """The tracking URI: the one given, or SQLite under ``outputs``."""
    from fwcompare.track import sqlite_uri

    return tracking.uri or sqlite_uri(outputs / "mlflow.db")


class Tracker:
    """A store that may fail: the first failure is said once, and the folders keep everything."""

    def __init__(self, tracking: Tracking, outputs: Path, console: Console) -> None:
        self._console = console
        self._store: Any = None
        from fwcompare.track import open_store

        try:
            self._store = open_store(
                store_uri(tracking, outputs),
                tracking.experiment or "fwcompare",
                outputs / "mlflow-artifacts" if tracking.uri is None else None,
            )
        except FwcompareError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._store = None
        first = str(error).strip().splitlines()[0]
        self._console.print(
            Text(f"MLflow is not told from here on: {first}", style="yellow"), soft_wrap=True
        )
        self._console.print(Text("Later: fwcompare sync", style="yellow"))

    def _try(self, name: str, *arguments: Any, **named: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, name)(*arguments, **named)
        except Exception as error:  # whatever a store raises, no run may suffer from it
            self._give_up(error)
            return None

    def log_run(
        self, folder: Path, parent: str | None, extra_tags: dict[str, str] | None = None
    ) -> str | None:
        """Track one run folder. Returns MLflow's id of the run."""
        found: str | None = self._try("log_run", folder, parent, extra_tags)
        return found

    def begin_sweep(self, name: str) -> str | None:
        """Begin or find the parent run of a sweep."""
        found: str | None = self._try("begin_sweep", name)
        return found

    def end_sweep(
        self,
        parent: str,
        comparisons: Sequence[Comparison],
        counts: dict[str, int],
        folder: Path,
    ) -> None:
        """Close the parent run with the comparison as its description."""
        failed = set(counts) - {"ok", "unsupported"}
        self._try(
            "end_sweep",
            parent,
            "failed" if failed else "ok",
            {f"sweep/runs_{status}": float(count) for status, count in counts.items()},
            {},
            report.markdown(comparisons),
            [folder / "comparison.json", folder / "sweep.json"],
        )

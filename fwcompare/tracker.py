"""Tracking beside runs: MLflow is told, and when it cannot be told the runs go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from fwcompare.config import Tracking
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.track import Conclusion, Store, open_store, sqlite_uri


def store_uri(tracking: Tracking, outputs: Path) -> str:
    """The tracking URI: the one given, or SQLite under ``outputs``."""
    return tracking.uri or sqlite_uri(outputs / "mlflow.db")


def store(tracking: Tracking, outputs: Path) -> Store:
    """The store that a configuration names, with its experiment.

    Raises:
        RequestError: it is no store that can be used.
        RunError: its server cannot be reached.
    """
    return open_store(
        store_uri(tracking, outputs),
        tracking.experiment or "fwcompare",
        outputs / "mlflow-artifacts" if tracking.uri is None else None,
    )


class Tracker:
    """A store that may fail: the first failure is said once, and the folders keep everything."""

    def __init__(self, tracking: Tracking, outputs: Path, console: Console) -> None:
        self._console = console
        self._store: Any = None
        try:
            self._store = store(tracking, outputs)
        except FwcompareError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._store = None
        if isinstance(error, FwcompareError):
            first, hint = error.message, error.hint if isinstance(error, RequestError) else None
        else:
            first, hint = (str(error).strip() or repr(error)).splitlines()[0], None
        self._console.print(
            Text(f"MLflow is not told from here on: {first}", style="yellow"), soft_wrap=True
        )
        if hint:
            self._console.print(Text(hint, style="yellow"), soft_wrap=True)
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

    def begin_sweep(self, name: str, started_ms: int) -> str | None:
        """Begin or find the parent run of a sweep."""
        found: str | None = self._try("begin_sweep", name, started_ms)
        return found

    def end_sweep(self, parent: str, conclusion: Conclusion) -> None:
        """Close the parent run of a sweep, and give its runs their standing."""
        self._try("end_sweep", parent, conclusion)

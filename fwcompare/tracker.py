"""Tracking beside runs: MLflow is told, and when it cannot be told the runs go on.

Between two runs MLflow is waited for so long and no longer. A store that does not answer is given
up with one warning, the sweep goes on, and at its end the store is tried once more with all that it
has missed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from fwcompare.config import Tracking
from fwcompare.errors import FwcompareError, RequestError
from fwcompare.patience import Errands, OutOfPatience
from fwcompare.secrecy import hidden
from fwcompare.track import Conclusion, Store, open_store, sqlite_uri, sync

T = TypeVar("T")

#: Seconds for opening a store; on a busy machine, eight processes wait so long for one to make it.
TO_OPEN = 120.0
#: Seconds for telling of one run while others wait.
TO_TELL = 15.0
#: Seconds for the end of a sweep, when nothing waits but a person, and besides for each run.
TO_END, FOR_EACH = 30.0, 0.5


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
        # A server and a SQLite file have a place of their own; beside a database of another kind
        # MLflow would take the working directory.
        None
        if (tracking.uri or "").startswith(("http", "sqlite", "databricks"))
        else outputs / "mlflow-artifacts",
    )


def sync_command(name: str, tracking: Tracking, outputs: Path) -> str:
    """The command that tells the same store later."""
    given = ["fwcompare", "sync", name]
    if outputs != Path("outputs").absolute():
        given.append(f"paths.outputs={outputs}")
    if tracking.uri is not None:
        given.append(hidden(f"tracking.uri={tracking.uri}"))
    if tracking.experiment not in (None, "fwcompare"):
        given.append(f"tracking.experiment={tracking.experiment}")
    return shlex.join(given)


def finder(outputs: Path) -> Callable[[str], Path | None]:
    """Finds the folder of a run under ``outputs`` by its exact name."""

    def find(run: str) -> Path | None:
        places = [outputs / "runs" / run, *outputs.glob(f"sweeps/*/{escape(run)}")] if run else []
        return next((place for place in places if place.is_dir()), None)

    return find


class Tracker:
    """A store that may fail: the first failure is said once, and the folders keep everything.

    ``name`` is that of the sweep, or of the run where there is none.
    """

    def __init__(self, tracking: Tracking, outputs: Path, console: Console, name: str) -> None:
        self._tracking, self._outputs = tracking, outputs
        self._console = console
        self._name = name
        self._errands = Errands()
        self._store: Store | None = None
        self._open()

    def _open(self) -> None:
        self._store = self._try(self._opened, TO_OPEN)

    def _opened(self) -> Store:
        """The store, where nothing stands as running that has died."""
        found = store(self._tracking, self._outputs)
        found.reconcile(finder(self._outputs))
        return found

    def _try(self, call: Callable[[], T], seconds: float) -> T | None:
        try:
            return self._errands.run(call, seconds)
        except Exception as error:  # whatever a store raises, no run may suffer from it
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        if self._store is not None:
            self._store.abandon()
        self._store = None
        hint = None
        if isinstance(error, OutOfPatience):
            first = f"The tracking store gave {error}."
        elif isinstance(error, FwcompareError):
            first, hint = error.message, error.hint if isinstance(error, RequestError) else None
        else:
            first = (str(error).strip() or repr(error)).splitlines()[0]
        command = sync_command(self._name, self._tracking, self._outputs)
        for line in (
            f"MLflow is not told from here on: {first}",
            hint,
            f"Nothing is lost: the run folders hold it all. Later: {command}",
        ):
            if line:
                self._console.print(Text(hidden(line), style="yellow"), soft_wrap=True)

    def log_run(self, folder: Path, parent: str | None) -> str | None:
        """Track one run folder. Returns MLflow's id of the run."""
        told = self._store
        if told is None:
            return None
        return self._try(lambda: told.log_run(folder, parent), TO_TELL)

    def begin_sweep(self, started_ms: int) -> str | None:
        """Begin or find the parent run of the sweep."""
        told = self._store
        if told is None:
            return None
        return self._try(lambda: told.begin_sweep(self._name, started_ms), TO_TELL)

    def end_sweep(self, folder: Path, parent: str | None, conclusion: Conclusion) -> str | None:
        """Close the parent run of the sweep, and give its runs their standing.

        A store that was given up is tried once more, with the whole sweep. Returns the id of the
        parent run.
        """
        seconds = TO_END + FOR_EACH * len(conclusion.run_tags)
        if self._store is not None and parent is not None:
            told, known = self._store, parent
            self._try(lambda: told.end_sweep(known, conclusion), seconds)
            return parent
        try:
            return self._errands.run(lambda: self._catch_up(folder, conclusion), seconds)
        except Exception:
            return None  # as was said when it was given up

    def _catch_up(self, folder: Path, conclusion: Conclusion) -> str | None:
        done = sync([folder], store(self._tracking, self._outputs), lambda _: conclusion)
        self._console.print(
            Text(f"MLflow answers again: it was told of all {done.runs} runs.", style="yellow")
        )
        return done.parents.get(self._name)


def track_run(tracking: Tracking, outputs: Path, console: Console, folder: Path) -> Any:
    """Track one run that belongs to no sweep."""
    return Tracker(tracking, outputs, console, folder.name).log_run(folder, None)

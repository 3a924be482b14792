"""The tracking store: runs and sweeps, found by their tags and written at most once."""

from __future__ import annotations

import getpass
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fwcompare import origin
from fwcompare.arms import AGAIN
from fwcompare.errors import RequestError, RunError
from fwcompare.locking import locked
from fwcompare.record import (
    EVENTS_FILE,
    FINAL_WEIGHTS,
    INITIAL_WEIGHTS,
    LOG_FILE,
    RECORD_FILE,
    SAMPLES_FILE,
    SPEC_FILE,
    RunRecord,
    log_tail,
    now_ms,
)
from fwcompare.track import connection, database, description, experiments, views
from fwcompare.track.conclusion import Conclusion
from fwcompare.track.entry import Entry, metric_key, params_of
from fwcompare.track.experiments import NOTE

#: How MLflow calls the end of a run; what is not listed has failed.
STATUSES = {"ok": "FINISHED", "killed": "KILLED", "pruned": "KILLED"}

#: What MLflow takes in one request.
METRICS_A_BATCH = 1000
PARAMS_A_BATCH = 100

#: How often a run is created anew before the store is called unusable.
ATTEMPTS = 20

#: Characters that MLflow takes of a dataset's digest.
LONGEST_DIGEST = 36


#: The tag that tells which process writes a run, so that a later one sees whether it has died.
PROCESS = "fwcompare.process"


class Store:
    """Where runs are shown: one MLflow experiment. Made by ``open_store``.

    Every method raises ``RunError`` if the store cannot be reached. Nothing is lost then, since the
    run folders hold it all: ``fwcompare sync`` brings it in later.
    """

    def __init__(self, client: Any, uri: str, experiment_id: str) -> None:
        self.uri = uri
        self.experiment_id = experiment_id
        self._mlflow = client
        self._abandoned = threading.Event()

    def abandon(self) -> None:
        """Let no further request begin: whoever waited for one has gone on."""
        self._abandoned.set()

    @property
    def _client(self) -> Any:
        if self._abandoned.is_set():
            raise RunError("The tracking store was given up.")
        return self._mlflow

    def log_run(
        self,
        folder: Path,
        parent: str | None = None,
        extra_tags: Mapping[str, str] | None = None,
        *,
        weights: bool = False,
    ) -> str:
        """Show a finished run folder, and return MLflow's id of it.

        A folder that is shown already is replayed: what is missing is added, and nothing else
        changes but ``extra_tags``. ``weights`` adds the weights files to the artifacts.

        Raises:
            RequestError: the folder is not a run's.
            RunError: the run has not ended, or the store cannot be reached.
        """
        entry = Entry.read(folder)
        tags = entry.tags | dict(extra_tags or {})
        if parent:
            tags["mlflow.parentRunId"] = parent
        with (
            connection.writing(self.uri, f"the run {entry.spec.run}"),
            locked(folder / SPEC_FILE, "rb"),
        ):
            own = {"fwcompare.run": entry.spec.run}
            run = self._find_or_create(own, lambda: self._create(entry, tags))
            run_id: str = run.info.run_id
            # A param that is there already is left alone: MLflow refuses another value.
            params = params_of(entry.spec)
            self._log(
                run_id,
                params={key: params[key] for key in params if key not in run.data.params},
                metrics=entry.points(),
                tags=_changed(run, tags),
            )
            self._log_dataset(run_id, entry)
            self._log_artifacts(run_id, entry, weights)
            status = STATUSES.get(entry.record.status, "FAILED")
            self._client.set_terminated(run_id, status, entry.record.ended_ms)
        return run_id

    def begin_sweep(self, name: str, started_ms: int | None = None) -> str:
        """Create the parent run of a sweep, or take up the one that is there; return its id."""
        own = {"fwcompare.kind": "sweep", "fwcompare.sweep": name}
        with connection.writing(self.uri, f"the sweep {name}"):
            view = views.of_sweep(name)
            experiments.set_tags(self._client, self.experiment_id, {view.tag_key: view.tag_value})
            note = description.of_running_sweep(self.experiment_id, name)
            run = self._find_or_create(
                own,
                lambda: self._client.create_run(
                    self.experiment_id,
                    start_time=started_ms or now_ms(),
                    tags=_origin() | own | {NOTE: note},
                    run_name=name,
                ),
            )
            if run.data.tags.get(PROCESS) != origin.own():
                self._log(run.info.run_id, tags={PROCESS: origin.own()})
            if run.info.status != "RUNNING":
                self._client.update_run(run.info.run_id, status="RUNNING")
        run_id: str = run.info.run_id
        return run_id

    def end_sweep(self, parent: str, conclusion: Conclusion) -> None:
        """Close a sweep's parent run, and give its runs their standing.

        What is there already is not written again, and a description that a user wrote stays.
        """
        with connection.writing(self.uri, "the end of the sweep"):
            run = self._client.get_run(parent)
            children = self._children(parent)
            for own, tags in conclusion.run_tags.items():
                if own in children:
                    self._log(children[own].info.run_id, tags=_changed(children[own], tags))
                    self._mark_control(children[own], tags)
            tags = {**conclusion.tags, "fwcompare.status": conclusion.status}
            if run.data.tags.get(NOTE, description.OURS).startswith(description.OURS):
                name = run.data.tags["fwcompare.sweep"]
                known = [children[own] for own in conclusion.side_by_side if own in children]
                ids = [child.info.run_id for child in known]
                tags[NOTE] = description.of_sweep(self.experiment_id, parent, name, conclusion, ids)
            points = [
                (metric_key(key), value, conclusion.ended_ms, 0)
                for key, value in conclusion.metrics.items()
                if run.data.metrics.get(metric_key(key)) != value
            ]
            self._log(parent, metrics=points, tags=_changed(run, tags))
            for path in conclusion.artifacts:
                self._client.log_artifact(parent, str(path))
            status = STATUSES.get(conclusion.status, "FAILED")
            self._client.set_terminated(parent, status, conclusion.ended_ms)

    def reconcile(self, folder_of: Callable[[str], Path | None]) -> list[str]:
        """End what stands as running and whose process has died; return its names.

        A run whose folder ``folder_of`` finds by its name is shown as the folder tells it.
        """
        with connection.writing(self.uri, "what had been cut off"):
            found = self._cut_off()
            for run in found:
                self._end_cut_off(run, folder_of(run.data.tags.get("fwcompare.run", "")))
        return [run.info.run_name for run in found]

    def cut_off(self) -> list[str]:
        """Names of what stands as running and whose process has died."""
        with connection.writing(self.uri, "a search"):
            return [run.info.run_name for run in self._cut_off()]

    def _cut_off(self) -> list[Any]:
        running = self._search("attributes.status = 'RUNNING'")
        return [run for run in running if origin.has_died(run.data.tags.get(PROCESS, ""))]

    def _end_cut_off(self, run: Any, folder: Path | None) -> None:
        if folder is not None and RunRecord.read(folder) is not None:
            self.log_run(folder, run.data.tags.get("mlflow.parentRunId"))
            return
        self._log(run.info.run_id, tags={"fwcompare.status": "killed"})
        self._client.set_terminated(run.info.run_id, "KILLED")

    def addresses(self) -> dict[str, str]:
        """Pages worth opening by what they show, to be put behind the address of a server."""
        found = {"sweeps": views.runs_page(self.experiment_id, views.SWEEPS)}
        with connection.writing(self.uri, "a search"):
            newest = self._client.search_runs(
                [self.experiment_id],
                "tags.\"fwcompare.kind\" = 'sweep'",
                max_results=1,
                order_by=["attributes.start_time DESC"],
            )
        for run in newest:
            name = run.data.tags["fwcompare.sweep"]
            view = views.of_sweep(name)
            found[f"verdicts of {name}"] = views.run_page(self.experiment_id, run.info.run_id)
            found["its runs"] = views.runs_page(self.experiment_id, view)
            found["its charts"] = views.runs_page(self.experiment_id, view, charts=True)
        return found

    def _mark_control(self, run: Any, tags: Mapping[str, str]) -> None:
        """Tell a run that repeats another from that one, by its name."""
        name = run.info.run_name
        if tags.get("fwcompare.control") and not name.endswith(AGAIN):
            self._client.update_run(run.info.run_id, name=f"{name} {AGAIN}")

    def _children(self, parent: str) -> dict[str, Any]:
        """The runs of a sweep by the name of their folder."""
        children = self._search(f"tags.\"mlflow.parentRunId\" = '{parent}'")
        return {run.data.tags.get("fwcompare.run", ""): run for run in children}

    def _search(self, wanted: str) -> list[Any]:
        """Every run of the experiment that fits, whatever their number."""
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], wanted, max_results=1000, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _find_or_create(self, tags: Mapping[str, str], create: Callable[[], Any]) -> Any:
        """The run with these tags, which another process or host may be creating just now.

        MLflow has no such request. Whoever has created one looks again, and takes its own back if
        there is another: of several, at most one can have seen none.
        """
        for _ in range(ATTEMPTS):
            if found := self._find(tags):
                return found[0]
            made = create()
            if not [run for run in self._find(tags) if run.info.run_id != made.info.run_id]:
                return made
            self._client.delete_run(made.info.run_id)
            time.sleep(random.uniform(0.05, 0.5))
        raise RunError("Several processes keep creating the same run.", "Try again.")

    def _find(self, tags: Mapping[str, str]) -> Sequence[Any]:
        """The runs with these tags, the oldest first; more than one where a race was lost."""
        wanted = " and ".join(f'tags."{key}" = {_quoted(value)}' for key, value in tags.items())
        found: Sequence[Any] = self._client.search_runs(
            [self.experiment_id], wanted, max_results=10, order_by=["attributes.start_time ASC"]
        )
        return found

    def _create(self, entry: Entry, tags: Mapping[str, str]) -> Any:
        """A new run, with what may change afterwards and a replay must not change back."""
        first = {
            "fwcompare.comparable": "unproven" if entry.record.ok else "false",
            NOTE: entry.note,
        }
        return self._client.create_run(
            self.experiment_id,
            start_time=entry.record.started_ms,
            tags=_origin() | first | dict(tags),
            run_name=entry.name,
        )

    def _log(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        metrics: Sequence[tuple[str, float, int, int]] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write in portions that MLflow takes."""
        from mlflow.entities import Metric, Param, RunTag

        for kind, entities, size in (
            ("params", [Param(*item) for item in (params or {}).items()], PARAMS_A_BATCH),
            ("metrics", [Metric(*point) for point in metrics], METRICS_A_BATCH),
            ("tags", [RunTag(*item) for item in (tags or {}).items()], PARAMS_A_BATCH),
        ):
            for start in range(0, len(entities), size):
                self._client.log_batch(run_id, **{kind: entities[start : start + size]})

    def _log_dataset(self, run_id: str, entry: Entry) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = entry.spec.dataset
        source = json.dumps({"uri": data.folder})
        dataset = Dataset(data.name, data.digest[:LONGEST_DIGEST], "local", source)
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])

    def _log_artifacts(self, run_id: str, entry: Entry, weights: bool) -> None:
        for name in (SPEC_FILE, RECORD_FILE, EVENTS_FILE, SAMPLES_FILE):
            if (entry.folder / name).is_file():
                self._client.log_artifact(run_id, str(entry.folder / name))
        self._client.log_text(run_id, json.dumps(entry.graph, indent=1), "graph.json")
        if not entry.record.ok and (tail := log_tail(entry.folder, lines=200)):
            self._client.log_text(run_id, "\n".join(tail) + "\n", LOG_FILE)
        if weights:
            for name in (INITIAL_WEIGHTS, FINAL_WEIGHTS):
                if (path := entry.folder / name).is_file():
                    self._client.log_artifact(run_id, str(path), path.parent.name)


def open_store(uri: str, experiment: str, artifact_root: Path | None = None) -> Store:
    """Open a tracking store and its experiment, making what is missing.

    ``uri`` is a SQLite file (see ``sqlite_uri``) or any other tracking URI of MLflow.
    ``artifact_root`` is used when this call creates the experiment, which keeps it for good;
    without one, artifacts stand beside a SQLite file. A server decides for itself.

    Raises:
        RequestError: the URI is none of a store, or the experiment was deleted.
        RunError: the server cannot be reached.
    """
    connection.prepare()
    path = database.sqlite_path(uri)
    if path is not None:
        uri = database.sqlite_uri(path)
        artifact_root = artifact_root or path.with_name("mlartifacts")
    elif uri.startswith(("file:", "/", ".")):
        raise RequestError(
            f"MLflow keeps no runs in plain folders any more, as '{uri}' asks for.",
            "Give tracking.uri a file: sqlite:////absolute/path/mlflow.db.",
        )
    root = None
    if artifact_root and not connection.is_server(uri):
        root = artifact_root.absolute().as_uri()
    with connection.opening(uri):
        from mlflow.tracking import MlflowClient

        if path is not None:
            database.ensure(path)
        with connection.alone_if_new(uri):
            client = MlflowClient(uri)
            experiment_id = experiments.find_or_create(client, experiment, root)
        experiments.describe(client, experiment_id)
        return Store(client, uri, experiment_id)


def _origin() -> dict[str, str]:
    """Who wrote a run, in MLflow's own tags."""
    tags = {
        "mlflow.source.name": "fwcompare",
        "mlflow.source.type": "LOCAL",
        PROCESS: origin.own(),
    }
    with suppress(OSError, KeyError):  # a container may run as a user without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _changed(run: Any, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that the run does not have with just this value."""
    return {key: value for key, value in tags.items() if run.data.tags.get(key) != value}


def _quoted(text: str) -> str:
    """A string in MLflow's filter language, which has no escapes but two kinds of quotes."""
    return f'"{text}"' if "'" in text else f"'{text}'"

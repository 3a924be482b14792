"""The tracking store: runs and sweeps, found by their tags and written at most once."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fwcompare.errors import RequestError
from fwcompare.record import (
    EVENTS_FILE,
    FINAL_WEIGHTS,
    INITIAL_WEIGHTS,
    LOG_FILE,
    RECORD_FILE,
    SPEC_FILE,
    log_tail,
    now_ms,
)
from fwcompare.track import connection, database
from fwcompare.track.entry import Entry, params_of

#: How MLflow calls the end of a run; what is not listed has failed.
STATUSES = {"ok": "FINISHED", "killed": "KILLED"}

#: What MLflow takes in one request.
METRICS_A_BATCH = 1000
PARAMS_A_BATCH = 100

#: Characters that MLflow takes of a dataset's digest.
LONGEST_DIGEST = 36


class Store:
    """Where runs are shown: one MLflow experiment. Made by ``open_store``.

    Every method raises ``RunError`` if the store cannot be reached. Nothing is lost then, since the
    run folders hold it all: ``fwcompare sync`` brings it in later.
    """

    def __init__(self, client: Any, uri: str, experiment_id: str) -> None:
        self.uri = uri
        self.experiment_id = experiment_id
        self._client = client

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
            database.locked(folder / SPEC_FILE, "rb"),
        ):
            run = self._find({"fwcompare.run": entry.spec.run}) or self._create(entry, tags)
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

    def begin_sweep(
        self,
        name: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        started_ms: int | None = None,
    ) -> str:
        """Create the parent run of a sweep, or take up the one that is there; return its id."""
        own = {"fwcompare.kind": "sweep", "fwcompare.sweep": name}
        tags = dict(tags or {}) | own
        with connection.writing(self.uri, f"the sweep {name}"):
            run = self._find(own)
            if run is None:
                note = {"mlflow.note.content": description} if description else {}
                run = self._client.create_run(
                    self.experiment_id,
                    start_time=started_ms or now_ms(),
                    tags=_origin() | note | tags,
                    run_name=name,
                )
            else:
                self._client.update_run(run.info.run_id, status="RUNNING")
                self._log(run.info.run_id, tags=_changed(run, tags))
        run_id: str = run.info.run_id
        return run_id

    def end_sweep(
        self,
        parent: str,
        status: str,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        note_markdown: str = "",
        artifacts: Sequence[Path] = (),
        ended_ms: int | None = None,
    ) -> None:
        """Close a sweep's parent run; ``status`` is one of a run record's.

        Metrics and tags that it has already with these values are not written again.
        """
        ended_ms = ended_ms or now_ms()
        tags = dict(tags or {}) | {"fwcompare.status": status}
        if note_markdown:
            tags["mlflow.note.content"] = note_markdown
        with connection.writing(self.uri, "the end of the sweep"):
            run = self._client.get_run(parent)
            points = [
                (key, value, ended_ms, 0)
                for key, value in (metrics or {}).items()
                if run.data.metrics.get(key) != value
            ]
            self._log(parent, metrics=points, tags=_changed(run, tags))
            for path in artifacts:
                self._client.log_artifact(parent, str(path))
            self._client.set_terminated(parent, STATUSES.get(status, "FAILED"), ended_ms)

    def _find(self, tags: Mapping[str, str]) -> Any:
        """The oldest run with these tags, or None."""
        wanted = " and ".join(f'tags."{key}" = {_quoted(value)}' for key, value in tags.items())
        found = self._client.search_runs(
            [self.experiment_id], wanted, max_results=1, order_by=["attributes.start_time ASC"]
        )
        return found[0] if found else None

    def _create(self, entry: Entry, tags: Mapping[str, str]) -> Any:
        """A new run, with what may change afterwards and a replay must not change back."""
        first = {
            "fwcompare.comparable": "unproven" if entry.record.ok else "false",
            "mlflow.note.content": entry.note,
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
        for name in (SPEC_FILE, RECORD_FILE, EVENTS_FILE):
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
        connection.require_answer(uri)
        client = MlflowClient(uri)
        return Store(client, uri, _experiment(client, experiment, root))


def _experiment(client: Any, name: str, artifact_root: str | None) -> str:
    """The id of the experiment of this name, which another process may be creating just now."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # Without its kind, the page asks whoever opens it first what the experiment is about.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        try:
            created: str = client.create_experiment(name, artifact_root, kind)
            return created
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise RequestError(
            f"The experiment '{name}' was deleted from the tracking store.",
            "Choose another: tracking.experiment=NAME; or bring it back:"
            f" mlflow experiments restore --experiment-id {found.experiment_id}",
        )
    experiment_id: str = found.experiment_id
    return experiment_id


def _origin() -> dict[str, str]:
    """Who wrote a run, in MLflow's own tags."""
    tags = {"mlflow.source.name": "fwcompare", "mlflow.source.type": "LOCAL"}
    with suppress(OSError, KeyError):  # a container may run as a user without a name
        tags["mlflow.user"] = getpass.getuser()
    return tags


def _changed(run: Any, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that the run does not have with just this value."""
    return {key: value for key, value in tags.items() if run.data.tags.get(key) != value}


def _quoted(text: str) -> str:
    """A string in MLflow's filter language, which has no escapes but two kinds of quotes."""
    return f'"{text}"' if "'" in text else f"'{text}'"

"""The spool to MLflow, with real stores: a SQLite file and a server on this machine."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fwcompare.errors import FwcompareError, RequestError, RunError
from fwcompare.record import (
    INITIAL_WEIGHTS,
    LOG_FILE,
    SPEC_FILE,
    write_json,
)
from fwcompare.track import (
    Entry,
    Store,
    end,
    open_store,
    params_of,
    serve_ui,
    sqlite_uri,
    sync,
    views,
)
from fwcompare.track import database as database_module

sys.path.insert(0, str(Path(__file__).parent / "support"))
from run_folders import STARTED, conclusion, make_spec, write_events, write_run


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_uri(tmp_path_factory.mktemp("out") / "new folder" / "mlflow.db")


@pytest.fixture
def store(uri: str, request: pytest.FixtureRequest) -> Store:
    return open_store(uri, request.node.name)


@pytest.fixture
def client(uri: str, store: Store) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(uri)


def snapshot(client: Any, run_id: str) -> dict[str, Any]:
    """All that is stored of a run."""
    run = client.get_run(run_id)
    return {
        "info": dict(run.info),
        "params": run.data.params,
        "tags": run.data.tags,
        "points": {
            key: [(p.value, p.timestamp, p.step) for p in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        "inputs": [item.to_dictionary() for item in run.inputs.dataset_inputs],
        "artifacts": sorted(item.path for item in client.list_artifacts(run_id)),
    }


def test_importing_the_room_does_not_import_mlflow() -> None:
    code = "import sys, fwcompare.track; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestEntry:
    def test_params_are_the_config_as_the_command_line_names_it(self) -> None:
        params = params_of(make_spec(params={"depth": 2, "widths": [8, 4], "odd@key": None}))
        assert params["trainer.batch_size"] == "64"
        assert params["optimizer.clip_norm"] == "null"
        assert params["trainer.drop_last"] == "true"
        assert params["model.params.widths"] == "[8, 4]"
        assert params["model.params.odd_key"] == "null"
        assert params["model.digest"] == make_spec().model.digest
        assert params["framework.name"] == "some_engine"
        assert params["init.from"] == "null" and "init.source" not in params
        assert not {"model.layers", "dataset.folder", "framework.trainer", "run"} & set(params)

    def test_a_point_keeps_the_time_of_its_event(self, tmp_path: Path) -> None:
        points = Entry.read(write_run(tmp_path)).points()
        assert ("val/loss", 1.0, STARTED + 2000, 2) in points
        assert ("test/accuracy", 0.5, STARTED + 9000, 3) in points
        assert [point.step for point in points if point.key == "train/loss"] == [1, 2, 3]

    def test_only_the_newest_attempt_counts(self, tmp_path: Path) -> None:
        folder = write_run(tmp_path, epochs=3)
        write_events(folder, 2, began=STARTED + 5000)
        times = [p.time_ms for p in Entry.read(folder).points() if p.key == "val/loss"]
        assert times == [STARTED + 6000, STARTED + 7000]

    def test_values_that_are_not_finite_become_a_tag(self, tmp_path: Path) -> None:
        entry = Entry.read(write_run(tmp_path, metrics={"test/loss": math.inf}))
        assert "test/loss" not in {point.key for point in entry.points()}
        assert entry.tags["fwcompare.diverged"] == "true"

    def test_a_run_without_a_record_is_refused(self, tmp_path: Path) -> None:
        make_spec().write(tmp_path / SPEC_FILE)
        with pytest.raises(RunError, match=r"no record\.json yet"):
            Entry.read(tmp_path)


class TestStore:
    def test_a_run_is_shown_whole(self, store: Store, client: Any, tmp_path: Path) -> None:
        run_id = store.log_run(write_run(tmp_path, sweep="s"), parent="0" * 32)
        shown = snapshot(client, run_id)
        spec = make_spec()
        assert shown["params"] == params_of(spec)
        expected = {
            "kind": "run", "framework": "some_engine", "model": "mlp", "dataset": "digits",
            "optimizer": "sgd", "device": "cpu", "precision": "float32", "execution": "native",
            "semantics": "aligned", "seed": "7", "status": "ok", "attempt": "1", "run": "run-1",
            "comparable": "unproven", "sweep": "s", "group": spec.group, "arm": spec.arm,
            "cell": spec.cell,
        }  # fmt: skip
        own = {k: v for k, v in shown["tags"].items() if k.startswith("fwcompare.")}
        assert f"/{os.getpid()}/" in own.pop("fwcompare.process")
        assert own == {f"fwcompare.{key}": value for key, value in expected.items()}
        assert shown["tags"]["mlflow.parentRunId"] == "0" * 32
        assert shown["tags"]["mlflow.note.content"].startswith("**some_engine** trains `mlp`")
        assert shown["points"]["train/loss"] == [
            (1 / epoch, STARTED + epoch * 1000, epoch) for epoch in (1, 2, 3)
        ]
        assert shown["points"]["test/accuracy"] == [(0.5, STARTED + 9000, 3)]
        dataset = shown["inputs"][0]["dataset"]
        assert (dataset["name"], dataset["digest"]) == ("digits", ("ab" * 32)[:36])
        assert shown["artifacts"] == ["events.jsonl", "graph.json", "record.json", "spec.json"]
        info = shown["info"]
        assert (info["run_name"], info["status"]) == ("some_engine/mlp s7", "FINISHED")
        assert (info["start_time"], info["end_time"]) == (STARTED, STARTED + 9000)

    def test_the_colour_is_the_engines(
        self, store: Store, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Front:
            colour = "#123456"

        monkeypatch.setattr("fwcompare.track.entry.front", lambda name: Front())
        run_id = store.log_run(write_run(tmp_path))
        assert client.get_run(run_id).data.tags["mlflow.runColor"] == "#123456"

    def test_a_replay_changes_nothing(self, store: Store, client: Any, tmp_path: Path) -> None:
        folder = write_run(tmp_path)
        run_id = store.log_run(folder)
        before = snapshot(client, run_id)
        assert store.log_run(folder) == run_id
        assert snapshot(client, run_id) == before
        assert len(client.search_runs([store.experiment_id])) == 1

    def test_a_replay_keeps_what_users_and_the_comparison_wrote(
        self, store: Store, client: Any, tmp_path: Path
    ) -> None:
        folder = write_run(tmp_path)
        run_id = store.log_run(folder)
        client.set_tag(run_id, "mlflow.note.content", "mine")
        client.update_run(run_id, name="mine too")
        store.log_run(folder, extra_tags={"fwcompare.comparable": "true"})
        store.log_run(folder)
        run = client.get_run(run_id)
        assert run.data.tags["mlflow.note.content"] == "mine"
        assert run.info.run_name == "mine too"
        assert run.data.tags["fwcompare.comparable"] == "true"

    def test_a_replay_completes_a_run_that_was_cut_off(
        self, store: Store, client: Any, tmp_path: Path
    ) -> None:
        folder = write_run(tmp_path)
        tags = {"fwcompare.run": "run-1"}
        run_id = client.create_run(store.experiment_id, tags=tags).info.run_id
        client.log_param(run_id, "seed", "7")
        assert store.log_run(folder) == run_id
        shown = snapshot(client, run_id)
        assert shown["params"] == params_of(make_spec())
        assert len(shown["points"]["val/loss"]) == 3
        assert shown["info"]["status"] == "FINISHED"

    @pytest.mark.parametrize(
        ("status", "in_mlflow"),
        [("failed", "FAILED"), ("diverged", "FAILED"), ("killed", "KILLED")],
    )
    def test_a_run_that_ended_badly_says_why(
        self, uri: str, client: Any, tmp_path: Path, status: str, in_mlflow: str
    ) -> None:
        folder = write_run(tmp_path, run=f"bad-{status}", status=status)
        (folder / LOG_FILE).write_text("".join(f"line {i}\n" for i in range(1000)))
        run_id = open_store(uri, "bad").log_run(folder)
        run = client.get_run(run_id)
        assert run.info.status == in_mlflow
        tags = run.data.tags
        assert (tags["fwcompare.status"], tags["fwcompare.reason"]) == (status, "it went wrong")
        assert tags["fwcompare.comparable"] == "false"
        assert ("fwcompare.diverged" in tags) == (status == "diverged")
        log = Path(client.download_artifacts(run_id, LOG_FILE, str(tmp_path))).read_text()
        assert log.startswith("line 800\n") and log.endswith("line 999\n")

    def test_more_than_one_request_holds(self, store: Store, client: Any, tmp_path: Path) -> None:
        params = {f"p{i}": "x" * 7000 if i == 0 else i for i in range(150)}
        folder = write_run(tmp_path, epochs=400, params=params)
        shown = snapshot(client, store.log_run(folder, extra_tags={"long": "x" * 9000}))
        assert len(shown["params"]) > 150
        assert sum(map(len, shown["points"].values())) == 1201

    def test_weights_travel_only_when_asked_for(
        self, store: Store, client: Any, tmp_path: Path
    ) -> None:
        folder = write_run(tmp_path)
        (folder / INITIAL_WEIGHTS).parent.mkdir()
        (folder / INITIAL_WEIGHTS).write_bytes(b"weights")
        run_id = store.log_run(folder, weights=True)
        assert [item.path for item in client.list_artifacts(run_id, "weights")] == [INITIAL_WEIGHTS]

    def test_a_sweep_is_one_parent_run(self, store: Store, client: Any, tmp_path: Path) -> None:
        name = "it's a sweep"
        parent = store.begin_sweep(name, STARTED)
        running = client.get_run(parent)
        assert running.info.status == "RUNNING"
        assert "is running" in running.data.tags["mlflow.note.content"]
        child = store.log_run(write_run(tmp_path), parent)
        report = tmp_path / "report.html"
        report.write_text("<title>Report</title>")
        end = conclusion(
            metrics={"sweep/runs_ok": 1.0, "speed_ratio/jax (again)": 2.0},
            tags={"fwcompare.model": "mlp"},
            artifacts=(report,),
            run_tags={"run-1": {"fwcompare.comparable": "proven", "fwcompare.control": "true"}},
        )
        for _ in range(2):
            assert store.begin_sweep(name) == parent
            store.end_sweep(parent, end)
        shown = snapshot(client, parent)
        assert shown["info"]["status"] == "FINISHED"
        assert shown["points"]["sweep/runs_ok"] == [(1.0, STARTED + 9000, 0)]
        assert shown["points"]["speed_ratio/jax _again_"]
        tags = shown["tags"]
        assert (tags["fwcompare.kind"], tags["fwcompare.sweep"]) == ("sweep", name)
        assert tags["fwcompare.model"] == "mlp"
        note = tags["mlflow.note.content"]
        assert note.startswith(f"**Sweep `{name}`** by fwcompare: 1 engine.\n\n[Runs](#/exp")
        assert note.endswith("| verdicts |") and f"/runs/{parent}/artifacts/report.html" in note
        assert shown["artifacts"] == ["report.html"]
        run = client.get_run(child)
        assert run.data.tags["fwcompare.comparable"] == "proven"
        assert run.info.run_name == "some_engine/mlp s7 (again)", "a control is told by its name"

    def test_a_description_that_a_user_wrote_stays(self, store: Store, client: Any) -> None:
        parent = store.begin_sweep("s")
        client.set_tag(parent, "mlflow.note.content", "mine")
        store.end_sweep(parent, conclusion())
        assert client.get_run(parent).data.tags["mlflow.note.content"] == "mine"

    def test_a_description_that_is_too_long_ends_in_a_whole_line(
        self, store: Store, client: Any
    ) -> None:
        parent = store.begin_sweep("s")
        store.end_sweep(parent, conclusion(body="\n".join(["| cell |"] * 2000)))
        note = client.get_run(parent).data.tags["mlflow.note.content"]
        assert 7900 < len(note) <= 8000
        assert note.endswith("| cell |\n\nMLflow takes no more: the rest is among the artifacts.")

    def test_the_experiment_has_views_and_a_description(
        self, uri: str, store: Store, client: Any
    ) -> None:
        store.begin_sweep("s")
        tags = client.get_experiment(store.experiment_id).tags
        held = {key.rpartition(".")[2]: json.loads(value) for key, value in tags.items()
                if key.startswith(views.VIEW_TAG)}  # fmt: skip
        assert {own["name"] for key, own in held.items() if key != "fwcompare-sweep-s"} == {
            "Sweeps", "Runs of all sweeps", "Mean over seeds",
        }  # fmt: skip
        assert "'s'" in held["fwcompare-sweep-s"]["searchFilter"], "no name: it is not listed"
        assert "metrics.`perf/samples_per_s`" in held["fwcompare-sweep-s"]["selectedColumns"]
        assert max(len(value) for value in tags.values()) < 5000, "older releases take no more"
        for view in views.VIEWS:
            assert views.runs_page(store.experiment_id, view) in tags["mlflow.note.content"]
        client.set_experiment_tag(store.experiment_id, "mlflow.note.content", "mine")
        open_store(uri, client.get_experiment(store.experiment_id).name)
        assert client.get_experiment(store.experiment_id).tags["mlflow.note.content"] == "mine"

    def test_a_deleted_experiment_is_said_by_name(
        self, store: Store, client: Any, uri: str
    ) -> None:
        client.delete_experiment(store.experiment_id)
        with pytest.raises(RequestError, match="was deleted") as caught:
            open_store(uri, "test_a_deleted_experiment_is_said_by_name")
        assert "mlflow experiments restore" in str(caught.value)

    def test_the_store_is_one_file_in_wal_mode(self, uri: str, store: Store) -> None:
        path = Path(uri.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    @pytest.mark.parametrize(
        "wrong",
        ["sqlite://", "sqlite:////x/50%25.db", "file:/runs", "./runs", "foo://bar",
         "sqlite:///" + __file__, "sqlite:////proc/none/mlflow.db"],
    )  # fmt: skip
    def test_a_wrong_uri_is_refused_at_once(self, wrong: str) -> None:
        began = time.monotonic()
        with pytest.raises(RequestError) as caught:
            open_store(wrong, "x")
        assert caught.value.hint
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize(
        ("revision", "words", "hint"),
        [("0" * 12, "a newer release", "pip install --upgrade mlflow"),
         ("451aebb31d03", "an older release", "mlflow db upgrade sqlite:///")],
    )  # fmt: skip
    def test_a_store_of_another_release_is_refused_by_its_age(
        self, uri: str, store: Store, tmp_path: Path, revision: str, words: str, hint: str
    ) -> None:
        path = tmp_path / "mlflow.db"
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as own:
            own.execute("VACUUM INTO ?", (str(path),))
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        for use in (lambda: open_store(sqlite_uri(path), "x"), lambda: serve_ui(sqlite_uri(path))):
            with pytest.raises(RequestError, match=words) as caught:
                use()
            assert hint in str(caught.value) and "fwcompare sync" in str(caught.value)

    def test_somebody_elses_database_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "songs.db"
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("CREATE TABLE songs (title TEXT)")
        before = path.read_bytes()
        with pytest.raises(RequestError, match="no MLflow store"):
            open_store(sqlite_uri(path), "x")
        assert path.read_bytes() == before

    def test_an_error_shows_no_password(self) -> None:
        with pytest.raises(FwcompareError) as caught:
            open_store("postgresql://me:secret@127.0.0.1:1/runs", "x")
        assert "secret" not in str(caught.value)


def test_a_process_ended_while_making_the_store_leaves_nothing_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    write_ahead = database_module._write_ahead

    def interrupted(target: Path) -> None:
        if target.name.endswith(".part"):
            raise KeyboardInterrupt
        write_ahead(target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(database_module, "_write_ahead", interrupted)
        open_store(sqlite_uri(path), "x")
    assert not path.exists()
    assert open_store(sqlite_uri(path), "x").experiment_id


RACE = """
import os, sys
from pathlib import Path
from fwcompare.track import connection, open_store, sqlite_uri
connection.prepare()
import mlflow.store.tracking.sqlalchemy_store
root = Path(sys.argv[1])
children = []
for number in range(8):
    child = os.fork()
    if not child:
        code = 1
        try:
            store = open_store(sqlite_uri(root / "race.db"), "race")
            store.log_run(root / "shared")
            store.log_run(root / f"own-{number}")
            code = 0
        finally:
            os._exit(code)
    children.append(child)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


def test_eight_processes_may_race(tmp_path: Path) -> None:
    for name in ("shared", *(f"own-{number}" for number in range(8))):
        write_run(tmp_path, run=name)
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    store = open_store(sqlite_uri(tmp_path / "race.db"), "race")
    runs = store._client.search_runs([store.experiment_id])
    assert sorted(run.data.tags["fwcompare.run"] for run in runs) == [
        *(f"own-{number}" for number in range(8)),
        "shared",
    ]
    for run in runs:
        assert len(store._client.get_metric_history(run.info.run_id, "val/loss")) == 3


class TestSync:
    def test_folders_and_sweeps_come_in_and_the_rest_is_named(
        self, store: Store, client: Any, tmp_path: Path
    ) -> None:
        single = write_run(tmp_path / "runs", "single")
        write_run(tmp_path / "runs", "a", sweep="s")
        write_run(tmp_path / "runs", "b", sweep="s", status="unsupported")
        sweep = tmp_path / "sweep"
        sweep.mkdir()
        write_json(
            sweep / "sweep.json", {"name": "s", "runs": ["../runs/a", "../runs/b"], "parent": None}
        )
        running = tmp_path / "running"
        running.mkdir()
        make_spec("running").write(running / SPEC_FILE)
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "sweep.json").write_text("{}")
        nothing = tmp_path / "nothing"

        folders = [single, sweep, running, broken, nothing]
        before: list[Any] = []
        for _ in range(2):
            done = sync(folders, store, lambda folder: conclusion())
            assert (done.runs, done.sweeps, done.unfinished) == (3, 1, [running])
            assert set(done.unreadable) == {broken, nothing}
            runs = client.search_runs([store.experiment_id])
            after = sorted((snapshot(client, r.info.run_id) for r in runs), key=str)
            assert before in ([], after)
            before = after
        by_name = {run.data.tags.get("fwcompare.run"): run for run in runs}
        parent = by_name[None]
        assert parent.info.status == "FINISHED"
        assert parent.info.end_time == STARTED + 9000
        assert by_name["a"].data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert "mlflow.parentRunId" not in by_name["single"].data.tags

    def test_a_sweep_that_is_running_stays_so(
        self, store: Store, client: Any, tmp_path: Path
    ) -> None:
        write_run(tmp_path, "a", sweep="s")
        write_json(tmp_path / "sweep.json", {"name": "s", "runs": ["a", "b"], "parent": None})
        sync([tmp_path], store, lambda folder: conclusion())
        assert client.get_run(store.begin_sweep("s")).info.status == "RUNNING"

    def test_a_sweep_that_was_interrupted_has_ended(
        self, store: Store, client: Any, tmp_path: Path
    ) -> None:
        write_run(tmp_path, "a", sweep="s")
        write_json(tmp_path / "sweep.json", {"name": "s", "runs": ["a", "b"], "parent": None})
        write_json(tmp_path / "comparison.json", {})
        sync([tmp_path], store, lambda folder: conclusion(status="failed"))
        (parent,) = client.search_runs([store.experiment_id], "tags.`fwcompare.kind` = 'sweep'")
        assert (parent.info.status, parent.info.end_time) == ("FAILED", STARTED + 9000)

    def test_a_new_store_shows_what_the_live_sweep_has_shown(self, cli, tmp_path: Path) -> None:
        ended = cli(
            "-m", "framework=pytorch,jax", "execution=native,eager", "seed=0,1",
            "compare.control=true", "model=logistic", "trainer.epochs=2", "device.threads=1",
            "sweep.name=s",
        )  # fmt: skip
        assert ended.returncode == 0, ended.stdout + ended.stderr
        again = sqlite_uri(tmp_path / "again.db")
        for arguments in (["s"], []):
            synced = cli("sync", f"tracking.uri={again}", *arguments)
            assert synced.stdout.startswith("MLflow knows 6 runs and 1 sweeps"), synced.stdout
            assert "Left out" not in synced.stdout, "a refused cell is told by the parent"
            live = shown_by(sqlite_uri(tmp_path / "outputs/mlflow.db"))
            assert shown_by(again) == live
        assert len(live) == 7
        tags = live["parent"]["tags"]
        assert tags["fwcompare.engines"] == "jax, pytorch"
        assert "2 unsupported" in tags["mlflow.note.content"]
        assert "| jax&nbsp;" in tags["mlflow.note.content"]
        assert {own["tags"].get("fwcompare.comparable") for own in live.values()} == {"proven"}
        assert live["parent"]["artifacts"] == [
            "audits.json", "comparison.json", "proofs.json", "report.html", "sweep.json",
        ]  # fmt: skip


def shown_by(uri: str) -> dict[str, dict[str, Any]]:
    """All that a store shows of its runs, without the ids that it gave itself."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fwcompare")
    runs = client.search_runs([experiment.experiment_id])
    names = {run.info.run_id: run.data.tags.get("fwcompare.run", "parent") for run in runs}
    found = {}
    for run_id, name in names.items():
        text = json.dumps(snapshot(client, run_id))
        for own, meant in names.items():
            text = text.replace(own, meant)
        found[name] = json.loads(text)
        del found[name]["info"]["artifact_uri"], found[name]["info"]["experiment_id"]
        found[name]["tags"].pop("fwcompare.process", None)  # whoever told it
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_shows_the_runs_takes_runs_and_goes_away(uri: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    local = open_store(uri, "shown")
    local.log_run(folder)
    port = free_port()
    server = serve_ui(uri, port=port)
    try:
        with pytest.raises(RequestError, match=f"Port {port}"):
            serve_ui(uri, port=port)
        address = f"http://127.0.0.1:{port}"
        seen = open_store(address, "shown")
        assert seen.experiment_id == local.experiment_id
        found = seen._client.search_runs(
            [seen.experiment_id], "tags.\"fwcompare.framework\" = 'some_engine'"
        )
        assert [run.info.run_name for run in found] == ["some_engine/mlp s7"]

        remote = open_store(address, "sent")
        run_id = remote.log_run(folder)
        before = snapshot(remote._client, run_id)
        assert remote.log_run(folder) == run_id
        assert snapshot(remote._client, run_id) == before
        assert "graph.json" in before["artifacts"]
        with pytest.raises(RequestError, match="a server already"):
            serve_ui(address)
        with pytest.raises(RequestError, match="not a database"):
            serve_ui(sqlite_uri(Path(__file__)), port=free_port())
    finally:
        end(server)
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)

    began = time.monotonic()
    with pytest.raises(RunError, match="did not take the run run-1") as caught:
        remote.log_run(folder)
    assert "fwcompare sync" in str(caught.value)
    with pytest.raises(RunError, match="cannot be opened"):
        open_store(address, "sent")
    assert time.monotonic() - began < 30

"""A store that is away, hangs, fails, is slow or locked: no run waits, and nothing is lost."""

from __future__ import annotations

import io
import shutil
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fwcompare import tracker as tracker_module
from fwcompare.config import Tracking
from fwcompare.errors import RunError
from fwcompare.patience import Errands, OutOfPatience
from fwcompare.terminal import plain
from fwcompare.track import Store, open_store, sqlite_uri, sync
from fwcompare.tracker import Tracker, sync_command

sys.path.insert(0, str(Path(__file__).parent / "support"))
from run_folders import conclusion, write_run, write_sweep

#: Seconds that the tests have for what takes 15 in earnest.
PATIENCE = 1.5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(sqlite_uri(path), "fwcompare")
    return path


@pytest.fixture
def database(made: Path, tmp_path: Path) -> Path:
    with closing(sqlite3.connect(made)) as source:
        source.execute("VACUUM INTO ?", (str(tmp_path / "mlflow.db"),))
    return tmp_path / "mlflow.db"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "TO_TELL", PATIENCE)


def begin(uri: str | None, outputs: Path, name: str = "s") -> tuple[Tracker, io.StringIO]:
    said = io.StringIO()
    tracking = Tracking("server", uri, "fwcompare")
    return Tracker(tracking, outputs, plain(file=said, width=200), name), said


def runs_of(uri: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fwcompare")
    return list(client.search_runs([experiment.experiment_id]))


def points_of(uri: str) -> Counter[str]:
    """How many values each run has of each metric, as stored."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as opened:
        return Counter(
            f"{run}/{key}" for run, key in opened.execute("SELECT run_uuid, key FROM metrics")
        )


class Broken(BaseHTTPRequestHandler):
    """Answers every request with 500, or with nothing at all."""

    def do_GET(self) -> None:
        self.server.asked += 1
        if self.server.hangs:
            self.server.over.wait(60)
            return
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b"the database is away")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing to say."""


@contextmanager
def serving(hangs: bool) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    server.hangs, server.asked, server.over = hangs, 0, threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


def test_a_call_that_hangs_is_left_behind() -> None:
    errands, over = Errands(), threading.Event()
    assert errands.run(lambda: 1, 5) == 1
    with pytest.raises(OutOfPatience, match=r"within 0\.1 s"):
        errands.run(over.wait, 0.1)
    assert errands.run(lambda: 2, 5) == 2, "the next call has a thread of its own"
    with pytest.raises(ZeroDivisionError):
        errands.run(lambda: 1 // 0, 5)
    over.set()


def test_the_command_for_later_names_the_store_without_its_password() -> None:
    tracking = Tracking("server", "http://ann:hunter2@h:5000", "mine")
    assert sync_command("s", tracking, Path("/data/outputs")) == (
        "fwcompare sync s paths.outputs=/data/outputs 'tracking.uri=http://ann:***@h:5000'"
        " tracking.experiment=mine"
    )
    assert sync_command("s", Tracking("sqlite", None, None), Path("outputs").absolute()) == (
        "fwcompare sync s"
    )


def warned_once(said: io.StringIO, *words: str) -> None:
    text = said.getvalue()
    assert text.count("not told from here on") == 1, text
    for word in ("fwcompare sync s ", "Nothing is lost", *words):
        assert word in text


def sweep_through(tracker: Tracker, folder: Path) -> float:
    """Tell of a sweep; the seconds that its runs were held up."""
    began = time.monotonic()
    parent = tracker.begin_sweep(1)
    for run in sorted(folder.glob("*/")):
        tracker.log_run(run, parent)
    held_up = time.monotonic() - began
    tracker.end_sweep(folder, parent, conclusion())
    return held_up


def test_a_server_that_is_absent_is_said_once(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        tracker, said = begin(f"http://127.0.0.1:{probe.getsockname()[1]}", tmp_path)
        assert sweep_through(tracker, write_sweep(tmp_path, "s", 5)) < PATIENCE
    warned_once(said, "cannot be opened")


def test_a_server_that_answers_500_is_said_once(tmp_path: Path) -> None:
    with serving(hangs=False) as server:
        tracker, said = begin(f"http://127.0.0.1:{server.server_port}", tmp_path)
        at_first = server.asked
        assert sweep_through(tracker, write_sweep(tmp_path, "s", 5)) < PATIENCE
        assert 0 < server.asked <= 2 * at_first, "it is asked again at the end alone"
    warned_once(said, "500")


def test_a_server_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "TO_OPEN", PATIENCE + 2)  # MLflow's own import is in it
    monkeypatch.setattr(tracker_module, "TO_END", PATIENCE)
    monkeypatch.setattr(tracker_module, "FOR_EACH", 0.0)
    with serving(hangs=True) as server:
        began = time.monotonic()
        tracker, said = begin(f"http://127.0.0.1:{server.server_port}", tmp_path)
        sweep_through(tracker, write_sweep(tmp_path, "s", 5))
        assert time.monotonic() - began < 30
    warned_once(said, "no answer within")


@pytest.mark.usefixtures("patience")
def test_a_locked_database_is_left_and_told_at_the_end(database: Path, tmp_path: Path) -> None:
    uri = sqlite_uri(database)
    folder = write_sweep(tmp_path, "s", 3)
    tracker, said = begin(uri, tmp_path)
    parent = tracker.begin_sweep(1)
    first, *others = sorted(folder.glob("*/"))
    tracker.log_run(first, parent)
    with closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        for run in others:
            assert tracker.log_run(run, parent) is None
        assert time.monotonic() - began < 2 * PATIENCE, "waited for once"
        holder.execute("ROLLBACK")
    warned_once(said, "no answer within")
    assert tracker.end_sweep(folder, parent, conclusion()) == parent
    assert "answers again: it was told of all 3 runs" in said.getvalue()
    told = runs_of(uri)
    assert sorted(run.info.status for run in told) == ["FINISHED"] * 4


class Slow:
    """A client whose every answer takes a while."""

    def __init__(self, client: Any, seconds: float) -> None:
        self._client, self._seconds = client, seconds
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.asked += 1
            time.sleep(self._seconds)
            return getattr(self._client, name)(*arguments, **named)

        return call


@pytest.mark.usefixtures("patience")
def test_a_slow_store_holds_up_one_run_alone(database: Path, tmp_path: Path) -> None:
    uri = sqlite_uri(database)
    folder = write_sweep(tmp_path, "s", 4)
    tracker, said = begin(uri, tmp_path)
    assert tracker._store is not None
    slow = tracker._store._mlflow = Slow(tracker._store._mlflow, 0.4)
    began = time.monotonic()
    parent = tracker.begin_sweep(1)
    for run in sorted(folder.glob("*/")):
        tracker.log_run(run, parent)
    assert time.monotonic() - began < 3 * PATIENCE
    warned_once(said, "no answer within")
    time.sleep(0.5)
    asked = slow.asked
    time.sleep(0.6)
    assert slow.asked == asked, "what was left behind asks nothing more"
    assert tracker.end_sweep(folder, parent, conclusion())
    before = points_of(uri)
    store = open_store(uri, "fwcompare")
    for _ in range(2):
        done = sync([folder], store, lambda _: conclusion())
        assert (done.runs, done.sweeps) == (4, 1)
    assert points_of(uri) == before and len(runs_of(uri)) == 5


def test_outputs_of_several_hosts_are_told_without_doubles(database: Path, tmp_path: Path) -> None:
    uri = sqlite_uri(database)
    for host in ("host1", "host2"):
        write_sweep(tmp_path / host, "shared", 2, metrics={"test/loss": 1.0})
        write_sweep(tmp_path / host, f"own-{host}", 2)
    # The same run lies on both hosts, as after a copy.
    for folder in (tmp_path / "host2/sweeps/shared").glob("*/"):
        folder.rename(folder.with_name(f"{folder.name}-2"))
    shutil.copytree(tmp_path / "host1/sweeps/own-host1", tmp_path / "host2/sweeps/own-host1")
    store = open_store(uri, "fwcompare")
    folders = sorted(path.parent for path in tmp_path.glob("host*/sweeps/*/sweep.json"))
    assert len(folders) == 5
    for _ in range(2):
        sync(folders, store, lambda _: conclusion())
        kinds = Counter(run.data.tags["fwcompare.kind"] for run in runs_of(uri))
        assert kinds == {"sweep": 3, "run": 6}
        assert set(points_of(uri).values()) <= {1, 3}, "a value an epoch, or one"


def test_a_run_that_several_hosts_tell_at_once_is_one_run(database: Path, tmp_path: Path) -> None:
    uri = sqlite_uri(database)
    copies = [write_run(tmp_path / f"host{n}", "same-run") for n in range(5)]
    ready = threading.Barrier(len(copies))
    failed: list[Exception] = []

    def tell(folder: Path) -> None:
        try:
            store = open_store(uri, "fwcompare")
            ready.wait(30)
            store.log_run(folder, store.begin_sweep("shared"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=tell, args=(folder,)) for folder in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    found = Counter(run.data.tags["fwcompare.kind"] for run in runs_of(uri))
    assert found == {"run": 1, "sweep": 1}


def test_a_store_that_was_given_up_is_asked_nothing(database: Path, tmp_path: Path) -> None:
    store: Store = open_store(sqlite_uri(database), "fwcompare")
    store.abandon()
    with pytest.raises(RunError, match="given up"):
        store.log_run(write_run(tmp_path))
    assert not runs_of(sqlite_uri(database))

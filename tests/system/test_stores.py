"""Tracking against real servers: absent, killed and frozen in mid-sweep, locked, and in a crowd."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fwcompare.record import RunRecord
from fwcompare.track import Entry, sqlite_uri

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from servers import MlflowServer, PostgreSql, postgresql
from stub_plugin import SHORT, install

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")
BACKENDS = ("sqlite", "postgresql")

#: Runs of a sweep, and how many have ended when something happens to the store.
RUNS, BEFORE = 8, 3


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("plugin") / "site")


@pytest.fixture(scope="module")
def databases() -> Iterator[PostgreSql]:
    with postgresql() as made:
        yield made


Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begin(tmp_path: Path, plugin: Path, cache: Path) -> Iterator[Begin]:
    """Begin a command line in a folder of its own; whatever still runs is ended."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [FWCOMPARE, *arguments], cwd=tmp_path, text=True,
            env={**os.environ, "PYTHONPATH": str(plugin), "FWCOMPARE_CACHE": str(cache),
                 "COLUMNS": "160"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.terminate()
        process.communicate()


def sweep_of(name: str, *options: str, runs: int = RUNS) -> list[str]:
    return ["-m", *SHORT, f"seed=range({runs})", f"sweep.name={name}", *options]


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    return out, err


def await_records(folder: Path, count: int) -> None:
    until = time.monotonic() + 300
    while len(list(folder.glob("*/record.json"))) < count and time.monotonic() < until:
        time.sleep(0.05)


def counts(uri: str) -> dict[str, int]:
    """How many values of metrics each run and sweep of a store has; each is there once."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("fwcompare")
    found: dict[str, int] = {}
    for run in client.search_runs([experiment.experiment_id], max_results=5000):
        tags = run.data.tags
        name = tags.get("fwcompare.run") or "sweep " + tags["fwcompare.sweep"]
        assert name not in found, f"{name} is there twice"
        assert run.info.status == "FINISHED", (name, run.info.status)
        found[name] = sum(
            len(client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics
        )
    return found


def wanted(folder: Path) -> dict[str, int]:
    """What the folders say each run has."""
    return {run.name: len(Entry.read(run).points()) for run in folder.glob("*/") if run.is_dir()}


def whole(uri: str, folder: Path) -> dict[str, int]:
    """The counts of a store, which must be those of a sweep's folders."""
    found = counts(uri)
    runs = {name: count for name, count in found.items() if not name.startswith("sweep ")}
    assert runs == wanted(folder)
    assert set(found) - set(runs) == {f"sweep {folder.name}"}
    return found


def command_for_later(said: str) -> list[str]:
    """The command of the one warning."""
    assert said.count("MLflow is not told from here on") == 1, said
    (found,) = re.findall(r"Later: fwcompare (.+)", said)
    return shlex.split(found)


@pytest.fixture(params=BACKENDS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, databases: PostgreSql
) -> Iterator[MlflowServer]:
    """MLflow's server on a new database, not yet started."""
    if request.param == "sqlite":
        backend = sqlite_uri(tmp_path / "server.db")
    else:
        backend = databases.make(f"server_{request.node.originalname[-30:]}".lower())
    made = MlflowServer(backend, tmp_path / "server")
    yield made
    made.stop()


def all_ok(folder: Path, runs: int = RUNS) -> None:
    statuses = [record.status for run in folder.glob("*/") if (record := RunRecord.read(run))]
    assert statuses == ["ok"] * runs


def told_twice(begin: Begin, command: list[str], server: MlflowServer, folder: Path) -> None:
    """The command brings all in, and a second time changes nothing."""
    out, _ = ended(begin(*command))
    assert f"MLflow knows {RUNS} runs and 1 sweeps" in out
    before = whole(server.uri, folder)
    ended(begin(*command))
    assert whole(server.uri, folder) == before


def test_absent_at_the_start(begin: Begin, server: MlflowServer, tmp_path: Path) -> None:
    folder = tmp_path / "outputs/sweeps/s"
    _, said = ended(begin(*sweep_of("s", f"tracking.uri={server.uri}")))
    all_ok(folder)
    server.start()
    told_twice(begin, command_for_later(said), server, folder)


def test_killed_in_mid_sweep(begin: Begin, server: MlflowServer, tmp_path: Path) -> None:
    folder = tmp_path / "outputs/sweeps/s"
    server.start()
    sweep = begin(*sweep_of("s", f"tracking.uri={server.uri}"))
    await_records(folder, BEFORE)
    server.stop(signal.SIGKILL)
    _, said = ended(sweep)
    all_ok(folder)
    command = command_for_later(said)
    server.start()
    told_twice(begin, command, server, folder)


def test_frozen_in_mid_sweep(begin: Begin, server: MlflowServer, tmp_path: Path) -> None:
    folder = tmp_path / "outputs/sweeps/s"
    server.start()
    sweep = begin(*sweep_of("s", f"tracking.uri={server.uri}"))
    await_records(folder, BEFORE)
    server.send(signal.SIGSTOP)
    try:
        _, said = ended(sweep)
    finally:
        server.send(signal.SIGCONT)
    all_ok(folder)
    told_twice(begin, command_for_later(said), server, folder)


def test_back_before_the_end(begin: Begin, server: MlflowServer, tmp_path: Path) -> None:
    """A server that was away for a while is told of everything when the sweep ends.

    The sweep stands still while the server starts: which of the two is the faster says nothing.
    """
    folder = tmp_path / "outputs/sweeps/s"
    server.start()
    sweep = begin(*sweep_of("s", f"tracking.uri={server.uri}", runs=3 * RUNS))
    await_records(folder, 1)
    server.stop(signal.SIGKILL)
    await_records(folder, 4)
    sweep.send_signal(signal.SIGSTOP)
    try:
        server.start()
    finally:
        sweep.send_signal(signal.SIGCONT)
    _, said = ended(sweep)
    all_ok(folder, 3 * RUNS)
    if "not told" in said:  # or else it came back before anybody noticed
        assert f"answers again: it was told of all {3 * RUNS} runs" in said
    whole(server.uri, folder)


def test_a_database_that_freezes(begin: Begin, databases: PostgreSql, tmp_path: Path) -> None:
    """Runs told straight to PostgreSQL, which stops answering without closing a connection."""
    uri = databases.make("frozen")
    folder = tmp_path / "outputs/sweeps/s"
    sweep = begin(*sweep_of("s", f"tracking.uri={uri}"))
    await_records(folder, BEFORE)
    databases.send(signal.SIGSTOP)
    try:
        _, said = ended(sweep)
    finally:
        databases.send(signal.SIGCONT)
    all_ok(folder)
    command = command_for_later(said)
    assert databases.password not in said and "***" in " ".join(command)
    for _ in range(2):
        ended(begin(*command[:2], f"tracking.uri={uri}"))
        whole(uri, folder)
    kept = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert not [path for path in kept if databases.password.encode() in path.read_bytes()]


def test_locked_for_a_minute(begin: Begin, tmp_path: Path) -> None:
    folder = tmp_path / "outputs/sweeps/s"
    ended(begin(*sweep_of("first", runs=1)))
    path = tmp_path / "outputs/mlflow.db"
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        sweep = begin(*sweep_of("s"))
        time.sleep(60)
        holder.execute("ROLLBACK")
    _, said = ended(sweep)
    all_ok(folder)
    if "answers again" not in said:
        ended(begin(*command_for_later(said)))
    found = counts(sqlite_uri(path))
    assert {name: found[name] for name in wanted(folder)} == wanted(folder)


@pytest.mark.parametrize("store", BACKENDS)
def test_eight_sweeps_at_once_make_and_use_one_store(
    begin: Begin, databases: PostgreSql, tmp_path: Path, store: str
) -> None:
    uri = sqlite_uri(tmp_path / "outputs/mlflow.db")
    options = []
    if store == "postgresql":
        uri = databases.make("crowd")
        options = [f"tracking.uri={uri}"]
    sweeps = [begin(*sweep_of(f"s{number}", *options, runs=3)) for number in range(8)]
    said = [ended(sweep)[1] for sweep in sweeps]
    unsaid = [text for text in said if "not told" in text and "answers again" not in text]
    assert not unsaid
    found = counts(uri)
    kinds = Counter(name.startswith("sweep ") for name in found)
    assert kinds == {True: 8, False: 24}
    for number in range(8):
        folder = tmp_path / f"outputs/sweeps/s{number}"
        assert {name: found[name] for name in wanted(folder)} == wanted(folder)


def test_a_second_process_on_one_sweep_is_refused(begin: Begin, tmp_path: Path) -> None:
    first = begin(*sweep_of("s", "tracking=none"))
    await_records(tmp_path / "outputs/sweeps/s", 1)
    first.send_signal(signal.SIGSTOP)  # or it might have ended before the second asks
    try:
        second = begin(*sweep_of("s", "tracking=none"))
        _, said = second.communicate(timeout=300)
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 2, said
    assert f"The sweep s is being run by process {first.pid} on " in said
    ended(first)
    all_ok(tmp_path / "outputs/sweeps/s")


def test_one_sweep_told_by_two_hosts_at_once(
    begin: Begin, databases: PostgreSql, tmp_path: Path
) -> None:
    """Two copies of one outputs folder, told to one database at the same time."""
    import shutil

    uri = databases.make("hosts")
    ended(begin(*sweep_of("s", "tracking=none", runs=3)))
    for host in ("a", "b"):
        shutil.copytree(tmp_path / "outputs", tmp_path / host)
    for _ in range(2):
        telling: list[Any] = [
            begin("sync", str(tmp_path / host), f"tracking.uri={uri}") for host in ("a", "b")
        ]
        for process in telling:
            ended(process)
        whole(uri, tmp_path / "outputs/sweeps/s")
    ended(begin("sync", str(tmp_path / "a"), str(tmp_path / "b"), f"tracking.uri={uri}"))
    whole(uri, tmp_path / "outputs/sweeps/s")

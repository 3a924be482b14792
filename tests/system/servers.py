"""Real servers on this machine, each with a data folder of its own and ended by its process id."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

#: Whom Debian's package makes for the database, which refuses to run as root.
DATABASE_USER = "postgres"

#: Seconds that a server has to answer.
PATIENCE = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binaries() -> Path:
    """The newest PostgreSQL of Debian."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: p.parts[4])
    assert found, "PostgreSQL is missing: run tests/system/install-debian-packages"
    return found[-1].parent


@contextmanager
def postgresql() -> Iterator[PostgreSql]:
    """A database server on 127.0.0.1, with a password and a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="fwcompare-postgresql-"))
    made = PostgreSql(folder, free_port(), secrets.token_hex(8))
    try:
        made.create()
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class PostgreSql:
    """A server whose databases are thrown away."""

    folder: Path
    port: int
    password: str
    _process: subprocess.Popen[bytes] | None = None

    def uri(self, database: str) -> str:
        return f"postgresql://{DATABASE_USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        password = self.folder / "password"
        password.write_text(self.password)
        for path in (self.folder, password):
            shutil.chown(path, DATABASE_USER, DATABASE_USER)
        self._run(
            "initdb", "--pgdata", str(self.folder / "data"), "--auth=scram-sha-256",
            f"--pwfile={password}", f"--username={DATABASE_USER}", "--no-sync",
            "--encoding=UTF8", "--locale=C",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(binaries() / program), *arguments],
            check=True, user=DATABASE_USER, group=DATABASE_USER, extra_groups=[],
            cwd=self.folder, env={"PATH": os.environ["PATH"], "PGPASSWORD": self.password},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(binaries() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
             "-h", "127.0.0.1", "-k", str(self.folder), "-c", "fsync=off"],
            user=DATABASE_USER, group=DATABASE_USER, extra_groups=[], cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(subprocess.CalledProcessError):
                self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q")
                return
            time.sleep(0.2)
        raise AssertionError("PostgreSQL did not come up")

    def make(self, database: str) -> str:
        """A new database, and its URI."""
        self._run(
            "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", DATABASE_USER, database
        )
        return self.uri(database)

    def send(self, number: int) -> None:
        """Send a signal to the server and to all processes that serve its connections, each of
        which has a process group of its own."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        for process in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            if self._process.poll() is None:
                self.send(signal.SIGKILL)
                self._process.wait()
            self._process = None


@dataclass
class MlflowServer:
    """MLflow's own server on a database, as a team would run it."""

    backend: str
    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                 "--port", str(self.port), "--workers", "1"],
                env={
                    **os.environ,
                    "MLFLOW_BACKEND_STORE_URI": self.backend,
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                },
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as page:
                if page.status == 200:
                    return
            time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def send(self, number: int) -> None:
        """Send a signal to the server with its workers."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self.send(number)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            self._process.wait()
        with suppress(ProcessLookupError):
            self.send(signal.SIGKILL)  # a worker that has not heard
        self._process = None

"""The MLflow page on this machine, as a child process with a beginning and an end."""

from __future__ import annotations

import http
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from typing import IO

from fwcompare.errors import RequestError, RunError
from fwcompare.secrecy import hidden
from fwcompare.track import database
from fwcompare.track.connection import is_server, opening, prepare

#: Seconds a server has to answer for the first time; loading it takes two to ten.
START_SECONDS = 90.0

#: Seconds it has for ending by itself once it was asked to.
GRACE_SECONDS = 5.0


def serve_ui(uri: str, host: str = "127.0.0.1", port: int = 5000) -> subprocess.Popen[bytes]:
    """Serve the runs of a store at ``http://host:port`` and return when the page answers.

    One worker process and no job runner: the page is for the few people on this machine. End the
    server with ``end``.

    Raises:
        RequestError: the store is a server already or no database, or the port is taken.
        RunError: the server did not come up.
    """
    if is_server(uri):
        raise RequestError(f"The store is a server already: open {hidden(uri)} in a browser.")
    _require_free(host, port)
    prepare()
    path = database.sqlite_path(uri)
    if path is not None:
        uri = database.sqlite_uri(path)
        with opening(uri):
            database.ensure(path)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server",
             "--host", host, "--port", str(port), "--workers", "1"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # By environment and not by argument, for a URI may hold a password.
            env={
                **os.environ,
                "MLFLOW_LOGGING_LEVEL": "ERROR",  # what it says when it does not come up
                "MLFLOW_BACKEND_STORE_URI": uri,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            # Where a server puts artifacts that are sent through it.
            cwd=path.parent if path else None,
            start_new_session=True,
        )  # fmt: skip
        try:
            _await_health(server, host, port, log)
        except BaseException:
            end(server)
            raise
    return server


def end(server: subprocess.Popen[bytes]) -> None:
    """End a server with all the processes that it has started; gently first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(GRACE_SECONDS)


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(
                f"Port {port} on {host} cannot be used: {error.strerror}.",
                f"Another program may be there; port {_free_port()} is free.",
            ) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(server: subprocess.Popen[bytes], host: str, port: int, log: IO[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        if _healthy(host, port):
            return
        time.sleep(0.1)
    log.seek(0)
    tail = log.read().decode("utf-8", "replace").strip().splitlines()[-20:]
    code = server.returncode
    what = "does not answer" if code is None else f"ended with code {code}"
    raise RunError(f"The MLflow server on port {port} {what}.", hidden("\n".join(tail)))


def _healthy(host: str, port: int) -> bool:
    """Asked directly: a proxy of the environment would not know this machine's own address."""
    with closing(http.client.HTTPConnection(host, port, timeout=2)) as link:
        try:
            link.request("GET", "/health")
            return link.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

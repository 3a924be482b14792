"""MLflow with little patience and no chatter, and its failures as errors that say what to do."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from fwcompare.errors import RequestError, RunError

#: Set in this process unless the user has set them. With MLflow's own values a dead server holds a
#: run for minutes; the folder is safe, so there is nothing to wait for.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

_PASSWORD = re.compile(r"(?<=//)([^/@\s:]*):[^/@\s]+@")


def prepare() -> None:
    """Set MLflow up in this process; to be called before it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # It announces every retry, which the error at the end tells better.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def is_server(uri: str) -> bool:
    return uri.startswith(("http:", "https:"))


def require_answer(uri: str) -> None:
    """Try a database server once, which MLflow would do ten times in more than a minute."""
    if uri.startswith(("postgresql", "mysql", "mssql")):
        from sqlalchemy import create_engine

        engine = create_engine(uri)
        engine.connect().close()
        engine.dispose()


def shown(text: str) -> str:
    """Text as it may be printed: URIs without their passwords."""
    return _PASSWORD.sub(r"\1:***@", text)


@contextmanager
def opening(uri: str) -> Iterator[None]:
    """Tell a server that is away (``RunError``) from a URI that is wrong (``RequestError``)."""
    try:
        yield
    except _failures() as error:
        message = f"The tracking store {shown(uri)} cannot be opened: {_first_line(error)}"
        if is_server(uri):
            raise RunError(
                message,
                "Start the server or correct tracking.uri; runs made meanwhile come in with"
                " 'fwcompare sync'.",
            ) from error
        raise RequestError(
            message, "Correct tracking.uri, or leave MLflow out with tracking=none."
        ) from error


@contextmanager
def writing(uri: str, what: str) -> Iterator[None]:
    """Turn any failure of the store into a ``RunError``."""
    try:
        yield
    except _failures() as error:
        raise RunError(
            f"The tracking store {shown(uri)} did not take {what}: {_first_line(error)}",
            "Nothing is lost: the run folders hold it all. Bring it in later with"
            " 'fwcompare sync'.",
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """What MLflow raises when a store is wrong or away; a missing database driver is one too."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)


def _first_line(error: Exception) -> str:
    return shown((str(error).strip() or repr(error)).splitlines()[0])[:400]

"""MLflow with little patience and no chatter, and its failures as errors that say what to do."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from fwcompare.errors import RequestError, RunError
from fwcompare.secrecy import hidden

#: Set in this process unless the user has set them. With MLflow's own values a dead server holds a
#: run for minutes; the folder is safe, so there is nothing to wait for.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "PGCONNECT_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}

#: Servers that MLflow talks to by SQL.
_DATABASES = ("postgresql", "mysql", "mssql")

#: Number of the lock that is held while tables are made.
_MAKING = 0x66776D70


def prepare() -> None:
    """Set MLflow up in this process; to be called before it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # It announces every retry, which the error at the end tells better.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def is_server(uri: str) -> bool:
    return uri.startswith(("http:", "https:"))


@contextmanager
def alone_if_new(uri: str) -> Iterator[None]:
    """Try a database server once, which MLflow would do ten times in more than a minute; and while
    its tables are made let no other process, on whatever host, make them too.

    MLflow builds them in dozens of migrations, which fail where two do it at once.
    """
    if not uri.startswith(_DATABASES):
        yield
        return
    from sqlalchemy import create_engine, text

    engine = create_engine(uri)
    try:
        with engine.connect() as link:
            postgres = uri.startswith("postgresql")
            ready = "SELECT to_regclass('alembic_version') IS NOT NULL"
            if postgres and not link.execute(text(ready)).scalar():
                link.execute(text(f"SELECT pg_advisory_lock({_MAKING})"))  # let go with the link
            link.commit()
            yield
    finally:
        engine.dispose()


@contextmanager
def opening(uri: str) -> Iterator[None]:
    """Tell a server that is away (``RunError``) from a URI that is wrong (``RequestError``)."""
    try:
        yield
    except _failures() as error:
        message = f"The tracking store {hidden(uri)} cannot be opened: {_first_line(error)}"
        if isinstance(error, ImportError):
            raise RequestError(
                message, "Install the driver of this database, such as psycopg[binary]."
            ) from error
        if is_server(uri) or uri.startswith(_DATABASES):
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
            f"The tracking store {hidden(uri)} did not take {what}: {_first_line(error)}",
            "Nothing is lost: the run folders hold it all. Bring it in later with"
            " 'fwcompare sync'.",
        ) from error


def _failures() -> tuple[type[Exception], ...]:
    """What MLflow raises when a store is wrong or away; a missing database driver is one too."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)


def _first_line(error: Exception) -> str:
    return hidden((str(error).strip() or repr(error)).splitlines()[0])[:400]

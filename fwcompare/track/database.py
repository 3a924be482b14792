"""The local run table: one SQLite file, made whole or not at all."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Container
from contextlib import closing
from pathlib import Path

import psutil

from fwcompare.errors import RequestError
from fwcompare.limits import user_path
from fwcompare.locking import locked

_PREFIX = "sqlite:///"

#: File systems that machines share. SQLite's write-ahead log needs shared memory, which they lack.
_SHARED_FILE_SYSTEMS = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3",
}  # fmt: skip


def sqlite_uri(path: Path) -> str:
    """The tracking URI of a SQLite file; absolute, for a relative one would follow the process."""
    return _PREFIX + str(path.expanduser().absolute())


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite tracking URI, or None if the URI is of another kind.

    Raises:
        RequestError: the URI names no file, or one that releases of SQLAlchemy read differently.
    """
    if not uri.startswith("sqlite:"):
        return None
    path = uri.removeprefix(_PREFIX)
    if path in (uri, "") or path.startswith(":memory:") or "%" in path or "?" in path:
        raise RequestError(
            f"The tracking URI '{uri}' does not name a file that MLflow can open.",
            f"Write {_PREFIX}/absolute/path/mlflow.db, without '%' and '?'.",
        )
    return user_path(path).absolute()


def ensure(path: Path) -> None:
    """Make the run table if it is missing; of several processes one makes it and the others wait.

    MLflow builds its tables in dozens of migrations, and a process ended in between leaves a file
    that no later one can open. So they are built in a scratch folder and moved into place.

    Raises:
        RequestError: the file holds something else, or what another release of MLflow has made.
        OSError, sqlite3.Error: the file cannot be made or is no database. MLflow would try for
            more than a minute before it said so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with locked(path.with_name(path.name + ".lock"), "w"):
            if not path.exists():
                _make(path)
    with closing(sqlite3.connect(path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if tables:
            _require_own_schema(path, database, tables)


def _require_own_schema(path: Path, database: sqlite3.Connection, tables: Container[str]) -> None:
    """Refuse a file that this MLflow cannot read, or would change into one that others cannot.

    MLflow calls any other schema "out of date" and asks for an upgrade, which a newer one does not
    need; and in a file of somebody else it would make its tables.
    """
    import mlflow
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    own = f"MLflow {mlflow.__version__}"
    aside = "Or move the file away: 'fwcompare sync' makes a new one from the run folders."
    if "alembic_version" not in tables:
        raise RequestError(
            f"{path} is a SQLite file, but no MLflow store.", "Give tracking.uri another file."
        )
    found = {revision for (revision,) in database.execute("SELECT * FROM alembic_version")}
    known = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    if found == set(known.get_heads()):
        return
    try:
        for revision in found:
            known.get_revision(revision)
    except CommandError:
        raise RequestError(
            f"The MLflow store {path} was made by a newer release than {own}.",
            f"Install that release: pip install --upgrade mlflow. {aside}",
        ) from None
    raise RequestError(
        f"The MLflow store {path} was made by an older release than {own}.",
        f"Keep a copy and upgrade it: mlflow db upgrade {sqlite_uri(path)}. {aside}",
    )


def _make(path: Path) -> None:
    from mlflow.tracking import MlflowClient

    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="fwcompare-") as folder:
        scratch = Path(folder) / "mlflow.db"
        _write_ahead(scratch)  # halves the time of the migrations
        MlflowClient(sqlite_uri(scratch)).search_experiments(max_results=1)
        with closing(sqlite3.connect(scratch)) as database:
            database.execute("VACUUM INTO ?", (str(part),))
    if not _on_shared_file_system(path):
        _write_ahead(part)
    part.replace(path)


def _write_ahead(path: Path) -> None:
    """Let readers and a writer work at once; the file remembers it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")


def _on_shared_file_system(path: Path) -> bool:
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    nearest = next((mounts[parent] for parent in path.resolve().parents if parent in mounts), "")
    return nearest in _SHARED_FILE_SYSTEMS

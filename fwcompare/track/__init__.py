"""The run folders as MLflow shows them: a view that can be rebuilt at any time.

MLflow is imported inside functions, after the timed child has ended, and never in a worker.
"""

from fwcompare.track.conclusion import Conclusion
from fwcompare.track.database import sqlite_path, sqlite_uri
from fwcompare.track.entry import Entry, params_of
from fwcompare.track.replay import Synced, sync
from fwcompare.track.server import end, serve_ui
from fwcompare.track.store import Store, open_store

__all__ = [
    "Conclusion",
    "Entry",
    "Store",
    "Synced",
    "end",
    "open_store",
    "params_of",
    "serve_ui",
    "sqlite_path",
    "sqlite_uri",
    "sync",
]

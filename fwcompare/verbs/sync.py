"""Tell MLflow of runs that it does not know yet, from their folders; safe to repeat.

fwcompare sync
fwcompare sync --folder elsewhere/outputs tracking.uri=http://127.0.0.1:5000
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from fwcompare.arms import SWEEP_FILE
from fwcompare.compose import compose
from fwcompare.errors import RequestError
from fwcompare.record import RECORD_FILE
from fwcompare.tracker import store_uri

SUMMARY = "rebuild MLflow from the run folders"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help="options, such as tracking.uri=...")
    parser.add_argument("--folder", help="outputs folder to read (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    from fwcompare.track import open_store, sync

    made = compose(arguments.overrides)
    if made.tracking.name == "none":
        raise RequestError("tracking=none leaves MLflow out.", "Choose tracking=sqlite.")
    outputs = Path(arguments.folder).absolute() if arguments.folder else made.outputs
    sweeps = [path.parent for path in outputs.glob(f"sweeps/*/{SWEEP_FILE}")]
    folders = [path for path in outputs.glob("runs/*/") if (path / RECORD_FILE).is_file()]
    if not folders and not sweeps:
        raise RequestError(f"There are no runs in {outputs}.")
    store = open_store(
        store_uri(made.tracking, made.outputs),
        made.tracking.experiment or "fwcompare",
        made.outputs / "mlflow-artifacts" if made.tracking.uri is None else None,
    )
    done = sync([*sweeps, *folders], store)
    console = Console()
    console.print(f"MLflow knows {done.runs} runs and {done.sweeps} sweeps of {outputs}.")
    for folder in done.unfinished:
        console.print(f"Not ended yet: {folder}", style="dim", soft_wrap=True)
    for folder, reason in done.unreadable.items():
        console.print(f"Left out: {folder}: {reason}", style="yellow", soft_wrap=True)
    return 0

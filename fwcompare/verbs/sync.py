"""Tell MLflow of runs that it does not know yet, from their folders; safe to repeat.

fwcompare sync                                         everything in outputs/
fwcompare sync quickstart-20260101-120000              one sweep, or one run
fwcompare sync host1/outputs host2/outputs             everything in the outputs of several hosts
fwcompare sync --folder elsewhere/outputs tracking.uri=http://127.0.0.1:5000
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fwcompare.arms import SWEEP_FILE
from fwcompare.compose import compose
from fwcompare.conclusion import conclude
from fwcompare.errors import RequestError, unknown
from fwcompare.folders import all_runs
from fwcompare.limits import user_path
from fwcompare.outcome import outcome
from fwcompare.record import RECORD_FILE
from fwcompare.recovery import recover_all
from fwcompare.terminal import stdout
from fwcompare.track import Conclusion, sync
from fwcompare.tracker import finder, store

SUMMARY = "rebuild MLflow from the run folders"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "given",
        nargs="*",
        metavar="NAME|FOLDER|OPTION",
        help="sweeps and runs, by name or folder, or folders of them (all), and options such as "
        "tracking.uri=...",
    )
    parser.add_argument("--folder", help="outputs folder to read (paths.outputs)")


def run(arguments: argparse.Namespace) -> int:
    made = compose([given for given in arguments.given if "=" in given])
    if made.tracking.name == "none":
        raise RequestError("tracking=none leaves MLflow out.", "Choose tracking=sqlite.")
    outputs = user_path(arguments.folder).absolute() if arguments.folder else made.outputs
    names = [given for given in arguments.given if "=" not in given]
    folders = [f for name in names for f in _find(name, outputs)] if names else _all(outputs)
    folders = list(dict.fromkeys(folders))  # what is named twice is told once
    target = store(made.tracking, made.outputs)
    recover_all(outputs)
    done = sync(folders, target, _conclude)
    target.reconcile(finder(outputs))
    console = stdout()
    read = " and ".join(names) or outputs
    console.print(f"MLflow knows {done.runs} runs and {done.sweeps} sweeps of {read}.")
    for folder in done.unfinished:
        console.print(f"Not ended yet: {folder}", style="dim", soft_wrap=True)
    for folder, reason in done.unreadable.items():
        console.print(f"Left out: {folder}: {reason}", style="yellow", soft_wrap=True)
    return 0


def _all(outputs: Path) -> Sequence[Path]:
    """Every sweep and single run. Raises ``RequestError`` if there is none."""
    found = _inside(outputs)
    if not found:
        raise RequestError(f"There are no runs in {outputs}.")
    return found


def _inside(outputs: Path) -> list[Path]:
    sweeps = [path.parent for path in sorted(outputs.glob(f"sweeps/*/{SWEEP_FILE}"))]
    runs = [path for path in sorted(outputs.glob("runs/*/")) if (path / RECORD_FILE).is_file()]
    return [*sweeps, *runs]


def _find(name: str, outputs: Path) -> Sequence[Path]:
    """The folder of a sweep or a run, or those in an outputs folder.

    Raises:
        RequestError: there is none of this name, and no such folder.
    """
    places = {path.parent.name: path.parent for path in outputs.glob(f"sweeps/*/{SWEEP_FILE}")}
    places |= {path.name: path for path in all_runs(outputs)}
    if name in places:
        return [places[name]]
    folder = user_path(name)
    if (folder / SWEEP_FILE).is_file() or (folder / RECORD_FILE).is_file():
        return [folder]
    if inside := _inside(folder) or _inside(folder / "outputs"):
        return inside
    near = (unknown("name", name, places).hint or "").partition("Choose from")[0]
    raise RequestError(
        f"There is no sweep or run '{name}' in {outputs}.",
        f"{near}`fwcompare runs` lists them; an option is written KEY=VALUE.",
    )


def _conclude(folder: Path) -> Conclusion:
    found = outcome(folder)
    return conclude(folder, found.runs, found.comparisons)

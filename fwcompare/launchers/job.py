"""What a launcher's job does, wherever it was put: one cell, from its run folder to its record."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fwcompare import launch
from fwcompare.errors import FwcompareError, UnsupportedError
from fwcompare.launchers.cores import own_cores
from fwcompare.record import SPEC_FILE, RunRecord
from fwcompare.spec import RunSpec

#: In a sweep's folder: a word that only jobs of the newest command know. Jobs that an earlier one
#: has left in a queue find another word, and leave the cells alone.
WORD_FILE = "launched"


class Terminated(BaseException):
    """SIGTERM: the job was cancelled."""


class TimeLimit(BaseException):
    """The signal by which a launcher says that a job's time is nearly up."""


def run_cell(
    spec: RunSpec,
    folder: Path,
    listener: launch.Listener | None = None,
    cores: Sequence[int] | None = None,
    look: Callable[[], None] | None = None,
) -> RunRecord:
    """Run a cell; one that cannot even be started gets a record too."""
    try:
        return launch.run(spec, folder, listener, cores, look)
    except FwcompareError as error:
        status = "unsupported" if isinstance(error, UnsupportedError) else "failed"
        return launch.not_run(spec, folder, status, error.message)
    except Exception as error:  # a defect of ours in one cell must not end a night's sweep
        traceback.print_exception(error)
        return launch.not_run(spec, folder, "failed", f"{type(error).__name__}: {error}")


def run_folder(place: str, word: str) -> str:
    """Run the cell of a prepared run folder in this process of a launcher. Returns its status."""
    folder = Path(place)
    if not sees(folder.parent, word):
        return "left alone: another command runs this sweep now"
    done = RunRecord.read(folder)
    if done is not None:
        return done.status
    spec = RunSpec.read(folder / SPEC_FILE)
    with signals_raised(), own_cores(spec.cores) as cores:
        return run_cell(spec, folder, cores=cores).status


def sees(sweep: Path, word: str) -> bool:
    """Whether this process sees the folder of the sweep, as the command that runs it left it."""
    try:
        return (sweep / WORD_FILE).read_text(encoding="utf-8") == word
    except OSError:
        return False


@contextmanager
def signals_raised() -> Iterator[None]:
    """What a launcher says by signals becomes an exception: children are ended, a record left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ended(number: int, frame: FrameType | None) -> None:
        raise TimeLimit if number == signal.SIGUSR2 else Terminated

    before = {number: signal.signal(number, ended) for number in (signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

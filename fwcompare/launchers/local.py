"""Jobs of this machine: one after another, or several at a time by joblib.

A run is a process of its own in any case, so a thread that waits for it is all that a job needs. A
process for each job would add what can be killed with several cells in it, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from fwcompare import launch
from fwcompare.errors import RequestError
from fwcompare.launchers import Hearer, Job, Room, not_installed
from fwcompare.launchers.cores import own_cores
from fwcompare.launchers.job import run_cell
from fwcompare.record import RunRecord
from fwcompare.typed import convert

#: Seconds that runs have for ending once they were asked to.
_GRACE_SECONDS = 3 * launch.GRACE_SECONDS


def runs(count: int) -> str:
    return f"{count} run at a time" if count == 1 else f"{count} runs at a time"


class Local:
    """``hydra/launcher=basic`` and ``joblib``."""

    elsewhere = False
    listens = True

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        if name == "joblib" and find_spec("joblib") is None:
            raise not_installed(name)
        self.name = name
        self._wanted = 1
        if name == "joblib":
            self._wanted = convert(int, options.get("n_jobs"), "hydra.launcher.n_jobs")
        self._verbose = int(options.get("verbose") or 0)
        self._at_once = 1

    def room(self, threads: int, jobs: int) -> Room:
        self._at_once = max(1, min(self._slots(threads), jobs))
        return here(self._at_once, threads, "hydra.launcher.n_jobs=1")

    def _slots(self, threads: int) -> int:
        if self._wanted == 0:
            raise RequestError(
                "hydra.launcher.n_jobs must not be 0.",
                "-1 runs as many at a time as have cores of their own.",
            )
        if self._wanted > 0:
            return self._wanted
        # joblib counts from the number of cores, -1 being all of them; a run takes several.
        return (len(launch.physical_cores()) + 1 + self._wanted) // threads

    def run(self, jobs: Sequence[Job], hearer: Hearer) -> None:
        if self._at_once > 1:
            self._beside(jobs, hearer)
            return
        for job in jobs:
            hearer.begin(job.spec)
            hearer.ended(job.run, run_cell(job.spec, job.folder, _listener(hearer, job.run)))

    def _beside(self, jobs: Sequence[Job], hearer: Hearer) -> None:
        from joblib import Parallel, delayed

        crew = _Crew(hearer)
        parallel = Parallel(
            self._at_once,
            backend="threading",
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
            verbose=self._verbose,
        )
        with crew.ended_with_us():
            for job, record in parallel(delayed(crew.run)(job) for job in jobs):
                if record is not None:
                    with crew.turn:
                        hearer.ended(job.run, record)


class _Crew:
    """Threads that each wait for a run, and are told to end it when this process is."""

    def __init__(self, hearer: Hearer) -> None:
        self.hearer = hearer
        self.turn = threading.RLock()
        self._stopped_by: type[BaseException] | None = None
        self._running = 0
        self._changed = threading.Condition()

    def run(self, job: Job) -> tuple[Job, RunRecord | None]:
        """Run a job in this thread. No record where it was stopped."""
        with self._counted():
            if self._stopped_by is not None:
                return job, None
            with self.turn:
                self.hearer.begin(job.spec)
            try:
                with own_cores(job.spec.device.threads) as cores:
                    listener = _listener(self.hearer, job.run, self.turn)
                    return job, run_cell(job.spec, job.folder, listener, cores, self._look)
            except BaseException:  # it has left its record, and whoever stopped it goes on
                return job, None

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _look(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by

    @contextmanager
    def ended_with_us(self) -> Iterator[None]:
        """Whatever ends this block ends every run first."""
        try:
            yield
        except BaseException as error:
            self._stopped_by = type(error)
            with self._changed:
                self._changed.wait_for(lambda: not self._running, _GRACE_SECONDS)
            raise


def _listener(
    hearer: Hearer, run: str, turn: threading.RLock | None = None
) -> Callable[[dict[str, Any]], None]:
    def told(event: dict[str, Any]) -> None:
        if turn is None:
            hearer.event(run, event)
            return
        with turn:
            hearer.event(run, event)

    return told


def _cores(count: int) -> str:
    return f"{count} core" if count == 1 else f"{count} cores"


def here(at_once: int, threads: int, one: str) -> Room:
    """The room for jobs of this machine; ``one`` is the option that has one run at a time."""
    cores = len(launch.physical_cores())
    own = at_once == 1 or at_once * threads <= cores
    told = _cores(threads)
    words = runs(at_once)
    if at_once > 1:
        words += (
            f", each on {told} of its own"
            if own
            else f", {_cores(threads)} each, on {_cores(cores)}"
        )
    fitting = max(cores // at_once, 1)
    instead = f", give each cores of its own (device.threads={fitting})" if (
        fitting * at_once <= cores
    ) else ""  # fmt: skip
    return Room(at_once, own, words, f"Run one at a time ({one}){instead}")

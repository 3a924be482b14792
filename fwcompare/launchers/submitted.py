"""Jobs by submitit: processes of this machine, or jobs of a SLURM cluster.

The options are those of Hydra's plugin. Its own way of launching waits for the jobs in their order
and gives up at the first that has died, while the others still run; here each is waited for.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fwcompare import launch
from fwcompare.atomic import write_text
from fwcompare.errors import RequestError
from fwcompare.launchers import SWEEP_DIR, Hearer, Job, Room, not_installed
from fwcompare.launchers.job import WORD_FILE, run_folder
from fwcompare.launchers.local import here
from fwcompare.record import RECORD_FILE, RunRecord, plain

#: Seconds between two looks at what has ended, and between two questions to SLURM.
_LOOK_SECONDS, _ASK_SECONDS = 0.5, 5.0

#: Seconds that a shared file system may take to show what a job has left.
_SHOWN_SECONDS = 15.0

#: Seconds that cancelled jobs have for leaving their records.
_GRACE_SECONDS = 10.0

#: Jobs that are submitted together; SLURM takes a thousand in one array unless told otherwise.
_ARRAY = 500

#: Options of every executor; the others are one's own and bear its name in front.
_SHARED = (
    *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name"),
    "stderr_to_stdout",
)


@dataclass
class _Sent:
    """A job that was submitted."""

    job: Job
    handle: Any
    begun: bool = False
    #: When it was first seen to have ended without a result; 0.0: it goes on.
    missed: float = 0.0


class Submitted:
    """``hydra/launcher=submitit_local`` and ``submitit_slurm``."""

    listens = False

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        if find_spec("submitit") is None:
            raise not_installed(name)
        self.name = name
        self.cluster = name.removeprefix("submitit_")
        self.elsewhere = self.cluster == "slurm"
        self.options = dict(options)
        self._at_once = self._threads = 1

    def room(self, threads: int, jobs: int) -> Room:
        self._threads = threads
        for option in ("nodes", "tasks_per_node"):
            if self.options.get(option) not in (None, 1):
                raise RequestError(
                    f"hydra.launcher.{option}={self.options[option]}: a run is one process.",
                    f"Leave it out, or set hydra.launcher.{option}=1.",
                )
        if not self.elsewhere:
            # submitit would start them all at once.
            self._at_once = max(1, min(len(launch.physical_cores()) // threads, jobs))
            return here(self._at_once, threads, f"device.threads={len(launch.physical_cores())}")
        self._require_slurm()
        return self._allocation()

    @staticmethod
    def _require_slurm() -> None:
        from shutil import which

        if which("sbatch") is None or which("squeue") is None:
            raise RequestError(
                "hydra/launcher=submitit_slurm: there is no SLURM here, for sbatch is not on PATH.",
                "Give the command on a node of the cluster that may submit jobs.",
            )
        try:
            said = subprocess.run(
                ["squeue", "--noheader", "--me"], capture_output=True, text=True, timeout=30
            )
            reason = "" if said.returncode == 0 else said.stderr.strip().splitlines()[-1]
        except (OSError, subprocess.TimeoutExpired, IndexError) as error:
            reason = str(error) or "squeue failed"
        if reason:
            raise RequestError(
                f"hydra/launcher=submitit_slurm: SLURM does not answer: {reason}",
                "`sinfo` tells whether its controller runs.",
            )

    def _allocation(self) -> Room:
        """A job's cores are its allocation."""
        more = self.options.get("additional_parameters") or {}
        exclusive = "exclusive" in more
        cpus = self.options.get("cpus_per_task")
        own = exclusive or cpus is None or cpus >= self._threads
        most = self.options.get("array_parallelism")
        count = cpus or self._threads
        told = "a node of its own" if exclusive else f"{count} CPU{'s' if count > 1 else ''}"
        return Room(
            None,
            own,
            f"as many runs at a time as SLURM has room for, {most} at most, each with {told}",
            f"Leave out hydra.launcher.cpus_per_task, which then is {self._threads}, or have whole "
            "nodes: +hydra.launcher.additional_parameters.exclusive=true",
        )

    def run(self, jobs: Sequence[Job], hearer: Hearer) -> None:
        sweep = jobs[0].folder.parent
        word = secrets.token_hex(8)
        write_text(sweep / WORD_FILE, word)
        sent: list[_Sent] = []
        with cancelled_with_us(sent, self.elsewhere):
            executor = self._executor(sweep)
            queue = list(jobs)
            waiting = _Slurm() if self.elsewhere else None
            while queue or sent:
                room = _ARRAY if self.elsewhere else self._at_once - len(sent)
                now, queue = queue[:room], queue[room:]
                if now:
                    sent += _submitted(executor, now, word)
                for one in [one for one in sent if _ended(one, hearer, waiting)]:
                    sent.remove(one)
                if sent:
                    time.sleep(_LOOK_SECONDS + len(sent) / 1000)

    def _executor(self, sweep: Path) -> Any:
        import submitit

        folder = str(self.options["submitit_folder"]).replace(SWEEP_DIR, str(sweep))
        own = {name: self.options.get(name) for name in self.options}
        for name in ("_target_", "submitit_folder"):
            own.pop(name, None)
        own["cpus_per_task"] = own.get("cpus_per_task") or self._threads
        if self.elsewhere:  # a step of a job has one CPU unless it is told again
            own["srun_args"] = [f"--cpus-per-task={own['cpus_per_task']}"]
        retries = own.pop("max_num_timeout", 0)
        at_start = {f"{self.cluster}_max_num_timeout": retries} if self.elsewhere else {}
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **at_start)
        try:
            executor.update_parameters(
                **{n if n in _SHARED else f"{self.cluster}_{n}": v for n, v in own.items()}
            )
        except (NameError, ValueError, TypeError) as error:
            raise RequestError(f"hydra.launcher: {error}") from error
        return executor


def _submitted(executor: Any, jobs: Sequence[Job], word: str) -> list[_Sent]:
    """Submit jobs. Raises ``RequestError`` where SLURM takes none."""
    from submitit.core.utils import FailedJobError

    places = [str(job.folder) for job in jobs]
    try:
        handles = executor.map_array(run_folder, places, [word] * len(places))
    except (FailedJobError, OSError, subprocess.SubprocessError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        raise RequestError(f"SLURM took no job: {lines[-1].strip()}") from error
    return [_Sent(job, handle) for job, handle in zip(jobs, handles, strict=True)]


def _ended(one: _Sent, hearer: Hearer, slurm: _Slurm | None) -> bool:
    """Look at a job; tell of its beginning and its end."""
    folder = one.job.folder
    if not one.begun and (folder / "events.jsonl").exists():
        one.begun = True
        hearer.begin(one.job.spec)
    finished = one.handle.paths.result_pickle.exists()
    if not finished:
        gone = slurm.gone(one.handle.job_id) if slurm else one.handle.done()
        if not gone:
            return False
        one.missed = one.missed or time.monotonic()
        recent = time.monotonic() - one.missed < _SHOWN_SECONDS
        if slurm and recent and not (folder / RECORD_FILE).exists():
            return False
    record = RunRecord.read(folder)
    hearer.ended(one.job.run, record, "" if record else _why(one.handle))
    return True


def _why(handle: Any) -> str:
    """What a job says for itself that left no record; not by its result, which is a pickle."""
    lines: list[str] = []
    with suppress(Exception):  # whatever submitit makes of files that are not there
        lines = (handle.stderr() or "").strip().splitlines()
    last = f": {plain(lines[-1])}" if lines else ""
    return f"the launcher's job {handle.job_id} ended without a record{last}"


class _Slurm:
    """Which jobs SLURM still has; asked now and then, for all at once.

    ``sacct``, which submitit asks, needs accounting, and many a cluster has none.
    """

    def __init__(self) -> None:
        self._there: set[str] | None = None
        #: Looks that did not find a job.
        self._missing: dict[str, int] = {}
        self._asked = 0.0
        self._looks = 0

    def gone(self, job_id: str) -> bool:
        """Whether two answers in a row did not name a job."""
        if time.monotonic() - self._asked > _ASK_SECONDS:
            self._ask()
        if self._there is None or job_id in self._there:
            self._missing.pop(job_id, None)
            return False
        first = self._missing.setdefault(job_id, self._looks)
        return self._looks > first

    def _ask(self) -> None:
        self._asked = time.monotonic()
        command = ["squeue", "--noheader", "--me", "--array", "--format=%i"]
        try:
            told = subprocess.run(
                command, capture_output=True, text=True, timeout=60, check=True, env=os.environ
            )
        except (OSError, subprocess.SubprocessError):
            return  # a controller that is away has lost no job
        self._there = set(told.stdout.split())
        self._looks += 1


def cancel(handles: Sequence[Any], slurm: bool) -> None:
    """Cancel jobs; a controller that is away is not waited for long."""
    if slurm and handles:
        ids = [str(handle.job_id) for handle in handles]
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["scancel", *ids], timeout=_GRACE_SECONDS, check=False)
        return
    for handle in handles:
        with suppress(Exception):
            handle.cancel(check=False)


@contextmanager
def cancelled_with_us(sent: list[_Sent], slurm: bool) -> Iterator[None]:
    """Whatever ends this block cancels what was submitted, and waits for its records a moment."""
    try:
        yield
    except BaseException:
        cancel([one.handle for one in sent], slurm)
        until = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < until and any(launch.is_held(one.job.folder) for one in sent):
            time.sleep(_LOOK_SECONDS)
        raise

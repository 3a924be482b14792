"""In the parent: start the child, wait without spinning, classify its end."""

from __future__ import annotations

import atexit
import fcntl
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from fwcompare.errors import RequestError, RunError
from fwcompare.graph import draw, load, save
from fwcompare.locking import locked
from fwcompare.plugin import Front, front, meeting
from fwcompare.probe import clock
from fwcompare.ranks import NOTICE_SECONDS, RANKS, Ranks, free_ports
from fwcompare.record import (
    EVENTS_FILE,
    INITIAL_WEIGHTS,
    LOG_FILE,
    SPEC_FILE,
    STATUSES,
    RunRecord,
    log_tail,
    now_ms,
    plain,
    read_events,
)
from fwcompare.secrecy import ordinary
from fwcompare.spec import RunSpec
from fwcompare.worker import CORES, LAUNCHED_AT, PARENT, lacks_memory

Listener = Callable[[dict[str, Any]], None]


class Pruned(Exception):
    """Raised by a listener to end its run; the message is the reason in the record."""


#: Seconds between two looks at the event file; the parent sleeps in between.
LOOK_SECONDS = 0.2

#: Seconds that a child has for ending by itself once it was asked to.
GRACE_SECONDS = 3.0

#: Kept free in each run folder while the run goes on: on a full disk there is room for its record.
RESERVE_BYTES = 1 << 18
RESERVE_FILE = "reserve"

#: Seconds that ranks have for ending by themselves once one of them has ended badly: as long as a
#: rank waits for its framework to notice, and some for its record.
RANKS_GRACE_SECONDS = NOTICE_SECONDS + 5.0

#: Folder in a run folder with one for each of its ranks but the first of this machine.
RANKS_FOLDER = "ranks"

#: Events and lines of the log that go into the record of a run that is not ok.
LAST_EVENTS = 5
LAST_LINES = 20

#: Signals that a process gets by its own doing.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")

#: The rooms of the core that travel to another interpreter; none imports Hydra or MLflow.
WORKER_ROOMS = (
    "__init__.py",
    "errors.py",
    "limits.py",
    "atomic.py",
    "graph",
    "spec.py",
    "checkpoint.py",
    "typed.py",
    "record.py",
    "summary.py",
    "metrics.py",
    "probe.py",
    "ranks.py",
    "footprint.py",
    "xla.py",
    "machine.py",
    "gpu.py",
    "work.py",
    "data/__init__.py",
    "data/augment.py",
    "data/batches.py",
    "data/rows.py",
    "data/stream.py",
    "data/tokenizers.py",
    "samples.py",
    "plugin.py",
    "parity/__init__.py",
    "parity/trace.py",
    "audit/__init__.py",
    "audit/settings.py",
    "audit/initialisers.py",
    "conformance/__init__.py",
    "conformance/bench.py",
    "conformance/checks.py",
    "conformance/dropout.py",
    "conformance/export.py",
    "conformance/pace.py",
    "conformance/probing.py",
    "conformance/resumption.py",
    "exporting.py",
    "native/__init__.py",
    "native/code.py",
    "native/mapping.py",
    "native/template.py",
    "worker.py",
)

#: Variables of the caller's Python that must not reach another interpreter.
_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that hold any numerical library to ``threads`` threads.

    JAX ignores all but NPROC and the affinity, which the worker sets for itself.
    """
    names = (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NPROC",
    )
    return dict.fromkeys(names, str(threads))


def physical_cores() -> list[int]:
    """One logical core of each physical core that this process may use, in order."""
    seen: dict[tuple[str, str], int] = {}
    for core in sorted(os.sched_getaffinity(0)):
        topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
        try:
            place = (
                (topology / "physical_package_id").read_text(),
                (topology / "core_id").read_text(),
            )
        except OSError:
            place = ("", str(core))
        seen.setdefault(place, core)
    return list(seen.values())


def worker_cores(threads: int) -> list[int]:
    """The cores that a worker gets: the last physical ones, which leaves the first to others."""
    physical = physical_cores()
    others = sorted(os.sched_getaffinity(0) - set(physical))
    return (physical[::-1] + others)[:threads]


def rank_cores(given: Sequence[int], threads: int, local_rank: int) -> list[int]:
    """Of the cores of all ranks of this machine those of one: its own, as far as there are
    enough."""
    first = local_rank * threads
    return [given[number % len(given)] for number in range(first, first + threads)]


def all_ranks(spec: RunSpec) -> list[Ranks]:
    """The processes of this machine, for a run of several; empty for a run of one.

    Raises:
        OSError: there is no port left.
    """
    work = spec.distributed
    if not work.meets:
        return []
    hosts = work.hosts or ("127.0.0.1",)
    each = work.processes // len(hosts)
    if work.port is None:
        ports = free_ports(1 + work.processes, hosts[0])
    else:
        ports = list(range(work.port, work.port + 1 + work.processes))
    addresses = tuple(f"{hosts[rank // each]}:{port}" for rank, port in enumerate(ports[1:]))
    return [
        Ranks(rank, work.processes, f"{hosts[0]}:{ports[0]}", addresses, number, each, work.meet_s)
        for number, rank in enumerate(work.local_ranks)
    ]


def environment(
    spec: RunSpec,
    engine: Front,
    cores: Sequence[int] | None = None,
    ranks: Ranks | None = None,
) -> dict[str, str]:
    """The whole environment of a worker, one of several perhaps; ``cores`` as ``run`` takes
    them."""
    own = ordinary(os.environ)
    if spec.framework.python:
        for name in _PYTHON_VARIABLES:
            own.pop(name, None)
    count = ranks.local_count if ranks else 1
    taken = worker_cores(spec.device.threads * count) if cores is None else cores
    together: Mapping[str, str] = {}
    if ranks is not None:
        if taken:
            taken = rank_cores(taken, spec.device.threads, ranks.local_rank)
        meet = meeting(engine)
        together = {RANKS: ranks.to_json(), **(meet(ranks) if meet else {})}
    return {
        **own,
        **thread_environment(spec.device.threads),
        **engine.environment(spec),
        **together,
        CORES: ",".join(map(str, taken)),
        LAUNCHED_AT: repr(clock()),
        PARENT: str(os.getpid()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",
    }


def worker_command(spec: RunSpec) -> list[str]:
    """The command that starts the worker, but for its argument."""
    if spec.framework.python is None:
        return [sys.executable, "-m", "fwcompare.worker"]
    return [spec.framework.python, str(_bundle(spec.framework.packages))]


def _bundle(packages: tuple[str, ...]) -> Path:
    """A zip of the worker's rooms and the plugin, for an interpreter that has neither.

    Raises:
        RequestError: a package of the plugin cannot be found here.
    """
    import importlib.util

    core = Path(__file__).parent
    members: dict[str, Path] = {}
    for room in WORKER_ROOMS:
        path = core / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            members[f"fwcompare/{file.relative_to(core)}"] = file
    for package in packages:
        found = importlib.util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise RequestError(f"The plugin package '{package}' cannot be found.")
        root = Path(next(iter(found.submodule_search_locations)))
        for file in sorted(root.rglob("*.py")):
            members[f"{package}/{file.relative_to(root)}"] = file
    folder = Path(tempfile.mkdtemp(prefix="fwcompare-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # its workers have ended by then
    target = folder / "worker.pyz"
    with zipfile.ZipFile(target, "w") as archive:
        for name, file in members.items():
            archive.write(file, name)
        archive.writestr(
            "__main__.py",
            "import os, sys\nfrom fwcompare.worker import main\n"
            "code = main(sys.argv[1:])\nsys.stdout.flush()\nsys.stderr.flush()\nos._exit(code)\n",
        )
    return target


def prepare(spec: RunSpec, folder: Path) -> None:
    """Make a run folder: the spec, and the initial weights in the run's floating-point type.

    Raises:
        RequestError: ``init.source`` cannot be read or is of another model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec.write(folder / SPEC_FILE)
    init, graph = spec.init, spec.model.graph
    if init.source:
        weights = load(Path(init.source), graph)
    else:
        weights = draw(graph, init.name, init.distribution, init.gain, spec.seed)
    dtype = spec.dtype
    save({name: array.astype(dtype) for name, array in weights.items()}, folder / INITIAL_WEIGHTS)


def run(
    spec: RunSpec,
    folder: Path,
    listener: Listener | None = None,
    cores: Sequence[int] | None = None,
    look: Callable[[], None] | None = None,
    do: Sequence[str] = (),
) -> RunRecord:
    """Run a spec in a fresh process and return its record; every end leaves a record.

    ``listener`` is told of events as they come. ``cores`` are those of the worker: None for the
    last ones, none at all for whichever the system gives. ``look`` is called a few times a second;
    what it raises ends the run. ``do`` are other arguments for the worker, such as ``--trace``.
    Where not even a record can be written, the one that is returned says so.

    Raises:
        RequestError: the interpreter cannot be started, or the weights do not fit.
        KeyboardInterrupt: passed on after the child has been ended and its record written.
    """
    engine = front(spec.framework.name)
    started_ms = now_ms()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / LOG_FILE).open("ab")
    except OSError as error:
        return _not_begun(spec, folder, started_ms, error)
    with log, locked(folder / LOG_FILE, "rb"):  # see is_held
        try:
            prepare(spec, folder)
            _reserve(folder)
        except OSError as error:
            return _not_begun(spec, folder, started_ms, error)
        except MemoryError as error:
            why = f"MemoryError: the initial weights: {error or 'there is not enough memory'}"
            record = RunRecord(spec.run, "out_of_memory", why, started_ms, now_ms())
            return kept(record, folder)
        watching = _Watching(folder / EVENTS_FILE, spec.training.timeout_s, listener, look)
        starting = _Starting(spec, engine, cores, do)
        return _watched(starting, folder, started_ms, log, watching)


def _not_begun(spec: RunSpec, folder: Path, started_ms: int, error: OSError) -> RunRecord:
    """The record of a run that could not even be prepared."""
    _release(folder)
    reason = f"the run folder cannot be written: {error.strerror or error}"
    return kept(RunRecord(spec.run, "failed", reason, started_ms, now_ms()), folder)


def not_run(spec: RunSpec, folder: Path, status: str, reason: str) -> RunRecord:
    """The record of a run that could not be started."""
    now = now_ms()
    return kept(RunRecord(spec.run, status, plain(reason.splitlines()[0]), now, now), folder)


@dataclass(frozen=True)
class _Watching:
    """What is looked at while a child goes on, and who is told."""

    events: Path
    timeout_s: float
    listener: Listener | None
    look: Callable[[], None] | None


@dataclass(frozen=True)
class _Member:
    """A worker that runs: the only one of its run, or one of the ranks of this machine."""

    child: subprocess.Popen[bytes]
    folder: Path
    ranks: Ranks | None = None


@dataclass(frozen=True)
class _Starting:
    """All that workers are started with."""

    spec: RunSpec
    engine: Front
    cores: Sequence[int] | None
    do: Sequence[str]

    def one(self, folder: Path, log: IO[bytes], ranks: Ranks | None = None) -> _Member:
        """Raises ``RequestError`` where the interpreter cannot be started."""
        try:
            child = subprocess.Popen(
                [*worker_command(self.spec), *self.do, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(self.spec, self.engine, self.cores, ranks),
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise RequestError(
                f"The interpreter {self.spec.framework.python} cannot be started: "
                f"{error.strerror}.",
                "Give framework.python the path of a Python 3.10 or newer.",
            ) from error
        return _Member(child, folder, ranks)

    def all(self, folder: Path, log: IO[bytes], members: list[_Member]) -> None:
        """Start the one worker, or every rank of this machine, each in a folder of its own."""
        found = all_ranks(self.spec)
        for ranks in found:
            if not ranks.local_rank:
                members.append(self.one(folder, log, ranks))
                continue
            own = folder / RANKS_FOLDER / str(ranks.rank)
            (own / INITIAL_WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
            for name in (SPEC_FILE, INITIAL_WEIGHTS):
                (own / name).unlink(missing_ok=True)
                try:
                    os.link(folder / name, own / name)
                except OSError:  # not every file system has links
                    shutil.copyfile(folder / name, own / name)
            with (own / LOG_FILE).open("ab") as own_log:
                members.append(self.one(own, own_log, ranks))
        if not found:
            members.append(self.one(folder, log))


def _watched(
    starting: _Starting,
    folder: Path,
    started_ms: int,
    log: IO[bytes],
    watching: _Watching,
) -> RunRecord:
    """Start the workers, wait for their end, and settle what that was."""
    kills = _out_of_memory_kills()
    spec = starting.spec
    members: list[_Member] = []
    first: _Member | None = None
    code: int | None = None
    reason, pruned = "", False
    try:
        try:
            starting.all(folder, log, members)
        except RequestError:
            _release(folder)
            raise
        except OSError as error:
            for member in members:
                _end(member.child)
            members.clear()
            return _not_begun(spec, folder, started_ms, error)
        first = _wait(members, watching)
        code = first.child.returncode if first else None
        if first is None:
            reason = f"no end after trainer.timeout_s={spec.training.timeout_s:g} s"
    except RequestError:
        for member in members:
            _end(member.child)
        raise
    except Pruned as decided:
        reason, pruned = str(decided), True
    except BaseException as error:
        reason = f"ended by {_words(error)}"
        raise
    finally:
        if members:
            for member in members:
                _end(member.child)
            if code == -signal.SIGKILL and _out_of_memory_kills() > kills:
                reason = "the worker was ended by the system's out-of-memory killer (SIGKILL)"
            record = _settle(spec, folder, started_ms, code, reason, first)
    if pruned and not record.ok:
        record = kept(replace(record, status="pruned", reason=reason), folder)
    return record


def _words(error: BaseException) -> str:
    """What ended a run from outside, as a person calls it."""
    known = {
        "KeyboardInterrupt": "Ctrl-C",
        "Terminated": "SIGTERM",
        "TimeLimit": "the time limit of its launcher",
    }
    return known.get(type(error).__name__, type(error).__name__)


def is_held(folder: Path) -> bool:
    """Whether a process watches over the run of this folder, so that it may still go on.

    It holds a lock on the log; the system lets go of it when that process ends, whatever ends it.
    """
    if not (folder / LOG_FILE).is_file():
        return False  # opening a pipe would wait for who writes into it
    try:
        with (folder / LOG_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _out_of_memory_kills() -> int:
    """How many processes the system has ended so far because memory was short."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _wait(members: Sequence[_Member], watching: _Watching) -> _Member | None:
    """The worker by whose end the run is to be judged: the only one, of several the first that
    ended badly, or the leading one where none did. None if the time is up."""
    deadline = clock() + watching.timeout_s
    # Popen.wait with a timeout wakes up twenty times a second; the kernel's own word costs nothing.
    ended = {os.pidfd_open(member.child.pid): member for member in members}
    poller = select.poll()
    for descriptor in ended:
        poller.register(descriptor, select.POLLIN)
    try:
        return _watch_events(ended, poller, deadline, watching)
    finally:
        for descriptor in ended:
            os.close(descriptor)


def _watch_events(
    ended: Mapping[int, _Member], poller: select.poll, deadline: float, watching: _Watching
) -> _Member | None:
    listener, look = watching.listener, watching.look
    offset = 0
    running = dict(ended)
    leading = next(iter(ended.values()))
    bad: list[_Member] = []
    while True:
        # Where nobody listens nothing needs looking at before the end.
        left = max(deadline - clock(), 0.0)
        pause = min(LOOK_SECONDS, left) if listener or look else left
        for descriptor, _ in poller.poll(math.ceil(pause * 1e3)):
            member = running.pop(descriptor)
            poller.unregister(descriptor)
            if member.child.wait():
                bad.append(member)
                deadline = min(deadline, clock() + RANKS_GRACE_SECONDS)
        if listener:
            for event, behind in read_events(watching.events, offset):
                listener(event)
                offset = behind
        if not running or clock() >= deadline:
            bad.sort(key=_consequence)
            return bad[0] if bad else None if running else leading
        if look:
            look()


def _consequence(member: _Member) -> int:
    """How likely it is that a rank ended because of another: not at all by a signal, and for sure
    where it says so."""
    if member.child.returncode < 0:
        return 0
    record = RunRecord.read(member.folder)
    return 2 if record is not None and "has gone" in record.reason else 1


def _end(child: subprocess.Popen[Any]) -> None:
    """End the child's whole process group, gently first; at once where that is interrupted."""
    if child.poll() is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # what it may have started
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
                break
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _settle(
    spec: RunSpec,
    folder: Path,
    started_ms: int,
    code: int | None,
    reason: str,
    first: _Member | None = None,
) -> RunRecord:
    """The worker's own record or, where it left none, one made from what is there.

    ``first`` is the worker by whose end a run is judged, one of several ranks perhaps.
    """
    _release(folder)
    record = RunRecord.read(folder)
    if first is not None and first.folder != folder and code:
        return _of_rank(spec, folder, started_ms, code, reason, first, record)
    if record is not None and record.ok:
        return record
    if record is None:
        status, reason = _classify(code, reason, log_tail(folder))
        record = _from_events(spec, folder, started_ms, status, reason)
    return kept(_with_tails(record, folder), folder)


def _of_rank(
    spec: RunSpec,
    folder: Path,
    started_ms: int,
    code: int,
    reason: str,
    first: _Member,
    record: RunRecord | None,
) -> RunRecord:
    """The record of a run that another rank than the leading one has ended."""
    own = RunRecord.read(first.folder)
    if own is not None and not own.ok:
        status, reason = own.status, own.reason
    else:
        status, reason = _classify(code, reason, log_tail(first.folder))
    record = record or _from_events(spec, folder, started_ms, status, reason)
    assert first.ranks is not None
    reason = f"rank {first.ranks.rank} of {first.ranks.count}: {reason}"
    ended = replace(
        _with_tails(record, folder),
        status=status,
        reason=reason,
        log_tail=log_tail(first.folder, LAST_LINES),
    )
    return kept(ended, folder)


def _classify(code: int | None, reason: str, tail: Sequence[str]) -> tuple[str, str]:
    """Status and reason of a worker that left no record."""
    if code is None:
        return ("timeout" if reason.startswith("no end") else "killed"), reason
    if code >= 0:
        status, reason = "failed", f"the worker ended with exit code {code} and no record"
    elif reason:
        status = "out_of_memory"
    else:
        name = signal.Signals(-code).name
        status = "failed" if name in _CRASHES else "killed"
        reason = f"the worker was ended by {name}"
    if status == "failed" and any(map(lacks_memory, tail[-LAST_EVENTS:])):
        status = "out_of_memory"
    return status, f"{reason}: {tail[-1]}" if tail else reason


def _with_tails(record: RunRecord, folder: Path) -> RunRecord:
    """The record of a run that is not ok, with the end of its events and of its log."""
    events = [event for event, _ in read_events(folder / EVENTS_FILE)]
    return replace(record, last_events=events[-LAST_EVENTS:], log_tail=log_tail(folder, LAST_LINES))


def kept(record: RunRecord, folder: Path) -> RunRecord:
    """Write a record. Where that fails, the one that is returned says so."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        record.write(folder)
        return RunRecord.read(folder) or record
    except OSError as error:
        why = f"its record cannot be written to {folder}: {error.strerror or error}"
        return replace(record, reason=f"{record.reason}; {why}")


def _reserve(folder: Path) -> None:
    """Keep room for the record. Raises ``OSError`` where there is none."""
    with (folder / RESERVE_FILE).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)


def _release(folder: Path) -> None:
    """Give back the room that was kept for the record."""
    with suppress(OSError):
        (folder / RESERVE_FILE).unlink()


def recover(folder: Path) -> RunRecord | None:
    """Make the record of a run whose parent died before it could.

    None where there is nothing to recover: the run has its record, may still go on, or never had a
    spec.
    """
    if RunRecord.read(folder) is not None or is_held(folder):
        return None
    try:
        spec = RunSpec.read(folder / SPEC_FILE)
    except RequestError:
        return None
    events = [event for event, _ in read_events(folder / EVENTS_FILE)]
    if not events and not (folder / LOG_FILE).exists():
        return None  # prepared, and never begun
    _release(folder)
    times = [int(event.get("time_ms", 0)) for event in events]
    times = times or [int((folder / SPEC_FILE).stat().st_mtime * 1e3)]
    status, reason = "killed", "cut off: the process that watched over it has died"
    if events and events[-1]["event"] == "end":
        status, reason = str(events[-1].get("status")), str(events[-1].get("reason"))
        if status not in STATUSES or status == "ok":
            status, reason = "killed", "it had come to its end, but its record is lost"
    record = _from_events(spec, folder, times[0], status, reason)
    return kept(_with_tails(replace(record, ended_ms=times[-1]), folder), folder)


def _from_events(
    spec: RunSpec, folder: Path, started_ms: int, status: str, reason: str
) -> RunRecord:
    """A record of a run that could not write its own, with all its events tell."""
    record = RunRecord(
        run=spec.run,
        status=status,
        reason=reason,
        started_ms=started_ms,
        ended_ms=now_ms(),
        versions=spec.versions,
    )
    metrics: dict[str, float] = {}
    for event, _ in read_events(folder / EVENTS_FILE):
        with suppress(KeyError, TypeError, ValueError):  # a line that no worker of ours wrote
            if event["event"] == "epoch":
                record.history.append({"epoch": event["epoch"], **event["metrics"]})
                metrics |= event["metrics"]
            elif event["event"] == "blocks":
                record.blocks.extend((event["epoch"], *block) for block in event["blocks"])
            elif event["event"] == "phase":
                name, seconds, peak = event["name"], event["seconds"], event["peak_rss_bytes"]
                phase = record.phases.setdefault(name, {"seconds": 0.0, "peak_rss_bytes": 0})
                phase["seconds"] += seconds
                phase["peak_rss_bytes"] = peak
    return replace(record, metrics=metrics)


def warm_environment(spec: RunSpec) -> dict[str, str]:
    """A worker's environment without what only timing needs: its start, and cores of its own.

    Were they all bound to the cores that a timed worker gets, warm workers would share one.
    """
    whole = environment(spec, front(spec.framework.name))
    timed = (LAUNCHED_AT, CORES, PARENT)
    return {name: value for name, value in whole.items() if name not in timed}


class WarmWorker:
    """A child that runs many specs, one after another: for proofs and tests, never for timing.

    All its specs must need the same environment.
    """

    def __init__(self, spec: RunSpec) -> None:
        self.environment = self.variables(spec)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the worker
        self._child = subprocess.Popen(
            [*worker_command(spec), "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=warm_environment(spec),
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def variables(spec: RunSpec) -> Mapping[str, str]:
        """What must be the same for two specs to share a worker."""
        engine = front(spec.framework.name)
        own = {**engine.environment(spec), "python": spec.framework.python or ""}
        return own | thread_environment(spec.device.threads)

    def run(self, spec: RunSpec, folder: Path) -> RunRecord:
        """Run one spec. Raises ``RunError`` if the worker is gone."""
        spec.write(folder / SPEC_FILE)
        self.request(do="run", folder=str(folder))
        record = RunRecord.read(folder)
        if record is None:
            raise RunError(f"A warm worker left no record in {folder}.", self.log_tail())
        return record

    def request(self, **request: Any) -> dict[str, str]:
        """Send one request and wait for its reply. Raises ``RunError`` if the worker is gone."""
        assert self._child.stdin and self._child.stdout
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
            reply = self._child.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            raise RunError("A warm worker ended before its reply.", self.log_tail())
        answer: dict[str, str] = json.loads(reply)
        return answer

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the worker printed."""
        # Not by seek and read: the child writes at the same offset.
        text = os.pread(self._log.fileno(), 10_000_000, 0).decode("utf-8", "replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    def close(self) -> None:
        """End the worker."""
        if self._child.stdin:
            with suppress(BrokenPipeError):
                self._child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(GRACE_SECONDS)
        _end(self._child)
        if self._child.stdout:
            self._child.stdout.close()
        self._log.close()

    def __enter__(self) -> WarmWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WarmPool:
    """Warm workers by the environment that their engines need; safe for several threads."""

    def __init__(self) -> None:
        self._workers: dict[tuple[tuple[str, str], ...], tuple[WarmWorker, threading.Lock]] = {}
        self._starting = threading.Lock()

    def run(self, spec: RunSpec, folder: Path) -> RunRecord:
        """Run a prepared folder in a warm worker that fits, starting one if there is none."""
        worker, lock = self._worker(spec)
        with lock:
            return worker.run(spec, folder)

    def trace(self, spec: RunSpec, folder: Path, mutation: str | None = None) -> dict[str, str]:
        """Trace a prepared folder; the reply's ``status`` says how it went."""
        worker, lock = self._worker(spec)
        with lock:
            return worker.request(do="trace", folder=str(folder), mutation=mutation)

    def check(self, spec: RunSpec, folder: Path, name: str) -> dict[str, str]:
        """Try one check of the conformance suite on a prepared folder."""
        worker, lock = self._worker(spec)
        with lock:
            return worker.request(do="check", folder=str(folder), check=name)

    def audit(self, spec: RunSpec, folder: Path) -> dict[str, str]:
        """Audit a prepared folder; the reply's ``status`` says how it went."""
        worker, lock = self._worker(spec)
        with lock:
            return worker.request(do="audit", folder=str(folder))

    def export(self, spec: RunSpec, folder: Path, exporter: str, file: Path) -> dict[str, str]:
        """Write the weights of a prepared folder as a file of the worker's framework."""
        worker, lock = self._worker(spec)
        with lock:
            return worker.request(
                do="export", folder=str(folder), exporter=exporter, file=str(file)
            )

    def template(self, spec: RunSpec, folder: Path, template: str) -> dict[str, str]:
        """Write a weight map to begin with, for the code of a prepared folder."""
        worker, lock = self._worker(spec)
        with lock:
            return worker.request(do="template", folder=str(folder), template=template)

    def _worker(self, spec: RunSpec) -> tuple[WarmWorker, threading.Lock]:
        key = tuple(sorted(WarmWorker.variables(spec).items()))
        with self._starting:
            if key not in self._workers:
                self._workers[key] = (WarmWorker(spec), threading.Lock())
            return self._workers[key]

    def close(self) -> None:
        """End every worker."""
        for worker, _ in self._workers.values():
            worker.close()
        self._workers.clear()

    def __enter__(self) -> WarmPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

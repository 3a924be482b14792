"""Jobs by Ray: on this machine, or on a cluster that is there already.

Hydra's plugin for Ray needs releases of other packages that MLflow does not go with; the little
that is needed is here. A task is never tried again by Ray: a run that was killed is a result.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import signal
import socket
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fwcompare import launch
from fwcompare.atomic import write_text
from fwcompare.errors import RequestError, unknown
from fwcompare.launchers import Hearer, Job, Room, not_installed
from fwcompare.launchers.cores import own_cores
from fwcompare.launchers.job import WORD_FILE, run_cell, run_folder, sees
from fwcompare.launchers.local import here
from fwcompare.patience import Errands, OutOfPatience
from fwcompare.record import SPEC_FILE, RunRecord, plain
from fwcompare.spec import RunSpec
from fwcompare.typed import build

#: How a node comes to a run folder: it looks itself, by a file system that all share, or by Ray.
FOLDERS = ("auto", "shared", "brought")

#: Seconds between two looks at what has ended.
_LOOK_SECONDS = 0.5

#: Seconds that cancelled tasks have for leaving their records.
_GRACE_SECONDS = 10.0

#: Ray speaks of itself to its makers, and of its own affairs to users, unless it is told not to.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "error",
}

#: Where Ray is to be of one machine it takes 127.0.0.1 for its address, and listens nowhere else.
#: It has the name of the systems on which that is so by default.
_OF_ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class Options:
    """Options of ``hydra/launcher=ray``."""

    #: HOST:PORT of a cluster; None starts Ray on this machine and ends it afterwards.
    address: str | None = None
    #: Cores of this machine that Ray may use; None: all.
    num_cpus: int | None = None
    #: How nodes come to the run folders.
    folders: str = "auto"
    #: Seconds in which a cluster must answer.
    connect_s: float = 20.0

    def __post_init__(self) -> None:
        if self.folders not in FOLDERS:
            raise unknown("hydra.launcher.folders", self.folders, FOLDERS)
        if self.num_cpus is not None and (self.num_cpus < 1 or self.address):
            raise RequestError(
                "hydra.launcher.num_cpus is the number of cores of this machine, at least 1; a "
                "cluster has its own."
            )
        if not self.connect_s > 0:
            raise RequestError("hydra.launcher.connect_s must be more than 0.")


class Ray:
    """``hydra/launcher=ray``."""

    name = "ray"
    listens = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        if find_spec("ray") is None:
            raise not_installed(self.name)
        given = {name: value for name, value in options.items() if name != "_target_"}
        self.options = build(Options, given, "hydra.launcher")
        self.elsewhere = self.options.address is not None
        self._threads = 1

    def room(self, threads: int, jobs: int) -> Room:
        self._threads = threads
        if self.options.address is not None:
            require_answer(self.options.address, self.options.connect_s)
            count = f"{threads} CPU{'s' if threads > 1 else ''}"
            words = f"as many runs at a time as the cluster has room for, each with {count}"
            return Room(None, True, words)
        cores = self.options.num_cpus or len(launch.physical_cores())
        if threads > cores:
            raise RequestError(
                f"hydra.launcher.num_cpus={cores} has no room for a run of {threads} threads.",
                f"Set device.threads={cores}, or more CPUs.",
            )
        return here(max(1, min(cores // threads, jobs)), threads, f"device.threads={cores}")

    def run(self, jobs: Sequence[Job], hearer: Hearer) -> None:
        sweep = jobs[0].folder.parent
        word = secrets.token_hex(8)
        write_text(sweep / WORD_FILE, word)
        with connected(self.options) as ray:
            shared = self._shared(ray, sweep, word)
            tasks = _Tasks(ray, self._threads, shared, word)
            try:
                for job in jobs:
                    tasks.start(job)
                while tasks.left:
                    time.sleep(_LOOK_SECONDS)
                    for job, record, reason in tasks.ended():
                        hearer.ended(job.run, record, reason)
                    for job in tasks.begun():
                        hearer.begin(job.spec)
            except BaseException:
                tasks.cancel()
                raise

    def _shared(self, ray: Any, sweep: Path, word: str) -> bool:
        """Whether every node sees the sweep's folder as this process does."""
        if self.options.folders != "auto":
            return self.options.folders == "shared"
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        look = ray.remote(num_cpus=0, max_retries=0)(sees)
        asked = [
            look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(sweep, word)
            for node in ray.nodes()
            if node["Alive"]
        ]
        answered, _ = ray.wait(asked, num_returns=len(asked), timeout=self.options.connect_s * 3)
        try:
            return len(answered) == len(asked) and all(ray.get(answered))
        except ray.exceptions.RayError as error:
            first = str(error).strip().splitlines()[-1]
            raise RequestError(
                f"A node of the Ray cluster cannot run fwcompare: {plain(first)}",
                "Every node needs the same fwcompare and plugins in the Python that Ray has there.",
            ) from error


class _Tasks:
    """The tasks of a sweep, and what they have left."""

    def __init__(self, ray: Any, threads: int, shared: bool, word: str) -> None:
        self._ray = ray
        task = ray.remote(num_cpus=threads, max_retries=0)
        self._run_folder, self._run_brought = task(run_folder), task(run_brought)
        self._shared, self._word = shared, word
        self.left: dict[Any, Job] = {}
        self._waiting: list[Job] = []
        self._data: dict[str, Any] = {}

    def start(self, job: Job) -> None:
        if self._shared:
            ref = self._run_folder.remote(str(job.folder), self._word)
        else:
            data = job.spec.dataset.folder
            if data not in self._data:
                self._data[data] = self._ray.put(packed(Path(data)))
            text = (job.folder / SPEC_FILE).read_text(encoding="utf-8")
            ref = self._run_brought.remote(text, self._data[data])
        self.left[ref] = job
        self._waiting.append(job)

    def begun(self) -> Iterator[Job]:
        """Jobs that have begun since the last call, as far as their folders tell."""
        for job in list(self._waiting):
            if (job.folder / "events.jsonl").exists():
                self._waiting.remove(job)
                yield job

    def ended(self) -> Iterator[tuple[Job, RunRecord | None, str]]:
        """What has ended since the last call."""
        left = list(self.left)
        try:
            done, _ = self._ray.wait(left, num_returns=len(left), timeout=0)
        except SystemError as error:  # what Ray makes of a signal that came just then
            if error.__cause__ is not None and not isinstance(error.__cause__, Exception):
                raise error.__cause__ from None
            raise
        for ref in done:
            job = self.left.pop(ref)
            reason = ""
            try:
                left = self._ray.get(ref)
                if isinstance(left, bytes):
                    unpack(left, job.folder)
                    job.spec.write(job.folder / SPEC_FILE)
                else:
                    reason = left
            except self._ray.exceptions.WorkerCrashedError:
                reason = "Ray's worker died"
            except Exception as error:  # whatever Ray makes of a task that failed
                reason = plain((str(error).strip().splitlines() or [repr(error)])[-1])
            record = RunRecord.read(job.folder)
            yield job, record, "" if record else reason

    def cancel(self) -> None:
        """End every task, and give those that go on a moment for their records."""
        with suppress(Exception):
            for ref in self.left:
                self._ray.cancel(ref, force=False)
            self._ray.wait(
                list(self.left), num_returns=max(len(self.left), 1), timeout=_GRACE_SECONDS
            )


def require_answer(address: str, seconds: float) -> None:
    """Raises ``RequestError`` where nothing takes a connection at an address in time."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in address:
        raise RequestError(
            f"hydra.launcher.address={address} has not the form HOST:PORT.",
            "`ray start --head` says it: 10.0.0.1:6379.",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
    except (OSError, OverflowError) as error:
        raise unreachable(address, getattr(error, "strerror", None) or str(error)) from error


def unreachable(address: str, why: str) -> RequestError:
    return RequestError(
        f"No Ray cluster answers at {address}: {why}.",
        "`ray status --address HOST:PORT` asks it; hydra.launcher.connect_s says how long to wait.",
    )


@contextmanager
def connected(options: Options) -> Iterator[Any]:
    """Ray, connected; a cluster of this machine alone listens on 127.0.0.1, and ends afterwards.

    Raises:
        RequestError: the cluster does not answer in time.
    """
    alone = options.address is None or _on_loopback_alone(options.address)
    wanted = {**_QUIET, **_OF_ONE_MACHINE} if alone else _QUIET
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    ray: Any = import_module("ray")
    ours = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        if options.address is None:
            cores = options.num_cpus or len(launch.physical_cores())
            ray.init("local", num_cpus=cores, **quiet)
        else:
            quiet.pop("include_dashboard")
            _connect(ray, options, quiet)
        for number, handler in ours.items():  # Ray puts a handler of its own in place
            signal.signal(number, handler)
        yield ray
    finally:
        with suppress(Exception):
            ray.shutdown()
        for name in added:
            os.environ.pop(name, None)


def _connect(ray: Any, options: Options, quiet: Mapping[str, Any]) -> None:
    assert options.address is not None
    try:
        Errands().run(lambda: ray.init(options.address, **quiet), options.connect_s)
    except OutOfPatience as error:
        raise unreachable(options.address, f"it gave {error}") from error
    except Exception as error:  # Ray has many words for it
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise unreachable(options.address, plain(first).rstrip(".")) from error


def _on_loopback_alone(address: str) -> bool:
    """Whether a cluster of this machine is reached by its loopback address alone.

    Otherwise its nodes go by the address of the network card, and Ray takes that by itself.
    """
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost"):
        return False
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect(("192.0.2.1", 9))  # nothing is sent: the system says which card it is
            card = asking.getsockname()[0]
        socket.create_connection((card, int(port)), timeout=2).close()
    except OSError:
        return True
    return False


def packed(folder: Path) -> bytes:
    """A folder as an archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(folder, arcname=".")
    return target.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Put what an archive holds into a folder; nothing outside of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")


def run_brought(text: str, data: bytes) -> bytes:
    """Run a spec on a node that does not see its folder. Returns the run folder as an archive."""
    place = Path(tempfile.mkdtemp(prefix="fwcompare-run-"))
    try:
        folder, dataset = place / "run", place / "data"
        folder.mkdir()
        (folder / SPEC_FILE).write_text(text, encoding="utf-8")
        unpack(data, dataset)
        spec = RunSpec.read(folder / SPEC_FILE)
        spec = spec.but(dataset=replace(spec.dataset, folder=str(dataset)))
        with own_cores(spec.device.threads) as cores:
            run_cell(spec, folder, cores=cores)
        return packed(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)

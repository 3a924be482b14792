"""What the machine is, and how busy it was with other things while something was measured.

Everything comes from Linux's ``/proc`` and ``/sys``, read before and after a span and never within
it; where the system does not tell, a value is None. NumPy is not needed.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwcompare.probe import clock, cpu_clock

#: Shortest span for which shares are given. The kernel counts in ticks of 10 ms, so that over one
#: second a single tick is 1 % of a core.
SHORTEST_SECONDS = 1.0

#: Share of core time taken by the hypervisor above which a run is marked: one hundredth is a tenth
#: of the differences between engines that are worth reporting.
STEAL_SHARE = 0.01

#: Cores' worth of other processes' work on a run's cores above which it is marked. An idle system's
#: own upkeep stays below 0.05.
FOREIGN_CORES = 0.10

#: Share of the time that a container's CPU quota held the run back above which it is marked.
QUOTA_SHARE = 0.01

# Columns of a line of /proc/stat, see proc(5). Guest time is contained in user and nice.
_BUSY = ("user", "nice", "system", "irq", "softirq")
_COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


@dataclass(frozen=True)
class Snapshot:
    """Counters at one moment, all in seconds or counts since some fixed past."""

    clock_s: float
    #: CPU seconds of this process and its descendants.
    own_cpu_s: float
    #: Seconds that the cores, and those that share a physical core with them, were at work.
    busy_s: float | None
    #: Seconds in which a hypervisor gave the cores to somebody else.
    steal_s: float | None
    #: Runnable tasks of the whole machine, averaged over a minute.
    load_1m: float | None
    #: Mean clock of the cores.
    mhz: float | None
    #: Times that the cores slowed down because they were hot.
    thermal_throttles: int | None
    #: Seconds for which a control group's CPU quota held its processes back.
    quota_throttled_s: float | None


@dataclass(frozen=True)
class Conditions:
    """How a span of time was disturbed; JSON-able by ``to_json``."""

    seconds: float
    #: Number of cores that were given.
    cores: int
    #: Share of their time that a hypervisor took; None for less than ``SHORTEST_SECONDS``.
    steal_share: float | None
    #: Cores' worth of other processes' work there; None for less than ``SHORTEST_SECONDS``.
    foreign_cores: float | None
    load_1m_begin: float | None
    load_1m_end: float | None
    governor: str | None
    mhz_begin: float | None
    mhz_end: float | None
    thermal_throttles: int | None
    #: Share of the time that a CPU quota took.
    quota_share: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def warnings(self) -> list[str]:
        """What disturbed the span, without figures, so that the same words stand for many runs."""
        found = []
        if (self.steal_share or 0) > STEAL_SHARE:
            found.append("the hypervisor took CPU time from its cores (steal)")
        if (self.foreign_cores or 0) > FOREIGN_CORES:
            found.append("other processes worked on its cores")
        if self.thermal_throttles:
            found.append("the CPU slowed down because it was hot")
        if (self.quota_share or 0) > QUOTA_SHARE:
            found.append("a CPU quota of its container held it back")
        return found


def own_cores() -> list[int]:
    """The logical cores that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def snapshot(cores: Sequence[int], root: Path = Path("/")) -> Snapshot:
    """Read every counter once. ``root`` is where ``proc`` and ``sys`` are found."""
    times = _core_seconds(root)
    known = [core for core in cores if core in times]
    beside = _with_siblings(known, root)
    return Snapshot(
        clock_s=clock(),
        own_cpu_s=_own_cpu_seconds(root),
        busy_s=sum(times[c][key] for c in beside if c in times for key in _BUSY) if known else None,
        steal_s=sum(times[core]["steal"] for core in known) if known else None,
        load_1m=_load(),
        mhz=mhz(cores, root),
        thermal_throttles=_thermal_throttles(cores, root),
        quota_throttled_s=_quota_throttled_seconds(root),
    )


def between(
    before: Snapshot, after: Snapshot, cores: Sequence[int], root: Path = Path("/")
) -> Conditions:
    """The conditions from one snapshot of these cores to the next."""
    seconds = max(after.clock_s - before.clock_s, 1e-9)
    told = seconds >= SHORTEST_SECONDS
    steal = _difference(before.steal_s, after.steal_s) if told else None
    busy = _difference(before.busy_s, after.busy_s) if told else None
    own = after.own_cpu_s - before.own_cpu_s
    quota = _difference(before.quota_throttled_s, after.quota_throttled_s)
    throttles = _difference(before.thermal_throttles, after.thermal_throttles)
    return Conditions(
        seconds=seconds,
        cores=len(cores),
        steal_share=None if steal is None else steal / (seconds * max(len(cores), 1)),
        foreign_cores=None if busy is None else max(busy - own, 0.0) / seconds,
        load_1m_begin=before.load_1m,
        load_1m_end=after.load_1m,
        governor=governor(cores, root),
        mhz_begin=before.mhz,
        mhz_end=after.mhz,
        thermal_throttles=None if throttles is None else int(throttles),
        quota_share=None if quota is None else min(quota / seconds, 1.0),
    )


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(after - before, 0.0)


def cpu_name(root: Path = Path("/")) -> str:
    """The processor as it calls itself."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_flags(root: Path = Path("/")) -> frozenset[str]:
    """Instruction sets as the kernel names them; empty where it does not tell."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def governor(cores: Iterable[int], root: Path = Path("/")) -> str | None:
    """The frequency governor of the cores, or several joined by a comma."""
    found = {_text(_cpu(core, root) / "cpufreq/scaling_governor").strip() for core in cores}
    return ", ".join(sorted(found - {""})) or None


def mhz(cores: Iterable[int], root: Path = Path("/")) -> float | None:
    """The mean clock of the cores at this moment."""
    wanted = set(cores)
    clocks = [_number(_cpu(core, root) / "cpufreq/scaling_cur_freq") for core in wanted]
    found = [kilohertz / 1e3 for kilohertz in clocks if kilohertz is not None]
    if not found:
        core = -1
        for line in _text(root / "proc/cpuinfo").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "processor":
                core = int(value)
            elif key.strip() == "cpu MHz" and core in wanted:
                found.append(float(value))
    return sum(found) / len(found) if found else None


def quota_cores(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that a control group allows; None where there is no limit."""
    for folder in _control_groups(root):
        quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
        if quota.isdigit() and period.isdigit():
            return int(quota) / int(period)
        first, second = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
        allowed, every = _number(first), _number(second)
        if allowed and every and allowed > 0:
            return allowed / every
    return None


def _cpu(core: int, root: Path) -> Path:
    return root / f"sys/devices/system/cpu/cpu{core}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK")


def _core_seconds(root: Path) -> dict[int, dict[str, float]]:
    """Seconds of each kind by core."""
    found = {}
    ticks = _ticks_per_second()
    for line in _text(root / "proc/stat").splitlines():
        name, *values = line.split()
        number = name.removeprefix("cpu")
        if name.startswith("cpu") and number.isdigit() and len(values) >= len(_COLUMNS):
            seconds = (int(value) / ticks for value in values)
            found[int(number)] = dict(zip(_COLUMNS, seconds, strict=False))
    return found


def _with_siblings(cores: Iterable[int], root: Path) -> set[int]:
    """The cores, and the other threads of their physical cores, whose work slows them down."""
    found = set(cores)
    for core in tuple(found):
        listing = _text(_cpu(core, root) / "topology/thread_siblings_list").strip()
        for part in filter(None, listing.split(",")):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    return found


def _own_cpu_seconds(root: Path) -> float:
    """CPU seconds of this process, of its ended children and of its living descendants.

    A compiler that a framework starts works for the run, so it is no foreign load.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = cpu_clock() + ended.ru_utime + ended.ru_stime
    ticks = _ticks_per_second()
    waiting, seen = [os.getpid()], {os.getpid()}
    while waiting:
        for task in root.glob(f"proc/{waiting.pop()}/task/*/children"):
            for child in {int(word) for word in _text(task).split()} - seen:
                seen.add(child)
                waiting.append(child)
                # The name, in parentheses, may hold spaces; utime is the 12th field behind it.
                fields = _text(root / f"proc/{child}/stat").rpartition(")")[2].split()
                own += sum(int(value) for value in fields[11:15]) / ticks
    return own


def _thermal_throttles(cores: Iterable[int], root: Path) -> int | None:
    counts = [_number(_cpu(c, root) / "thermal_throttle/core_throttle_count") for c in cores]
    found = [int(count) for count in counts if count is not None]
    return sum(found) if found else None


def _control_groups(root: Path) -> list[Path]:
    """Folders that may hold the limits of this process, in control groups of either version."""
    mount = root / "sys/fs/cgroup"
    found = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            found += [mount / path.lstrip("/"), mount]
        elif "cpu" in controllers.split(","):
            found += [mount / "cpu" / path.lstrip("/"), mount / "cpu"]
    return found


def _quota_throttled_seconds(root: Path) -> float | None:
    for folder in _control_groups(root):
        for line in _text(folder / "cpu.stat").splitlines():
            key, _, value = line.partition(" ")
            if key == "throttled_usec":
                return int(value) / 1e6
            if key == "throttled_time":
                return int(value) / 1e9
    return None

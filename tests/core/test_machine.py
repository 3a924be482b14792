"""What is read from /proc and /sys, on a made tree and on this machine."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from fwcompare import machine

STAT = """cpu  0 0 0 0 0 0 0 0 0 0
cpu0 {user} 10 20 1000 5 0 3 {steal} 0 0
cpu1 7 0 0 1000 0 0 0 50 0 0
cpu2 {sibling} 0 0 1000 0 0 0 0 0 0
intr 1 2 3
"""


def made(root: Path, user: int = 100, steal: int = 0, sibling: int = 0, throttled: int = 0) -> Path:
    """A tree as of a machine where cores 0 and 2 are one physical core."""
    files = {
        "proc/stat": STAT.format(user=user, steal=steal, sibling=sibling),
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\ncpu MHz\t\t: 1000.5\nflags\t: a b\n",
        "proc/self/cgroup": "0::/job\n",
        "sys/fs/cgroup/job/cpu.stat": f"nr_throttled 3\nthrottled_usec {throttled}\n",
        "sys/fs/cgroup/job/cpu.max": "150000 100000\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": f"{throttled and 2}\n",
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list": "0,2\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def conditions(root: Path, seconds: float = 10.0, **after: int) -> machine.Conditions:
    """Those between a tree and what it became, with nothing done by this process."""
    before = machine.snapshot([0], made(root))
    later = machine.snapshot([0], made(root, **after))
    later = dataclasses.replace(later, clock_s=before.clock_s + seconds, own_cpu_s=before.own_cpu_s)
    return machine.between(before, later, [0], root)


def test_nothing_happened(tmp_path):
    found = conditions(tmp_path)
    assert (found.steal_share, found.foreign_cores, found.quota_share) == (0, 0, 0)
    assert found.thermal_throttles == 0
    assert found.governor == "powersave"
    assert found.mhz_begin == found.mhz_end == 1000.5
    assert found.warnings() == []


def test_steal_of_the_given_core_alone(tmp_path):
    found = conditions(tmp_path, steal=50)  # half a second of ten, in ticks of 10 ms
    assert found.steal_share == pytest.approx(0.05)
    assert found.warnings() == ["the hypervisor took CPU time from its cores (steal)"]


@pytest.mark.parametrize("busy", [{"user": 400}, {"sibling": 300}])
def test_work_on_the_core_or_on_its_sibling_is_foreign(tmp_path, busy):
    found = conditions(tmp_path, **busy)
    assert found.foreign_cores == pytest.approx(0.3)
    assert found.warnings() == ["other processes worked on its cores"]


def test_own_work_is_not_foreign(tmp_path):
    before = machine.snapshot([0], made(tmp_path))
    after = machine.snapshot([0], made(tmp_path, user=1000))
    after = dataclasses.replace(
        after, clock_s=before.clock_s + 10, own_cpu_s=before.own_cpu_s + 8.9
    )
    assert machine.between(before, after, [0], tmp_path).foreign_cores == pytest.approx(0.01)


def test_heat_and_quota(tmp_path):
    found = conditions(tmp_path, throttled=500_000)
    assert (found.thermal_throttles, found.quota_share) == (2, pytest.approx(0.05))
    assert len(found.warnings()) == 2
    assert machine.quota_cores(tmp_path) == 1.5


def test_ticks_are_too_coarse_for_a_short_span(tmp_path):
    found = conditions(tmp_path, seconds=0.5, steal=1)
    assert (found.steal_share, found.foreign_cores) == (None, None)
    assert found.warnings() == []


def test_a_system_that_tells_nothing(tmp_path):
    before = machine.snapshot([0], tmp_path)
    after = dataclasses.replace(machine.snapshot([0], tmp_path), clock_s=before.clock_s + 10)
    found = machine.between(before, after, [0], tmp_path)
    told = (found.steal_share, found.foreign_cores, found.quota_share, found.thermal_throttles)
    assert told == (None, None, None, None)
    assert (found.governor, found.mhz_begin) == (None, None)
    assert found.warnings() == []
    assert machine.quota_cores(tmp_path) is None
    assert machine.cpu_flags(tmp_path) == frozenset()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
def test_a_living_child_works_for_this_process():
    spin = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        before = machine.snapshot(machine.own_cores())
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        after = machine.snapshot(machine.own_cores())
        child.kill()
    assert after.own_cpu_s - before.own_cpu_s > 0.1
    # Once it has ended the same seconds are counted by another way.
    assert machine.snapshot(machine.own_cores()).own_cpu_s >= after.own_cpu_s - 0.05

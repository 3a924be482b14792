"""Several runs at a time on this machine, by joblib."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fwcompare.errors import RequestError
from fwcompare.launchers import Room
from fwcompare.launchers.cores import own_cores
from fwcompare.multirun import room_for

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched import every_core, read
from stub_plugin import SHORT

#: What the comparison of timed runs says that had not what they need for themselves.
SHARED = "2 runs shared their cores or GPU with others while they were timed"

#: Runs long enough to go on beside each other, however busy the machine is.
LONG = "0=step:pause,1=step:pause"

TWO = ("hydra.launcher.n_jobs=2", "compare.measure=accuracy")


def test_two_at_a_time_keep_what_a_sweep_promises(sweep, tmp_path):
    swept = sweep(
        "joblib", *TWO, "seed=range(4)", "tracking=sqlite",
        faults="1=step:SIGKILL,2=build:raise", code=1,
    )  # fmt: skip
    assert swept.statuses == {0: "ok", 1: "killed", 2: "failed", 3: "ok"}
    assert "Launcher joblib: 2 runs at a time" in swept.said
    assert "nothing is said of speed" in swept.said and "nothing is said of speed" in swept.report
    assert "faster" not in swept.said and "samples/s counts" not in swept.report
    with sqlite3.connect(tmp_path / "outputs/mlflow.db") as store:
        parents = store.execute("select value from tags where key = 'mlflow.parentRunId'")
        found = [parent for (parent,) in parents]
    assert len(found) == 4 and set(found) == {swept.listing["parent"]}

    again = sweep("joblib", *TWO, "seed=range(4)", "tracking=sqlite")
    assert "2 of 4 cells were done" in again.said
    assert set(again.statuses.values()) == {"ok"}
    assert again.listing["parent"] == swept.listing["parent"]
    kept = {s: r for s, r in swept.records.items() if s in (0, 3)}
    assert {s: again.records[s] for s in kept} == kept


def test_timed_runs_that_would_share_cores_are_refused_or_marked(sweep):
    both = ("hydra.launcher.n_jobs=2", f"device.threads={every_core()}", "seed=0,1")
    swept = sweep("joblib", *both, code=2)
    assert "compare.measure=accuracy" in swept.said and "hydra.launcher.n_jobs=1" in swept.said
    assert not swept.listing
    # As many as have cores of their own is one here, and one needs no launcher's mark.
    swept = sweep("joblib", f"device.threads={every_core()}", "seed=0,1")
    assert "at a time" not in swept.said and "shared their cores" not in swept.said
    swept = sweep("joblib", *both, "sweep.shared_cores=mark", "sweep.retry=all", faults=LONG)
    assert SHARED in " ".join(swept.said.split())
    assert "shared their cores" in swept.report


def timed(device: str, shares: str = "refuse"):
    """What is asked of a sweep with one cell before its runs are begun."""
    spec = SimpleNamespace(device=SimpleNamespace(name=device), cores=1)
    return SimpleNamespace(
        cells=[SimpleNamespace(spec=None), SimpleNamespace(spec=spec)],
        criteria=SimpleNamespace(timed=True),
        shared_cores=shares,
    )


def roomy(at_once: int | None, elsewhere: bool = False):
    """A launcher that gives each run cores of its own."""
    room = Room(at_once, True, f"{at_once} at a time")
    return SimpleNamespace(name="made", elsewhere=elsewhere, room=lambda threads, jobs: room)


def test_runs_on_cores_of_their_own_would_share_the_one_gpu():
    with pytest.raises(RequestError, match="share a GPU") as refused:
        room_for(timed("cuda"), roomy(2))
    assert "hydra/launcher=basic" in refused.value.hint
    assert "sweep.shared_cores=mark" in refused.value.hint
    assert room_for(timed("cuda", "mark"), roomy(2)).at_once == 2
    assert room_for(timed("cuda"), roomy(1)).at_once == 1
    assert room_for(timed("cpu"), roomy(2)).at_once == 2
    assert room_for(timed("cuda"), roomy(None, elsewhere=True)).at_once is None


def test_timed_runs_that_shared_a_gpu_are_marked(sweep, tmp_path):
    """The tool that tells of the GPU is made."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'A GPU, GPU-1, 580.1, 81920'\n")
    tool.chmod(0o755)
    path = f"{tool.parent}:/bin:/usr/bin"
    cuda = ("device=cuda", "device.threads=1", "seed=0,1", "preflight.mode=skip")
    both = (*cuda, "hydra.launcher.n_jobs=2")
    swept = sweep("joblib", *both, "sweep.shared_cores=mark", faults=LONG, PATH=path)
    assert "runs that share" in swept.said and "are timed" in swept.said
    assert SHARED in " ".join(swept.said.split())
    swept = sweep("basic", *cuda, "sweep.retry=all", PATH=path)
    assert "share a GPU" not in swept.said and "shared their cores" not in swept.said
    assert {r.environment["gpu"]["name"] for r in swept.records.values()} == {"A GPU"}


def test_ctrl_c_ends_every_run_and_leaves_its_record(site, cache, tmp_path):
    environment = {**os.environ, "PYTHONPATH": site, "FWCOMPARE_CACHE": str(cache)}
    options = [*SHORT, "hydra/launcher=joblib", *TWO, "seed=range(5)", "sweep.name=s"]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "fwcompare"), "-m", *options, "tracking=none"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**environment, "STUB_FAULTS": "0=step:hang,1=step:hang,2=step:hang"},
    )  # fmt: skip
    began = time.monotonic()
    while len(list(tmp_path.glob("outputs/sweeps/s/*/events.jsonl"))) < 2:
        assert process.poll() is None and time.monotonic() - began < 60
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = "".join(process.communicate(timeout=60))
    assert process.returncode == 130, said
    reasons = [record.reason for record in read(tmp_path).records.values() if record]
    assert len(reasons) == 2 and all("Ctrl-C" in reason for reason in reasons)
    assert "0 of 5 cells are done" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["hydra/launcher=nosuch"], "nosuch"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "n_jobs must not be 0"),
        (["hydra/launcher=joblib", "compare.measure=speeed"], "Did you mean 'speed'"),
        (["hydra/launcher=joblib", "sweep.shared_cores=no"], "refuse"),
        (["hydra/launcher=joblib", "compare.target=0.9", *TWO], "Leave out one of them"),
    ],
)
def test_what_a_launcher_cannot_do_is_refused(cli, site, tmp_path, options, said):
    ended = cli("-m", *SHORT, "seed=0,1", *options, PYTHONPATH=site)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert said in ended.stderr and "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("outputs/sweeps/*/*/spec.json"))


def test_an_extra_that_is_absent_is_named(cli, site):
    (Path(site) / "sitecustomize.py").write_text(
        "import pkgutil\n"
        "walk = pkgutil.walk_packages\n"
        "pkgutil.walk_packages = lambda *given, **named: (\n"
        "    found for found in walk(*given, **named) if 'hydra_joblib' not in found.name)\n"
    )
    ended = cli("-m", *SHORT, "seed=0,1", "hydra/launcher=joblib", PYTHONPATH=site)
    assert ended.returncode == 2
    assert "pip install 'fwcompare[joblib]'" in ended.stderr


def test_jobs_hold_different_cores_or_none(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # nobody else's jobs
    usable = len(os.sched_getaffinity(0))
    with own_cores(1) as first:
        assert len(first) == 1
        with own_cores(usable) as rest:
            assert rest == []  # one of them is taken
        if usable > 1:
            with own_cores(1) as second:
                assert len(second) == 1 and second != first
    with own_cores(usable) as every:
        assert sorted(every) == sorted(os.sched_getaffinity(0))

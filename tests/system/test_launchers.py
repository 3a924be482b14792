"""The same sweep by every launcher: on this machine, by Ray, and by a SLURM cluster of one node."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fwcompare.record import RunRecord

HERE = Path(__file__).parent
FWCOMPARE = str(Path(sys.executable).parent / "fwcompare")
sys.path.insert(0, str(HERE.parent / "support"))
from page_blocks import blocks  # noqa: E402
from stub_plugin import SHORT, install  # noqa: E402

pytestmark = pytest.mark.system

#: A sweep of a real engine whose numbers do not depend on where it runs.
REAL = (
    *("framework=pytorch", "model=mlp", "precision=float64", "device.threads=1", "seed=range(2)"),
    *("trainer.epochs=2", "trainer.max_steps=40", "parity.in_sweep=false", "tracking=none"),
    *("measure.predict_s=0", "measure.predict_calls=0"),
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[dict[str, str]]:
    """What the environment needs for SLURM."""
    folder = tmp_path_factory.mktemp("slurm")
    started = subprocess.run(
        [HERE / "one-node-slurm", "start", folder], capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr
    daemons = [
        psutil.Process(int((folder / f"{name}.pid").read_text()))
        for name in ("munged", "slurmctld", "slurmd")
    ]
    for daemon in daemons:
        for connection in daemon.net_connections("inet"):
            assert connection.laddr.ip.startswith("127."), connection
    yield dict([started.stdout.strip().split("=", 1)])
    subprocess.run([HERE / "one-node-slurm", "stop", folder], check=True)
    assert not any(daemon.is_running() for daemon in daemons)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("launched")


def run(place: Path, cache: Path, name: str, *options: str, code: int = 0, **environment: str):
    """A sweep of this name; what it said, and its folder."""
    ended = subprocess.run(
        [FWCOMPARE, "-m", f"sweep.name={name}", *options], cwd=place, text=True,
        env={**os.environ, "FWCOMPARE_CACHE": str(cache), "COLUMNS": "160", **environment},
        capture_output=True, check=False, timeout=280,
    )  # fmt: skip
    said = ended.stdout + ended.stderr
    assert ended.returncode == code, said
    assert "Traceback" not in said
    return said, place / "outputs/sweeps" / name


def records(folder: Path) -> dict[int, RunRecord]:
    listing = json.loads((folder / "sweep.json").read_text())
    return {cell["seed"]: RunRecord.read(folder / cell["run"]) for cell in listing["cells"]}


def results(folder: Path) -> dict[int, dict]:
    """All that a run computed, without what it took."""
    found = {}
    for seed, record in records(folder).items():
        assert record.ok, record.reason
        metrics = {
            key: value
            for key, value in record.metrics.items()
            if not key.startswith(("time/", "perf/", "memory/"))
        }
        losses = [(entry["epoch"], entry["train/loss"]) for entry in record.history]
        found[seed] = {"metrics": metrics, "losses": losses, "digests": record.digests}
    return found


@pytest.mark.timeout(900)
def test_every_launcher_computes_the_same(place, cache, slurm):
    """Equal to the last digit, and one report each."""
    found = {}
    for launcher in ("basic", "joblib", "ray", "submitit_local", "submitit_slurm"):
        _, folder = run(place, cache, launcher, *REAL, f"hydra/launcher={launcher}", **slurm)
        found[launcher] = results(folder)
        assert len(list(folder.glob("report.html"))) == 1
    assert len(found["basic"]) == 2 and "test/accuracy" in found["basic"][0]["metrics"]
    for launcher, own in found.items():
        assert own == found["basic"], launcher


@pytest.mark.timeout(600)
def test_the_commands_of_the_page(place, cache, slurm):
    """Each as it stands there, those that need a cluster too."""
    done = 0
    for block in blocks(HERE.parents[1] / "docs" / "scale.md"):
        if block.is_command:
            path = f"{Path(FWCOMPARE).parent}{os.pathsep}{os.environ['PATH']}"
            ended = subprocess.run(
                ["bash", "-e", "-c", block.text], cwd=place, capture_output=True, text=True,
                env={**os.environ, **slurm, "FWCOMPARE_CACHE": str(cache), "PATH": path},
                check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stdout + ended.stderr
            done += 1
    names = ("laptop", "several", "cluster", "ray")
    assert done == len([n for n in names if (place / f"outputs/sweeps/{n}/report.html").exists()])


def stub(place: Path) -> str:
    return str(install(place / "site"))


def test_slurm_keeps_what_a_sweep_promises(place, cache, slurm):
    """A job that is killed, and one whose time is nearly up, cost a cell each."""
    given = (*SHORT, "hydra/launcher=submitit_slurm", "seed=range(4)", "tracking=none")
    process = subprocess.Popen(
        [FWCOMPARE, "-m", *given, "sweep.name=promised"], cwd=place, text=True,
        env={**os.environ, **slurm, "FWCOMPARE_CACHE": str(cache), "PYTHONPATH": stub(place),
             "STUB_FAULTS": "0=step:hang,1=step:hang"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    folder = place / "outputs/sweeps/promised"
    workers = [worker(process, folder, seed) for seed in (0, 1)]
    workers[0].parent().kill()
    job = next(
        line.split()[0]
        for line in asked("squeue", "-r", "--noheader", "--format=%i %T", **slurm)
        if line.split()[0].endswith("_1")
    )
    # It tries again until the job has ended, and may then complain that it has.
    told = ["scancel", "--signal=USR2", job]
    subprocess.run(told, env={**os.environ, **slurm}, capture_output=True, check=False)
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 1, said
    assert {seed: record.status for seed, record in records(folder).items()} == {
        0: "killed", 1: "killed", 2: "ok", 3: "ok",
    }  # fmt: skip
    assert "the time limit of its launcher" in records(folder)[1].reason
    assert asked("squeue", "--noheader", **slurm) == []
    said, _ = run(place, cache, "promised", *given, PYTHONPATH=stub(place), **slurm)
    assert "2 of 4 cells were done" in said


def test_ctrl_c_cancels_the_jobs_of_slurm(place, cache, slurm):
    process = subprocess.Popen(
        [FWCOMPARE, "-m", *SHORT, "hydra/launcher=submitit_slurm", "seed=range(9)",
         "tracking=none", "sweep.name=stopped"], cwd=place, text=True,
        env={**os.environ, **slurm, "FWCOMPARE_CACHE": str(cache), "PYTHONPATH": stub(place),
             "STUB_FAULTS": "0=step:hang"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    folder = place / "outputs/sweeps/stopped"
    own = worker(process, folder, 0)
    process.terminate()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 143, said
    assert not own.is_running()
    assert records(folder)[0].status == "killed"
    assert asked("squeue", "--noheader", **slurm) == []


def test_slurm_that_is_asked_for_too_little_is_refused(place, cache, slurm):
    given = (*SHORT, "hydra/launcher=submitit_slurm", "seed=0,1", "tracking=none")
    said, folder = run(
        place, cache, "little", *given, "device.threads=2", "hydra.launcher.cpus_per_task=1",
        code=2, PYTHONPATH=stub(place), **slurm,
    )  # fmt: skip
    assert "compare.measure=accuracy" in said and not folder.exists()
    said, _ = run(
        place, cache, "nowhere", *given, "hydra.launcher.partition=nosuch",
        code=2, PYTHONPATH=stub(place), **slurm,
    )  # fmt: skip
    assert "SLURM took no job" in said and "artition" in said
    away = {"SLURM_CONF": str(place / "away.conf")}
    said, _ = run(place, cache, "away", *given, code=2, PYTHONPATH=stub(place), **away)
    assert "SLURM does not answer" in said


def worker(process: subprocess.Popen[str], folder: Path, seed: int) -> psutil.Process:
    """The process of a run, once it has begun."""
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        for events in folder.glob(f"*-s{seed}-*/events.jsonl"):
            if line := events.read_text().partition("\n")[0]:
                return psutil.Process(json.loads(line)["pid"])
        time.sleep(0.2)
    process.kill()
    raise AssertionError(process.communicate()[0])


def asked(*command: str, **environment: str) -> list[str]:
    """What a command of SLURM says, by lines."""
    ended = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


RAY = ("hydra/launcher=ray", "hydra.launcher.connect_s=20")


@pytest.fixture(scope="module")
def two_raylets(tmp_path_factory) -> Iterator[str]:
    """The address of a Ray cluster of two nodes, both on this machine."""
    cluster = subprocess.Popen(
        [sys.executable, str(HERE / "two_raylets.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": stub(
            tmp_path_factory.mktemp("nodes"))},
    )  # fmt: skip
    assert cluster.stdin and cluster.stdout
    address = cluster.stdout.readline().strip()
    assert address, "Ray did not start"
    yield address
    children = psutil.Process(cluster.pid).children(recursive=True)
    cluster.communicate("end\n", timeout=60)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.timeout(600)
def test_a_cluster_of_two_nodes_with_and_without_a_shared_folder(place, cache, two_raylets):
    """Both nodes work at the same time; what is brought back is the same."""
    given = (*SHORT, *RAY, f"hydra.launcher.address={two_raylets}", "seed=range(4)",
             # Seconds each: what begins later than a run of the other node begins beside it.
             "trainer.epochs=1000", "trainer.max_steps=null", "tracking=none")  # fmt: skip
    environment = {"PYTHONPATH": stub(place)}
    said, folder = run(place, cache, "seen", *given, **environment)
    assert "as many runs at a time as the cluster has room for" in said
    _, brought = run(
        place, cache, "brought", *given, "hydra.launcher.folders=brought", **environment
    )
    assert results(brought) == results(folder)
    for run_folder in brought.glob("*-s*"):
        names = {path.name for path in run_folder.iterdir()}
        assert {"spec.json", "record.json", "events.jsonl", "weights", "worker.log"} <= names
        spec = json.loads((run_folder / "spec.json").read_text())
        assert str(cache) in spec["dataset"]["folder"]
    spans = sorted((r.started_ms, r.ended_ms) for r in records(folder).values())
    assert any(second[0] < first[1] for first, second in itertools.pairwise(spans))


def begun_by_ray(
    place: Path, cache: Path, name: str, faults: str, *options: str
) -> tuple[subprocess.Popen[str], Path, psutil.Process]:
    """A sweep on this machine whose run of seed 0 hangs: its command, its folder, and that run."""
    process = subprocess.Popen(
        [FWCOMPARE, "-m", *SHORT, *RAY, *options, "compare.measure=accuracy", "seed=range(4)",
         "tracking=none", f"sweep.name={name}"], cwd=place, text=True,
        env={**os.environ, "FWCOMPARE_CACHE": str(cache), "PYTHONPATH": stub(place),
             "STUB_FAULTS": faults},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    folder = place / "outputs/sweeps" / name
    return process, folder, worker(process, folder, 0)


def test_ray_does_not_try_again_what_was_killed(place, cache):
    process, folder, own = begun_by_ray(
        place, cache, "once", "0=step:hang,2=step:SIGKILL", "hydra.launcher.num_cpus=2"
    )
    ray = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert {"raylet", "gcs_server"} <= {one.name() for one in ray}
    for one in ray:
        for connection in one.net_connections("inet"):
            ip = connection.laddr.ip.removeprefix("::ffff:")
            assert ip.startswith("127."), (one.cmdline(), connection)
    own.parent().kill()
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 1, said
    assert {seed: record.status for seed, record in records(folder).items()} == {
        0: "killed", 1: "ok", 2: "killed", 3: "ok",
    }  # fmt: skip
    # One beginning each.
    for events in folder.glob("*/events.jsonl"):
        assert events.read_text().count('"event": "start"') == 1
    _, alive = psutil.wait_procs(ray, timeout=20)
    assert not alive


def test_ctrl_c_ends_the_tasks_of_ray(place, cache):
    process, folder, own = begun_by_ray(place, cache, "ray_stopped", "0=step:hang")
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    said = process.communicate(timeout=90)[0]
    assert process.returncode == 143, said
    assert records(folder)[0].status == "killed"
    _, alive = psutil.wait_procs([own, *children], timeout=20)
    assert not alive


def test_a_cluster_that_does_not_answer_is_waited_for_so_long(place, cache):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        given = (*SHORT, "hydra/launcher=ray", "seed=0,1", "tracking=none")
        for listens, address, words in (
            (False, f"127.0.0.1:{port}", "No Ray cluster answers"),
            (True, f"127.0.0.1:{port}", "No Ray cluster answers"),
            (True, "ray://127.0.0.1:10001", "HOST:PORT"),
        ):
            if listens:
                silent.listen()
            began = time.monotonic()
            said, folder = run(
                place, cache, "away", *given, f"hydra.launcher.address={address}",
                "hydra.launcher.connect_s=5", code=2, PYTHONPATH=stub(place),
            )  # fmt: skip
            assert words in said and time.monotonic() - began < 60
            assert not list(folder.glob("*/record.json"))

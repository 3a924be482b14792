"""Runs as processes of submitit on this machine; one of them is killed from outside."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fwcompare.launchers.job import WORD_FILE, run_folder

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched import read
from stub_plugin import SHORT

UNTIMED = "compare.measure=accuracy"


def test_submitted_runs_keep_what_a_sweep_promises(sweep):
    swept = sweep("submitit_local", UNTIMED, "seed=range(3)", faults="1=step:SIGKILL", code=1)
    assert swept.statuses == {0: "ok", 1: "killed", 2: "ok"}
    assert (swept.folder / "report.html").exists()
    assert list((swept.folder / ".submitit").glob("*"))


@pytest.fixture
def hanging(site, cache, tmp_path):
    """A sweep of three seeds whose first run hangs; the process, and the run's own."""
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "fwcompare"), "-m", *SHORT, "sweep.name=s",
         "hydra/launcher=submitit_local", UNTIMED, "seed=range(3)", "tracking=none"],
        cwd=tmp_path, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": site, "FWCOMPARE_CACHE": str(cache),
             "STUB_FAULTS": "0=step:hang"},
    )  # fmt: skip
    for _ in itertools.takewhile(lambda _: process.poll() is None, range(600)):
        for events in tmp_path.glob("outputs/sweeps/s/*-s0-*/events.jsonl"):
            if line := events.read_text().partition("\n")[0]:
                yield process, psutil.Process(json.loads(line)["pid"])
                process.kill()
                process.communicate()
                return
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0])


def test_a_killed_job_costs_one_cell(hanging, tmp_path):
    process, worker = hanging
    worker.parent().kill()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 1, said
    records = read(tmp_path).records
    assert {seed: record.status for seed, record in records.items()} == {
        0: "killed", 1: "ok", 2: "ok",
    }  # fmt: skip
    assert not worker.is_running()


def test_ctrl_c_cancels_what_was_submitted(hanging, tmp_path):
    process, worker = hanging
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert read(tmp_path).records[0].status == "killed"
    assert not worker.is_running()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["hydra.launcher.nodes=2"], "a run is one process"),
        (["hydra/launcher=submitit_slurm"], "there is no SLURM here"),
    ],
)
def test_what_cannot_be_submitted_is_refused(sweep, monkeypatch, tmp_path, options, said):
    swept = sweep("submitit_local", "seed=0,1", *options, code=2, PATH=str(tmp_path))
    assert said in swept.said and not swept.listing


def test_a_job_of_an_earlier_command_leaves_the_cell_alone(tmp_path):
    (tmp_path / WORD_FILE).write_text("newer")
    assert run_folder(str(tmp_path / "run"), "older").startswith("left alone")
    assert not (tmp_path / "run").exists()

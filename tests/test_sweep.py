"""The life of a sweep: order, rows for what cannot be done, faults, interruption."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fwcompare.multirun import Cell, in_order
from fwcompare.record import RunRecord

SHORT = ["model=logistic", "trainer.epochs=2", "device.threads=1", "parity.in_sweep=false"]


def cells(count=3, engines=("a", "b", "c", "d")):
    made = [
        Cell([f"framework={engine}", "model=mlp", f"seed={seed}"], engine, seed, f"{engine}{seed}")
        for engine in engines
        for seed in range(count)
    ]
    random.Random(1).shuffle(made)
    return made


def test_engines_are_interleaved_within_each_seed():
    ordered = list(in_order(cells(), "name"))
    assert [cell.seed for cell in ordered] == [0] * 4 + [1] * 4 + [2] * 4
    orders = {tuple(c.engine for c in ordered if c.seed == seed) for seed in range(3)}
    assert len(orders) > 1, "the order within a seed is drawn anew for each"
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in orders)


def test_the_order_is_drawn_from_the_name():
    made = cells()
    one, same, other = (
        [cell.run for cell in in_order(made, name)] for name in ("one", "one", "other")
    )
    assert one == same != other


def test_interpreters_and_threads_are_arms_of_one_block():
    made = [
        Cell([f"device.threads={n}", f"++framework.python={p}", "seed=0"], "a", 0, f"{n}{p}")
        for n in (1, 2)
        for p in ("x", "y")
    ]
    orders = {tuple(cell.run for cell in in_order(made, str(name))) for name in range(30)}
    assert len(orders) > 8


def records(folder: Path) -> dict[str, RunRecord]:
    listing = json.loads((folder / "sweep.json").read_text())
    return {run: record for run in listing["runs"] if (record := RunRecord.read(folder / run))}


def test_what_an_engine_cannot_do_is_a_row(cli, tmp_path):
    ended = cli(
        "-m", "framework=pytorch,jax", "execution=native,eager", "seed=3", "sweep.name=s",
        "tracking=none", *SHORT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = records(tmp_path / "outputs/sweeps/s")
    statuses = sorted(record.status for record in found.values())
    assert statuses == ["ok", "ok", "unsupported"], "eager and native are one cell in PyTorch"
    assert "one cell" in ended.stderr
    assert "unsupported" in ended.stdout and "eager" in ended.stdout


def test_a_missing_plugin_leaves_its_row(cli, tmp_path, without_jax):
    ended = cli(
        "-m", "framework=pytorch,jax", "seed=3", "sweep.name=s", "tracking=none", *SHORT,
        PYTHONPATH=without_jax,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "pip install fwcompare-jax" in ended.stdout
    by_status = {record.status for record in records(tmp_path / "outputs/sweeps/s").values()}
    assert by_status == {"ok", "unsupported"}


def test_a_failed_run_does_not_end_the_sweep(cli, tmp_path):
    ended = cli(
        "-m", "framework=pytorch", "optimizer=sgd", "optimizer.lr=1e38,0.1", "seed=0,1",
        "model=mlp", "trainer.epochs=2", "device.threads=1", "parity.in_sweep=false",
        "sweep.name=s", "tracking=none",
    )  # fmt: skip
    assert ended.returncode == 1, ended.stdout + ended.stderr
    found = records(tmp_path / "outputs/sweeps/s")
    assert sorted(record.status for record in found.values()) == ["diverged"] * 2 + ["ok"] * 2
    assert "optimizer.lr" in ended.stdout or "became" in ended.stdout
    again = cli("report", "s")
    assert again.returncode == 0 and "diverged" in again.stdout
    as_json = json.loads(cli("report", "s", "--format", "json").stdout)
    assert len(as_json["comparisons"]) == 2, "two learning rates are two experiments"


def test_a_control_repeats_the_baseline(cli, tmp_path):
    ended = cli(
        "-m", "framework=jax,pytorch", "seed=0,1", "compare.baseline=pytorch",
        "compare.control=true", "sweep.name=s", "tracking=none", *SHORT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    listing = json.loads((tmp_path / "outputs/sweeps/s/sweep.json").read_text())
    controls = [cell for cell in listing["cells"] if cell["control"]]
    assert [(cell["engine"], cell["seed"]) for cell in controls] == [("pytorch", 0), ("pytorch", 1)]
    assert [cell["seed"] for cell in listing["cells"]] == [0, 0, 0, 1, 1, 1], "in the same blocks"
    (comparison,) = json.loads(cli("report", "s", "--format", "json").stdout)["comparisons"]
    assert comparison["baseline"] == "pytorch"
    assert {row["label"]: row["speed"]["kind"] for row in comparison["rows"]} == {
        "pytorch": "baseline", "pytorch (again)": "control", "jax": "too few seeds to say",
    }  # fmt: skip


def test_thresholds_out_of_range_are_said_before_any_work(cli, tmp_path):
    ended = cli("-m", "framework=pytorch", "compare.confidence=2", "tracking=none")
    assert ended.returncode == 2 and "compare.confidence" in ended.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_an_interrupted_sweep_keeps_what_had_ended(tmp_path, cache, number, code):
    folder = tmp_path / "outputs/sweeps/s"
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "fwcompare"), "-m", "framework=pytorch",
            "seed=range(0,9)", "sweep.name=s", *SHORT,
        ],
        cwd=tmp_path, env={**os.environ, "FWCOMPARE_CACHE": str(cache)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/record.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "logistic on digits" in shown, "what had ended is compared"
    assert "ok" in {record.status for record in records(folder).values()}
    assert not [child for child in children if child.is_running()], "a worker was left behind"


def test_mlflow_out_of_reach_costs_no_run(cli, tmp_path):
    ended = cli(
        "-m", "framework=pytorch", "seed=0,1", "sweep.name=s", "tracking=server",
        "tracking.uri=http://127.0.0.1:9", *SHORT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "fwcompare sync" in ended.stderr
    assert {r.status for r in records(tmp_path / "outputs/sweeps/s").values()} == {"ok"}
    synced = cli("sync")
    assert synced.returncode == 0 and "2 runs" in synced.stdout

"""A sweep is taken up where it was left, whatever ended it; the stub engine is told how to fail."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fwcompare.record import RunRecord
from fwcompare.spec import RunSpec
from fwcompare.testing import write_plugin

SUPPORT = Path(__file__).parent / "support"
SHORT = [
    "-m", "framework=stub", "model=logistic", "optimizer=sgd", "trainer.epochs=3",
    "device.threads=1", "parity.in_sweep=false", "sweep.name=s",
]  # fmt: skip


@pytest.fixture
def site(tmp_path) -> str:
    """What PYTHONPATH must be for the stub engine to be installed."""
    write_plugin(
        tmp_path / "site",
        "stub",
        f"import sys\nsys.path.insert(0, {str(SUPPORT)!r})\nfrom stub_engine import FRONT\n",
    )
    return str(tmp_path / "site")


@pytest.fixture
def sweep(cli, site, tmp_path):
    """Run the sweep ``s`` of the stub engine, with a fault by seed; what it says, and its cells."""

    def run(*options: str, faults: str = "", code: int = 0):
        given = options if any(o.startswith("tracking") for o in options) else (
            *options, "tracking=none",
        )  # fmt: skip
        ended = cli(*SHORT, *given, PYTHONPATH=site, STUB_FAULTS=faults)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr, cells(tmp_path)

    return run


def attempt(run: Path) -> int:
    """Which attempt a run is; 0 where its folder is lost."""
    path = run / "spec.json"
    return RunSpec.read(path).attempt if path.exists() else 0


def cells(root: Path) -> dict[int, tuple[str, int, RunRecord | None, list[str]]]:
    """Run, attempt, record and older attempts of each cell by its seed."""
    folder = root / "outputs/sweeps/s"
    listing = json.loads((folder / "sweep.json").read_text())
    return {
        cell["seed"]: (
            cell["run"],
            attempt(folder / cell["run"]),
            RunRecord.read(folder / cell["run"]),
            cell["superseded"],
        )
        for cell in listing["cells"]
    }


def test_what_is_done_is_skipped_and_the_rest_is_run_again(sweep, tmp_path):
    _, first = sweep("seed=0,1,2", faults="1=step:SIGKILL,2=middle:nan", code=1)
    assert [first[seed][2].status for seed in (0, 1, 2)] == ["ok", "killed", "diverged"]

    said, none = sweep("seed=0,1,2,3", "sweep.retry=none", code=1)
    assert "3 of 4 cells were done" in said
    assert {seed: none[seed][0] for seed in (0, 1, 2)} == {
        seed: first[seed][0] for seed in (0, 1, 2)
    }
    assert none[3][2].ok

    said, again = sweep("seed=0,1,2,3")
    assert "2 of 4 cells were done; run again: 1 diverged, 1 killed." in said
    assert again[0][0] == first[0][0] and again[3][0] == none[3][0]
    for seed in (1, 2):
        run, attempt, record, older = again[seed]
        assert (attempt, record.status, older) == (2, "ok", [first[seed][0]])
        assert (tmp_path / "outputs/sweeps/s" / first[seed][0] / "record.json").is_file()
        assert run != first[seed][0]
    comparison = json.loads((tmp_path / "outputs/sweeps/s/comparison.json").read_text())
    (row,) = comparison["comparisons"][0]["rows"]
    assert sorted(row["runs"]) == sorted(cell[0] for cell in again.values())


def test_another_measurement_is_not_done_and_other_cells_stay(sweep):
    _, first = sweep("seed=0,1")
    said, second = sweep("seed=1,2", "measure.block_ms=10")
    assert "0 of 2 cells were done; run again: 1 changed; 1 of an earlier command stay" in said
    assert second[0] == first[0]
    assert second[1][1] == 2 and second[1][3] == [first[1][0]]
    _, third = sweep("seed=1,2", "measure.block_ms=10", "sweep.retry=all")
    assert {seed: third[seed][1] for seed in (0, 1, 2)} == {0: 1, 1: 3, 2: 2}
    said, _ = sweep("seed=1", "sweep.retry=some", code=2)
    assert "sweep.retry" in said and "failed" in said


def begun(root: Path, site: str, cache: Path, *options: str, faults: str) -> subprocess.Popen[str]:
    """A sweep that has come to a run that hangs."""
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "fwcompare"), *SHORT, *options],
        cwd=root, env={**os.environ, "FWCOMPARE_CACHE": str(cache), "PYTHONPATH": site,
                       "STUB_FAULTS": faults, "COLUMNS": "160"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    events = "outputs/sweeps/s/*-s1-*/events.jsonl"
    while not any('"epoch"' in path.read_text() for path in root.glob(events)):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "fwcompare.worker" in child.cmdline()
    ]


def gone(children: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(children, timeout=10)
    return not alive


def mlflow_runs(root: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """Status and tags by the name of the run folder; the sweep under its own name."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{root}/outputs/mlflow.db")
    experiments = [found.experiment_id for found in client.search_experiments()]
    return {
        run.data.tags.get("fwcompare.run", run.info.run_name): (run.info.status, run.data.tags)
        for run in client.search_runs(experiments)
    }


def test_a_killed_parent_leaves_no_worker_and_its_sweep_is_taken_up(
    sweep, cli, site, tmp_path, cache
):
    # The store is there already: making one on a busy machine takes longer than a sweep waits.
    made = cli(*SHORT, "seed=5", "sweep.name=first", PYTHONPATH=site)
    assert made.returncode == 0, made.stderr
    process = begun(tmp_path, site, cache, "seed=0,1,2", faults="1=middle:hang")
    children = workers(process)
    assert len(children) == 1
    process.kill()
    process.communicate()
    assert gone(children), "a worker outlived its parent"
    cut_off = cells(tmp_path)[1][0]
    assert RunRecord.read(tmp_path / "outputs/sweeps/s" / cut_off) is None
    assert mlflow_runs(tmp_path)["s"][0] == "RUNNING"

    said, found = sweep("seed=0,1,2", "tracking=sqlite")
    assert "1 of 3 cells were done; run again: 1 killed." in said
    run, attempt, record, older = found[1]
    assert (attempt, record.status, older) == (2, "ok", [cut_off])
    before = RunRecord.read(tmp_path / "outputs/sweeps/s" / cut_off)
    assert before.status == "killed" and "cut off" in before.reason
    assert [epoch["epoch"] for epoch in before.history] == [1], "what it had come to is kept"
    assert before.last_events
    shown = mlflow_runs(tmp_path)
    assert {name for name, (status, _) in shown.items() if status == "RUNNING"} == set()
    assert shown[run][1]["fwcompare.attempt"] == "2"
    sweeps = [name for name, (_, tags) in shown.items() if tags["fwcompare.kind"] == "sweep"]
    assert sorted(sweeps) == ["first", "s"]


def test_another_start_ends_what_was_cut_off(cli, site, tmp_path, cache):
    process = begun(tmp_path, site, cache, "seed=0,1", faults="1=middle:hang")
    process.kill()
    process.communicate()
    ended = cli(
        "framework=stub", "model=logistic", "optimizer=sgd", "device.threads=1", PYTHONPATH=site
    )
    assert ended.returncode == 0, ended.stderr
    assert "had been cut off" in ended.stderr
    assert cells(tmp_path)[1][2].status == "killed"
    assert {status for status, _ in mlflow_runs(tmp_path).values()} == {"FINISHED", "KILLED"}


def test_ctrl_c_reports_and_says_how_to_go_on(site, tmp_path, cache):
    process = begun(tmp_path, site, cache, "seed=0,1,2", "tracking=none", faults="1=middle:hang")
    children = workers(process)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert "1 of 3 cells are done. To run the rest:" in said and "sweep.name=s" in said
    assert "logistic on digits" in shown
    assert cells(tmp_path)[1][2].status == "killed"
    assert "Ctrl-C" in cells(tmp_path)[1][2].reason
    assert gone(children)


def test_a_second_ctrl_c_stops_at_once(site, tmp_path, cache):
    process = begun(tmp_path, site, cache, "seed=0,1", "tracking=none", faults="1=middle:hang_deaf")
    children = workers(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)  # within the grace of a worker that does not listen
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped at once" in said
    assert gone(children)


def test_a_sweep_whose_folder_is_removed_goes_on(site, tmp_path, cache):
    """What had ended is compared as it was seen, what ends later is kept in a folder made anew."""
    process = begun(tmp_path, site, cache, "seed=0,1,2", "tracking=none", faults="1=middle:hang")
    (child,) = workers(process)
    shutil.rmtree(tmp_path / "outputs/sweeps/s")
    child.kill()
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert "2 of 3 cells are done" in said and "logistic on digits" in shown
    assert "2 ok, 1 killed" in shown, "the run whose folder is lost is not compared"
    left = cells(tmp_path)
    assert {seed: record and record.status for seed, (_, _, record, _) in left.items()} == {
        0: None, 1: "killed", 2: "ok",
    }  # fmt: skip


def full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


@pytest.mark.parametrize(
    "spoil", [full, lambda: os.close(2), lambda: os.closerange(0, 3)], ids=["full", "2", "all"]
)
def test_a_terminal_that_takes_nothing_costs_no_run(site, tmp_path, cache, spoil):
    code = subprocess.run(
        [str(Path(sys.executable).parent / "fwcompare"), *SHORT, "seed=0,1", "tracking=none"],
        cwd=tmp_path, check=False, preexec_fn=spoil, stdout=subprocess.DEVNULL,
        env={**os.environ, "FWCOMPARE_CACHE": str(cache), "PYTHONPATH": site},
    ).returncode  # fmt: skip
    assert code == 0
    assert {record and record.status for _, _, record, _ in cells(tmp_path).values()} == {"ok"}


def test_a_full_disk_behind_standard_output_is_said(site, tmp_path, cache):
    """What was run is kept; what could not be shown is said in one line, and not as a defect."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [str(Path(sys.executable).parent / "fwcompare"), *SHORT, "seed=0", "tracking=none"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False,
            env={**os.environ, "FWCOMPARE_CACHE": str(cache), "PYTHONPATH": site},
        )  # fmt: skip
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.count("No space left on device") == 1
    assert cells(tmp_path)[0][2].status == "ok"


def final(record: RunRecord) -> str:
    return record.digests["final_weights"]


def test_a_cell_goes_on_from_its_checkpoint_to_the_same_bits(sweep, cli, site, tmp_path):
    options = ("seed=0,1", "precision=float64", "trainer.epochs=4")
    _, plain = sweep(*options)
    cut = ("trainer.checkpoint_epochs=1", "sweep.name=cut")
    ended = cli(*SHORT, *options, *cut, "tracking=none", PYTHONPATH=site,
                STUB_FAULTS="1=middle:SIGKILL")  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    ended = cli(*SHORT, *options, *cut, "tracking=none", PYTHONPATH=site)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "outputs/sweeps/cut"
    (run,) = [
        cell["run"] for cell in json.loads((folder / "sweep.json").read_text())["cells"]
        if cell["seed"] == 1
    ]  # fmt: skip
    record = RunRecord.read(folder / run)
    assert record.facts["resumed"]["epoch"] == 1
    assert any("two processes" in warning for warning in record.warnings)
    assert [epoch["epoch"] for epoch in record.history] == [1, 2, 3, 4]
    assert {epoch for epoch, _, _ in record.blocks} == {1, 2, 3, 4}
    assert record.phases["checkpoint"]["seconds"] > 0
    assert final(record) == final(plain[1][2])
    assert "checkpoint" not in plain[1][2].phases, "what is not asked for costs nothing"

    single = ["framework=stub", "model=logistic", "optimizer=sgd", "precision=float64", "seed=1",
              "device.threads=1", "tracking=none", f"trainer.resume={run}"]  # fmt: skip
    longer = cli(*single, "trainer.epochs=6", PYTHONPATH=site)
    assert longer.returncode == 0, longer.stderr
    other = cli(*single, "trainer.batch_size=32", PYTHONPATH=site)
    assert other.returncode == 2 and "trainer.batch_size" in other.stderr
    nowhere = cli(*single[:-1], "trainer.resume=nowhere", PYTHONPATH=site)
    assert nowhere.returncode == 2 and "checkpoint" in nowhere.stderr


def test_doctor_lists_what_crashes_have_left_and_mends_it(sweep, cli, site, tmp_path):
    sweep("seed=0,1,2")
    folder = tmp_path / "outputs/sweeps/s"
    torn, garbled, lost = (folder / cell[0] for cell in cells(tmp_path).values())
    whole = (torn / "events.jsonl").read_bytes()
    with (torn / "events.jsonl").open("a") as file:
        file.write('{"event": "ep')
    (garbled / "record.json").write_text('{"schema_version": 1, "status"')
    (lost / "record.json").unlink()
    (lost / "weights/final.safetensors.99999999.part").touch()
    (folder / "comparison.json").unlink()
    listed = cli("doctor", PYTHONPATH=site)
    assert listed.returncode == 0 and "fwcompare doctor --repair" in listed.stdout
    for words in (
        "torn last event", "record that cannot be read", "run without a record", "never finished",
    ):  # fmt: skip
        assert words in listed.stdout, words
    assert RunRecord.read(lost) is None, "nothing is changed by looking"
    mended = cli("doctor", "--repair", PYTHONPATH=site)
    assert mended.returncode == 0, mended.stdout
    assert mended.stdout.count("mended:") == 5, mended.stdout
    assert (torn / "events.jsonl").read_bytes() == whole
    assert (garbled / "record.json.damaged").is_file()
    for run in (garbled, lost):
        record = RunRecord.read(run)
        assert record.status == "killed" and len(record.history) == 3
    assert not list(tmp_path.glob("outputs/**/*.part"))
    assert (folder / "comparison.json").is_file()
    again = cli("doctor", PYTHONPATH=site)
    assert "--repair" not in again.stdout

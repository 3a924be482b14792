"""Every end of a worker is a record with a status: a stub engine is told how to die."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fwcompare import launch, testing
from fwcompare.conformance import trial
from fwcompare.errors import RequestError
from fwcompare.record import EVENTS_FILE, FINAL_WEIGHTS, RunRecord, read_events

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from stub_engine import StubFront

LAYERS = [
    {"name": "flat", "kind": "flatten"},
    {"name": "logits", "kind": "dense", "units": 3},
]


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Make a run of the stub engine that fails as told."""

    def make(fault: str = "", **options):
        engine = StubFront(fault)
        for module in (launch, trial):
            monkeypatch.setattr(module, "front", lambda name: engine)
        data = testing.small_data(tmp_path / "data", (4, 2, 1), 3)
        optimizer = testing.optimizer("sgd", lr=0.5)
        training = {"epochs": 3, **options}
        return testing.make_run(
            tmp_path, "stub", LAYERS, data, optimizer=optimizer, training=training
        )

    return make


def workers_of(folder):
    """Processes that still run for this folder; warm workers of other tests are none."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and str(folder) in process.cmdline()
    ]


def test_a_good_run(stub):
    spec, folder = stub()
    record = launch.run(spec, folder)
    assert (record.status, record.reason) == ("ok", "")
    losses = [epoch["train/loss"] for epoch in record.history]
    assert losses == sorted(losses, reverse=True) and len(losses) == 3
    for name in ("import", "build", "train", "eval", "predict", "export"):
        assert record.phases[name]["seconds"] >= 0
    for key in (
        "test/loss", "test/accuracy", "val/loss", "val/accuracy", "train/loss", "time/import_s",
        "time/build_s", "time/first_step_s", "time/compile_s", "time/train_s", "time/eval_s",
        "time/total_s", "perf/samples_per_s", "perf/step_ms_median", "perf/step_ms_block_p95",
        "perf/cpu_cores_used", "memory/peak_rss_mib", "memory/peak_rss_mib_train",
        "model/parameters", "model/flops_per_sample",
    ):  # fmt: skip
        assert key in record.metrics, key
    assert record.metrics["model/parameters"] == 8 * 3 + 3
    assert (folder / FINAL_WEIGHTS).is_file()
    assert record.digests["initial_weights"] != record.digests["final_weights"]
    assert len(record.digests["batches"]) == 3
    assert record == RunRecord.read(folder)


def test_events_come_as_the_run_goes(stub):
    spec, folder = stub()
    heard = []
    launch.run(spec, folder, heard.append)
    kinds = [event["event"] for event in heard]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.count("epoch") == 3
    assert heard == [event for event, _ in read_events(folder / EVENTS_FILE)]


@pytest.mark.parametrize("phase", ["import", "build", "step", "between", "weights"])
@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("raise", "failed", "ValueError: the stub was told to raise"),
        ("memory", "out_of_memory", "MemoryError"),
        ("exit", "failed", "exit code 3"),
        ("SIGKILL", "killed", "SIGKILL"),
        ("SIGSEGV", "failed", "SIGSEGV"),
    ],
)
def test_every_end_is_a_record(stub, phase, fault, status, words):
    spec, folder = stub(f"{phase}:{fault}")
    record = launch.run(spec, folder)
    assert record.status == status
    assert words in record.reason and "\n" not in record.reason
    assert RunRecord.read(folder) == record
    # The validation at the end of the first epoch comes before that epoch is written down.
    expected = 3 if phase == "weights" else 0
    assert len(record.history) == expected


def test_a_loss_that_is_not_finite(stub):
    spec, folder = stub("step:nan")
    record = launch.run(spec, folder)
    assert record.status == "diverged" and "epoch 1" in record.reason


def test_initial_weights_that_no_memory_holds(stub):
    spec, folder = stub()
    layers = (LAYERS[0], {"name": "logits", "kind": "dense", "units": 2**44})
    record = launch.run(spec.but(model=replace(spec.model, layers=layers)), folder)
    assert record.status == "out_of_memory" and "initial weights" in record.reason
    assert RunRecord.read(folder) == record


def test_a_run_without_end_is_ended(stub):
    spec, folder = stub("step:hang", timeout_s=3.0)
    record = launch.run(spec, folder)
    assert record.status == "timeout" and "timeout_s=3" in record.reason
    assert not workers_of(folder)


def test_ctrl_c_ends_the_worker_and_leaves_a_record(stub):
    spec, folder = stub("step:hang")

    def interrupt(event):
        if event["event"] == "phase" and event["name"] == "build":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run(spec, folder, interrupt)
    assert RunRecord.read(folder).status == "killed"
    assert not workers_of(folder)


def test_the_worker_has_the_cores_it_was_given(stub):
    spec, folder = stub()
    record = launch.run(spec, folder)
    assert record.environment["cores"] == sorted(launch.worker_cores(1))


def test_an_interpreter_that_is_none(stub, tmp_path):
    spec, folder = stub()
    other = spec.framework.__class__("stub", spec.framework.trainer, (), str(tmp_path / "python"))
    with pytest.raises(RequestError, match="cannot be started"):
        launch.run(spec.but(framework=other), folder)


def test_a_warm_worker_runs_one_after_another(stub):
    first, second = stub(), stub()
    # Libraries used by tests that ran before this one may keep threads of theirs.
    before = set(threading.enumerate())
    with launch.WarmWorker(first[0]) as worker:
        records = [worker.run(*made) for made in (first, second)]
    assert [record.status for record in records] == ["ok", "ok"]
    assert records[0].digests == records[1].digests
    assert not set(threading.enumerate()) - before

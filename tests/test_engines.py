"""One declared CNN in every engine: the same start, the same batches, and it learns."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fwcompare.arms import load_runs
from fwcompare.compose import compose
from fwcompare.launch import prepare
from fwcompare.parity.prove import for_engine
from fwcompare.parity.trace import Trace
from fwcompare.record import RunRecord

ENGINES = (
    "pytorch",
    "lightning",
    "tensorflow",
    "keras_tensorflow",
    "keras_jax",
    "keras_torch",
    "jax",
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, cache):
    """All seven engines on the digits, by the command line, tracked in MLflow."""
    import os
    import subprocess
    import sys
    from pathlib import Path

    folder = tmp_path_factory.mktemp("sweep")
    ended = subprocess.run(
        [
            str(Path(sys.executable).parent / "fwcompare"), "-m",
            f"framework={','.join(ENGINES)}", "model=cnn", "trainer.epochs=15",
            "device.threads=1", "sweep.name=all", "parity.in_sweep=false",
        ],
        cwd=folder, capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "FWCOMPARE_CACHE": str(cache), "COLUMNS": "180"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder, ended, {run.engine: run for run in load_runs(folder / "outputs/sweeps/all")}


@pytest.mark.parametrize("engine", ENGINES)
def test_it_learns(sweep, engine):
    record = sweep[2][engine].record
    assert record.status == "ok", record.reason
    losses = [epoch["train/loss"] for epoch in record.history]
    assert len(losses) == 15 and np.isfinite(losses).all()
    assert losses[-1] < 0.1 < losses[0]
    assert record.metrics["test/accuracy"] >= 0.95


@pytest.mark.parametrize("engine", ENGINES)
def test_completion_is_waited_for(sweep, engine):
    """Were a block closed before its work is done, its steps would look many times too fast."""
    record = sweep[2][engine].record
    steps = sum(count for _, count, _ in record.blocks)
    typical = record.metrics["perf/step_ms_median"] / 1e3
    blocks = sum(seconds for *_, seconds in record.blocks)
    assert typical * steps > 0.5 * blocks
    times = np.array([seconds / count for _, count, seconds in record.blocks])
    assert times.min() > 0.2 * np.median(times)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_metric_of_the_contract_is_there(sweep, engine):
    metrics = sweep[2][engine].record.metrics
    for key in (
        "train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy",
        "time/import_s", "time/build_s", "time/first_step_s", "time/compile_s", "time/train_s",
        "time/eval_s", "time/total_s", "perf/samples_per_s", "perf/step_ms_median",
        "perf/step_ms_block_p95", "perf/predict_samples_per_s", "perf/predict_ms_batch1_p50",
        "perf/cpu_cores_used", "memory/peak_rss_mib", "memory/peak_rss_mib_train",
        "model/parameters", "model/flops_per_sample",
    ):  # fmt: skip
        assert np.isfinite(metrics[key]), key


def test_all_had_the_same_data_weights_and_batches(sweep):
    digests = [run.record.digests for run in sweep[2].values()]
    for key in ("data", "initial_weights", "batches"):
        assert len({json.dumps(d[key]) for d in digests}) == 1, key
    assert len({d["final_weights"] for d in digests}) > 1


def test_frameworks_stay_on_the_cores_they_were_given(sweep):
    for engine, run in sweep[2].items():
        assert run.record.metrics["perf/cpu_cores_used"] <= 1.05, engine


def test_training_is_the_same_but_for_rounding(sweep):
    """After an epoch in float32 rounding has not taken over yet."""
    first = [run.record.history[0]["train/loss"] for run in sweep[2].values()]
    assert np.ptp(first) / np.mean(first) < 1e-4


def test_the_comparison_is_printed(sweep):
    shown = sweep[1].stdout
    for engine in ENGINES:
        assert engine in shown
    assert "baseline" in shown and "samples/s" in shown


def test_mlflow_knows_every_name(sweep):
    import mlflow

    store = mlflow.MlflowClient(f"sqlite:///{sweep[0] / 'outputs/mlflow.db'}")
    (experiment,) = [e for e in store.search_experiments() if e.name == "fwcompare"]
    runs = store.search_runs([experiment.experiment_id], "tags.`fwcompare.kind` = 'run'")
    assert {run.data.tags["fwcompare.framework"] for run in runs} == set(ENGINES)
    (parent,) = store.search_runs([experiment.experiment_id], "tags.`fwcompare.kind` = 'sweep'")
    for run in runs:
        record = sweep[2][run.data.tags["fwcompare.framework"]].record
        assert set(record.metrics) <= set(run.data.metrics)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        for tag in (
            "model", "dataset", "optimizer", "device", "precision", "execution", "semantics",
            "seed", "status", "attempt", "comparable", "sweep", "run", "group", "arm", "cell",
        ):  # fmt: skip
            assert f"fwcompare.{tag}" in run.data.tags, tag
        history = store.get_metric_history(run.info.run_id, "val/accuracy")
        assert [point.step for point in history] == list(range(1, 16))


@pytest.fixture(scope="module")
def outputs(warm, tmp_path_factory, cache):
    """Initial and trained outputs of each engine in float32, in warm workers."""
    folder = tmp_path_factory.mktemp("traces")
    made = compose(
        ["model=cnn", "device.threads=1", f"paths.cache={cache}", "trainer.max_steps=3"]
    ).plan()
    traces = {}
    for engine in ENGINES:
        spec = for_engine(made.spec, engine, "native")
        prepare(spec, folder / engine)
        assert warm.trace(spec, folder / engine)["status"] == "ok", engine
        traces[engine] = Trace.read(folder / engine)
    return traces


@pytest.mark.parametrize("engine", ENGINES)
def test_initial_logits_are_the_same(outputs, engine):
    expected = outputs["pytorch"].of("eval")["logits"]
    assert np.abs(outputs[engine].of("eval")["logits"] - expected).max() <= 1e-5


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_go_from_any_engine_to_any_other(sweep, engine, warm, tmp_path, cache):
    """Trained in the next engine, loaded in this one: the same predictions."""
    other = ENGINES[(ENGINES.index(engine) + 1) % len(ENGINES)]
    source = sweep[0] / "outputs/sweeps/all" / sweep[2][other].record.run
    made = compose(
        [
            "model=cnn", f"framework={engine}", f"init.from={source}", "trainer.epochs=0",
            "device.threads=1", f"paths.cache={cache}",
        ]
    ).plan()  # fmt: skip
    spec = made.spec.but(run="loaded")
    prepare(spec, tmp_path / "loaded")
    warm.run(spec, tmp_path / "loaded")
    record = RunRecord.read(tmp_path / "loaded")
    assert record.status == "ok", record.reason
    trained = sweep[2][other].record.metrics
    assert record.metrics["test/accuracy"] == trained["test/accuracy"]
    assert record.metrics["test/loss"] == pytest.approx(trained["test/loss"], rel=1e-4)

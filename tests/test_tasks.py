"""Every task, end to end by the shipped configuration: data, loss, metric, and it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fwcompare import metrics
from fwcompare.compose import compose
from fwcompare.data.batches import DataFolder
from fwcompare.launch import prepare
from fwcompare.record import SAMPLES_FILE, SPEC_FILE, RunRecord
from fwcompare.spec import RunSpec

ENGINES = ("pytorch", "jax", "keras_tensorflow", "tensorflow")

#: Overrides and the metric of each task.
TASKS = {
    "classification": (["zoo=logistic", "optimizer.lr=0.02"], "accuracy"),
    "multi_label": (
        ["zoo=cnn", "dataset.params.input_shape=[4,4,1]", "optimizer.lr=0.01"],
        "micro_f1",
    ),
    "regression": (["zoo=mlp"], "mae"),
    "language_modelling": (["zoo=gpt_small", "dataset.params.steps=16"], "perplexity"),
    "reconstruction": (["zoo=autoencoder"], "mae"),
}


@pytest.fixture(scope="module")
def ended(warm, cache, tmp_path_factory):
    """Runs a task in an engine once, and gives its folder and its record."""
    known = {}

    def run(task, engine):
        if (task, engine) not in known:
            options = [
                f"framework={engine}", "device.threads=1", "seed=3", f"paths.cache={cache}",
                "trainer.batch_size=16", "trainer.epochs=8", "trainer.max_steps=40",
                "measure.predict_calls=0",
            ]  # fmt: skip
            folder = tmp_path_factory.mktemp(task) / engine
            spec = compose([*TASKS[task][0], *options]).plan().spec.but(run=f"{task}-{engine}")
            prepare(spec, folder)
            warm.run(spec, folder)
            known[task, engine] = folder, RunRecord.read(folder)
        return known[task, engine]

    return run


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_it_learns_as_elsewhere(ended, task, engine):
    folder, record = ended(task, engine)
    assert record.status == "ok", record.reason
    spec = RunSpec.read(folder / SPEC_FILE)
    data = DataFolder.open(Path(spec.dataset.folder), spec.task.reconstructs)
    test = data.split("test", spec.dtype)
    nothing = np.zeros((len(test), *data.output_shape))
    assert record.metrics["test/loss"] < metrics.loss(spec.task.loss, nothing, test.targets)

    metric = TASKS[task][1]
    there = ended(task, "pytorch")[1]
    near = {"abs": 0.05} if metrics.is_share(metric) else {"rel": 0.01}
    for key in (f"test/{metric}", f"val/{metric}"):
        assert record.metrics[key] == pytest.approx(there.metrics[key], **near)
    first, expected = (r.history[0]["train/loss"] for r in (record, there))
    assert first == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_language_model_writes(ended, engine):
    folder, record = ended("language_modelling", engine)
    text = (folder / SAMPLES_FILE).read_text(encoding="utf-8")
    assert "given 16 tokens of the test split" in text
    *_, written = text.split("written by the model\n")
    assert 20 <= len(written.rstrip("\n").encode("utf-8", "replace")) <= 80
    assert record.phases["sample"]["seconds"] > 0
    assert record.metrics["time/sample_s"] == record.phases["sample"]["seconds"]


def test_only_a_language_model_writes(ended):
    folder, record = ended("classification", "pytorch")
    assert not (folder / SAMPLES_FILE).exists()
    assert "sample" not in record.phases

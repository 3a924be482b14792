"""Every engine, fed batch by batch: from data beyond memory, and from images drawn anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import DataFolder
from fwcompare.launch import prepare
from fwcompare.plugin import installed
from fwcompare.record import RunRecord
from fwcompare.spec import Augment
from fwcompare.testing import make_run, optimizer, small_data

ENGINES = (
    "pytorch", "lightning", "tensorflow", "keras_tensorflow", "keras_jax", "keras_torch", "jax",
)  # fmt: skip

LAYERS: list[dict[str, Any]] = [
    {"name": "conv", "kind": "conv2d", "filters": 4, "kernel_size": 3},
    {"name": "relu", "kind": "activation", "function": "relu"},
    {"name": "flatten", "kind": "flatten"},
    {"name": "out", "kind": "dense", "units": 3},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataFolder:
    return small_data(tmp_path_factory.mktemp("data") / "data", (8, 8, 1), 3, samples=70)


@pytest.fixture(scope="module")
def ran(warm, data, tmp_path_factory):
    """Two epochs, the last batch of each a smaller one; each kind of run once an engine."""
    known: dict[Any, RunRecord] = {}

    def run(engine: str, kind: str) -> RunRecord:
        if (engine, kind) not in known:
            spec, folder = make_run(
                tmp_path_factory.mktemp(kind), engine, LAYERS, data, optimizer=optimizer("adam"),
                training={"epochs": 2, "drop_last": False},
            )  # fmt: skip
            if kind == "streamed":
                spec = spec.but(training=replace(spec.training, resident_mib=0))
            elif kind == "augmented":
                spec = spec.but(augment=Augment(flip=True, crop=1))
            prepare(spec, folder)
            known[engine, kind] = warm.run(spec, folder)
        assert known[engine, kind].ok, known[engine, kind].reason
        return known[engine, kind]

    return run


def losses(record: RunRecord) -> np.ndarray:
    return np.array(record.samples["step_losses"])


def test_these_are_all_engines():
    assert set(ENGINES) == set(installed())


@pytest.mark.parametrize("engine", ENGINES)
def test_data_beyond_memory_train_as_data_in_memory_do(ran, engine):
    resident, streamed = ran(engine, "resident"), ran(engine, "streamed")
    assert resident.facts["training_data"] == "in memory"
    assert streamed.facts["training_data"] == "batch by batch"
    assert resident.digests["batches"] == streamed.digests["batches"]
    assert len(losses(streamed)) == 10
    np.testing.assert_allclose(losses(streamed), losses(resident), rtol=1e-6)
    for key in ("val/loss", "test/loss"):
        assert streamed.metrics[key] == pytest.approx(resident.metrics[key], rel=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_see_the_same_images_in_every_epoch(ran, engine):
    plain, augmented = ran(engine, "resident"), ran(engine, "augmented")
    there = ran("pytorch", "augmented")
    assert len(set(augmented.digests["augmented"])) == 2
    assert augmented.digests["augmented"] == there.digests["augmented"]
    np.testing.assert_allclose(losses(augmented), losses(there), rtol=1e-6)
    assert abs(losses(augmented) - losses(plain)).min() > 1e-6
    assert augmented.metrics["time/augment_s"] > 0
    assert augmented.digests["initial_weights"] == plain.digests["initial_weights"]


def test_neither_changes_the_keys_of_a_run_without(warm, data, tmp_path):
    spec, _ = make_run(tmp_path, "pytorch", LAYERS, data, optimizer=optimizer("adam"))
    streamed = spec.but(training=replace(spec.training, resident_mib=0))
    assert streamed.group == spec.group  # the same mathematics
    assert streamed.arm != spec.arm  # at another speed
    augmented = spec.but(augment=Augment(flip=True))
    assert augmented.group != spec.group
    assert augmented.arm == spec.arm

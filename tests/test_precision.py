"""Mixed precision in every engine: what is rounded, what is not, and what a skipped step leaves.

The skipped steps are made by targets of 100: their gradients overflow float16 until the scale of
the loss has come down from where PyTorch, Flax (65536) and Keras (32768) begin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import DataFolder
from fwcompare.data.prepare import Split, write_folder
from fwcompare.graph import load
from fwcompare.launch import WarmPool
from fwcompare.plugin import front
from fwcompare.record import FINAL_WEIGHTS, INITIAL_WEIGHTS, RunRecord
from fwcompare.spec import Scheduler
from fwcompare.testing import make_run, optimizer, small_data

ENGINES = (
    "pytorch",
    "lightning",
    "tensorflow",
    "keras_tensorflow",
    "keras_jax",
    "keras_torch",
    "jax",
)
#: Lightning has no float16 on a CPU.
SCALING = tuple(engine for engine in ENGINES if engine != "lightning")
IMAGE = (8, 6, 2)
NETWORK: list[dict[str, Any]] = [
    {"name": "conv", "kind": "conv2d", "filters": 4, "kernel_size": 3, "bias": False},
    {"name": "norm", "kind": "batch_norm"},
    {"name": "relu", "kind": "activation", "function": "relu"},
    {"name": "pool", "kind": "avg_pool2d", "pool_size": 3, "stride": 2, "padding": "same"},
    {"name": "flat", "kind": "flatten"},
    {"name": "rows", "kind": "layer_norm"},
    {"name": "out", "kind": "dense", "units": 3},
]
LINE: list[dict[str, Any]] = [{"name": "out", "kind": "dense", "units": 1}]


class Ran:
    """A finished run and its weights."""

    def __init__(
        self, warm: WarmPool, root: Path, engine: str, layers: Any, data: DataFolder, **options: Any
    ) -> None:
        spec, folder = make_run(root / "runs", engine, layers, data, **options)
        self.record: RunRecord = warm.run(spec, folder)
        assert self.record.ok, self.record.reason
        self.initial = load(folder / INITIAL_WEIGHTS, spec.model.graph)
        self.final = load(folder / FINAL_WEIGHTS, spec.model.graph)
        self.losses = np.array(self.record.samples["step_losses"])

    @property
    def change(self) -> float:
        """The norm of how far the weights went."""
        return float(
            np.sqrt(sum(np.sum((self.final[k] - a) ** 2) for k, a in self.initial.items()))
        )


def far_off_data(folder: Path) -> DataFolder:
    random = np.random.default_rng(11)
    splits = {}
    for name, size in (("train", 256), ("val", 16), ("test", 16)):
        inputs = random.normal(size=(size, 4)).astype(np.float32)
        splits[name] = Split(inputs, 100 + random.normal(size=(size, 1)).astype(np.float32))
    return write_folder(folder, splits, {"outputs": 1})


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("engine", ENGINES)
def test_products_are_rounded_and_weights_are_not(
    warm: WarmPool, tmp_path: Path, engine: str, precision: str
) -> None:
    data = small_data(tmp_path / "data", IMAGE, 3)
    options = {"optimizer": optimizer("adam"), "training": {"epochs": 2}}
    whole = Ran(warm, tmp_path, engine, NETWORK, data, precision="float32", **options)
    spec, _ = make_run(tmp_path, engine, NETWORK, data, precision=precision, **options)
    if reason := front(engine).supports(spec):
        assert (engine, precision) == ("lightning", "mixed_float16")
        assert "float16" in reason
        return
    half = Ran(warm, tmp_path, engine, NETWORK, data, precision=precision, **options)
    assert {array.dtype for array in half.final.values()} == {np.dtype("float32")}
    difference = np.abs(half.losses[0] / whole.losses[0] - 1)
    assert 1e-6 < difference < 2e-2, "rounded to 8 or 11 bits, and to no fewer"
    np.testing.assert_allclose(half.losses, whole.losses, rtol=0.05)
    statistics = half.final["norm/moving_mean"]
    assert np.any(statistics != statistics.astype(np.float16)), "kept in float32"
    policy = half.record.facts["precision_policy"]
    assert policy["compute"] == precision.removeprefix("mixed_")
    assert not policy["tf32"]


@pytest.mark.parametrize("engine", SCALING)
def test_a_step_with_infinite_gradients_leaves_nothing_behind(
    warm: WarmPool, tmp_path: Path, engine: str
) -> None:
    decayed = optimizer("momentum", decay="decoupled", weight_decay=0.1, clip_norm=1.0)
    ran = Ran(
        warm, tmp_path, engine, LINE, far_off_data(tmp_path / "data"), precision="mixed_float16",
        optimizer=decayed, task="regression", training={"max_steps": 2},
    )  # fmt: skip
    assert ran.record.facts["loss_scale"] in (65536 / 4, 32768 / 4)
    for name, array in ran.initial.items():
        np.testing.assert_array_equal(ran.final[name], array)


@pytest.mark.parametrize("engine", SCALING)
def test_a_skipped_step_has_no_place_in_the_schedule_and_clipping_sees_unscaled_gradients(
    warm: WarmPool, tmp_path: Path, engine: str
) -> None:
    """Clipped to one, the first step taken is as long as the first rate; the rest hardly count."""
    ran = Ran(
        warm, tmp_path, engine, LINE, far_off_data(tmp_path / "data"), precision="mixed_float16",
        optimizer=optimizer("sgd", lr=0.5, clip_norm=1.0), task="regression",
        scheduler=Scheduler("step", step_epochs=1e-9, gamma=1e-3),
    )  # fmt: skip
    assert ran.record.facts["loss_scale"] < 32768
    assert ran.change == pytest.approx(0.5, rel=5e-3)


@pytest.mark.parametrize("semantics", ["aligned", "native"])
@pytest.mark.parametrize("engine", ENGINES)
def test_decay_and_schedule_are_those_of_float32(
    warm: WarmPool, tmp_path: Path, engine: str, semantics: str
) -> None:
    data = small_data(tmp_path / "data", (4,), 2, task="regression")
    ends = {}
    for precision in ("float32", "mixed_bfloat16"):
        ends[precision] = Ran(
            warm, tmp_path, engine, [{**LINE[0], "units": 2}], data, precision=precision,
            semantics=semantics, task="regression",
            optimizer=optimizer("sgd", decay="l2", weight_decay=0.5, clip_norm=0.5),
            scheduler=Scheduler("cosine", final_factor=0.1), training={"epochs": 2},
        ).final  # fmt: skip
    for name, array in ends["float32"].items():
        np.testing.assert_allclose(ends["mixed_bfloat16"][name], array, rtol=0, atol=0.01)

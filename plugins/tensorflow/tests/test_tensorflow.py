"""The TensorFlow engine: a loop of its own, with everything else shared with Keras."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fwcompare.data.batches import DataFolder
from fwcompare.record import RunRecord
from fwcompare.spec import EXECUTIONS, PRECISIONS, Scheduler
from fwcompare.testing import WarmPool, make_run, optimizer, small_data
from fwcompare_keras import TENSORFLOW as KERAS
from fwcompare_tensorflow import FRONT

IMAGE = (6, 5, 2)
#: A bias before batch norm has no gradient but rounding, which Adam turns into whole steps.
LAYERS: list[dict[str, Any]] = [
    {"name": "conv", "kind": "conv2d", "filters": 4, "kernel_size": 3, "stride": 2, "bias": False},
    {"name": "norm", "kind": "batch_norm"},
    {"name": "relu", "kind": "activation", "function": "relu"},
    {"name": "flat", "kind": "flatten"},
    {"name": "out", "kind": "dense", "units": 3},
]
#: Four whole batches and a smaller one an epoch, and an end in the middle of the second.
CUT_SHORT = {"epochs": 3, "drop_last": False, "max_steps": 8}


@pytest.fixture(scope="module")
def pool() -> Iterator[WarmPool]:
    """One warm worker serves this engine and Keras on TensorFlow."""
    with WarmPool() as made:
        yield made


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    return small_data(tmp_path / "data", IMAGE, 3, samples=70)


def ran(
    pool: WarmPool, root: Path, data: DataFolder, engine: str = "tensorflow", **options: Any
) -> RunRecord:
    options = {"optimizer": optimizer("adamw"), "training": CUT_SHORT, **options}
    record = pool.run(*make_run(root / "runs", engine, LAYERS, data, **options))
    assert record.ok, record.reason
    return record


def test_the_front_imports_no_framework() -> None:
    code = "import sys, fwcompare_tensorflow; print({'keras', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_one_environment_serves_keras_too(tmp_path: Path, data: DataFolder) -> None:
    spec, _ = make_run(tmp_path, "tensorflow", LAYERS, data, optimizer=optimizer("sgd"))
    for precision in PRECISIONS:
        changed = spec.but(precision=precision)
        assert FRONT.environment(changed) == KERAS.environment(changed)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_the_loop_trains_as_keras_fit_does(
    pool: WarmPool, tmp_path: Path, data: DataFolder, execution: str
) -> None:
    schedule = Scheduler("cosine", final_factor=0.1)
    own = ran(pool, tmp_path, data, execution=execution, scheduler=schedule)
    keras = ran(pool, tmp_path, data, engine="keras_tensorflow", scheduler=schedule)
    assert len(own.samples["step_losses"]) == CUT_SHORT["max_steps"]
    np.testing.assert_allclose(own.samples["step_losses"], keras.samples["step_losses"], rtol=1e-12)
    assert own.metrics["test/loss"] == pytest.approx(keras.metrics["test/loss"], rel=1e-12)
    assert own.facts["jit_compile"] == (execution == "compiled")


def test_a_run_is_repeated_bit_by_bit(pool: WarmPool, tmp_path: Path, data: DataFolder) -> None:
    options = {"optimizer": optimizer("momentum"), "precision": "float32"}
    records = [ran(pool, tmp_path, data, **options) for _ in range(2)]
    assert len({record.digests["final_weights"] for record in records}) == 1

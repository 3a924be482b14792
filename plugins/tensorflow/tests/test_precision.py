"""TensorFlow's arithmetic, and what it compiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fwcompare.launch import WarmPool
from fwcompare.record import RunRecord
from fwcompare.testing import make_run, optimizer, small_data

LAYERS: list[dict[str, Any]] = [
    {"name": "hidden", "kind": "dense", "units": 8},
    {"name": "relu", "kind": "activation", "function": "relu"},
    {"name": "out", "kind": "dense", "units": 3},
]


def ran(warm: WarmPool, root: Path, engine: str, **options: Any) -> RunRecord:
    """Two epochs of four whole batches and, with ``drop_last=False``, a smaller one."""
    data = small_data(root / "data", (6,), 3, samples=70)
    given = {"optimizer": optimizer("adam"), "precision": "float32", "step_losses": False}
    record = warm.run(*make_run(root / "runs", engine, LAYERS, data, **{**given, **options}))
    assert record.ok, record.reason
    return record


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_policy_is_recorded(warm: WarmPool, tmp_path: Path, precision: str) -> None:
    facts = ran(warm, tmp_path, "tensorflow", precision=precision, semantics="native").facts
    policy = facts["precision_policy"]
    assert policy["compute"] == precision.removeprefix("mixed_")
    assert policy["settings"] == {"tensor_float_32_execution_enabled": False}
    assert ("loss_scale" in facts) == (precision == "mixed_float16")


@pytest.mark.parametrize("execution", ["native", "compiled"])
def test_a_second_shape_is_one_recompilation(
    warm: WarmPool, tmp_path: Path, execution: str
) -> None:
    for drop_last, count in ((True, 0), (False, 1)):
        training = {"epochs": 2, "drop_last": drop_last}
        record = ran(
            warm, tmp_path / str(count), "tensorflow", execution=execution, training=training
        )
        assert record.facts["compilations"] == 2 + count  # training and prediction
        assert record.facts["recompilations"] == record.metrics["perf/recompilations"] == count
        assert any("recompilations" in warning for warning in record.warnings) == bool(count)


def test_eager_mode_counts_no_compilations(warm: WarmPool, tmp_path: Path) -> None:
    record = ran(warm, tmp_path, "tensorflow", execution="eager")
    assert not {"compilations", "recompilations", "graph_breaks"} & {*record.facts}

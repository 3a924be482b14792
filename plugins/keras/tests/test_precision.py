"""Keras's arithmetic on each backend, and what it compiles."""

from __future__ import annotations

from collections.abc import Sequence
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


def ran(
    warm: WarmPool,
    root: Path,
    engine: str,
    layers: Sequence[dict[str, Any]] = LAYERS,
    **options: Any,
) -> RunRecord:
    """Two epochs of four whole batches and, with ``drop_last=False``, a smaller one."""
    data = small_data(root / "data", (6,), 3, samples=70)
    given = {"optimizer": optimizer("adam"), "precision": "float32", "step_losses": False}
    record = warm.run(*make_run(root / "runs", engine, layers, data, **{**given, **options}))
    assert record.ok, record.reason
    return record


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("engine", ["keras_tensorflow", "keras_jax", "keras_torch"])
def test_the_policy_is_recorded(
    warm: WarmPool, tmp_path: Path, engine: str, precision: str
) -> None:
    facts = ran(warm, tmp_path, engine, precision=precision, semantics="native").facts
    policy = facts["precision_policy"]
    assert policy["compute"] == precision.removeprefix("mixed_")
    assert policy["tf32"] is False
    assert ("loss_scale" in facts) == (precision == "mixed_float16")


@pytest.mark.parametrize(
    ("engine", "execution", "count"),
    [
        ("keras_tensorflow", "native", 0),  # traced once, for batches of any size
        ("keras_tensorflow", "compiled", 1),
        ("keras_jax", "native", 1),
    ],
)
def test_a_second_shape_is_recompiled_where_shapes_are_fixed(
    warm: WarmPool, tmp_path: Path, engine: str, execution: str, count: int
) -> None:
    for drop_last in (True, False):
        training = {"epochs": 2, "drop_last": drop_last}
        root, again = tmp_path / str(drop_last), 0 if drop_last else count
        record = ran(warm, root, engine, execution=execution, training=training)
        assert record.facts["compilations"] == 2 + again  # training and prediction
        assert record.facts["recompilations"] == record.metrics["perf/recompilations"] == again
        assert any("recompilations" in warning for warning in record.warnings) == bool(again)


@pytest.mark.slow
def test_graph_breaks_on_pytorch_are_counted(warm: WarmPool, tmp_path: Path) -> None:
    """Keras's training step calls ``backward``, which TorchDynamo does not trace."""
    record = ran(warm, tmp_path, "keras_torch", LAYERS[-1:], execution="compiled")
    assert record.metrics["perf/graph_breaks"] == record.facts["graph_breaks"] > 0
    assert record.facts["compilations"] > 2
    assert any("graph breaks" in warning for warning in record.warnings)


@pytest.mark.parametrize(
    ("engine", "execution"), [("keras_tensorflow", "eager"), ("keras_torch", "native")]
)
def test_eager_mode_counts_no_compilations(
    warm: WarmPool, tmp_path: Path, engine: str, execution: str
) -> None:
    record = ran(warm, tmp_path, engine, execution=execution)
    assert not {"compilations", "recompilations", "graph_breaks"} & {*record.facts}

"""PyTorch's arithmetic, and what it compiles."""

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


@pytest.mark.parametrize("semantics", ["aligned", "native"])
@pytest.mark.parametrize(
    ("precision", "compute", "mechanism"),
    [
        ("float32", "float32", None),
        ("float64", "float64", None),
        ("mixed_bfloat16", "bfloat16", "torch.autocast"),
        ("mixed_float16", "float16", "torch.autocast"),
    ],
)
def test_the_policy_is_recorded(
    warm: WarmPool, tmp_path: Path, precision: str, compute: str, mechanism: str, semantics: str
) -> None:
    facts = ran(warm, tmp_path, "pytorch", precision=precision, semantics=semantics).facts
    policy = facts["precision_policy"]
    assert (policy["compute"], policy["mechanism"]) == (compute, mechanism)
    assert policy["tf32"] is False
    assert policy["settings"]["float32_matmul_precision"] == "highest"
    assert ("loss_scale" in facts) == (precision == "mixed_float16")


@pytest.mark.slow
def test_a_second_shape_is_one_recompilation(warm: WarmPool, tmp_path: Path) -> None:
    """Also after another run of the same worker, whose programs must be forgotten."""
    for drop_last, count in ((True, 0), (False, 1)):
        training = {"epochs": 2, "drop_last": drop_last}
        record = ran(
            warm, tmp_path / str(count), "pytorch", execution="compiled", training=training
        )
        assert record.facts["compilations"] == 2 + count  # training and prediction
        assert record.facts["recompilations"] == record.metrics["perf/recompilations"] == count
        assert record.metrics["perf/graph_breaks"] == 0
        assert any("recompilations" in warning for warning in record.warnings) == bool(count)


def test_eager_mode_counts_no_compilations(warm: WarmPool, tmp_path: Path) -> None:
    record = ran(warm, tmp_path, "pytorch", execution="native")
    assert not {"compilations", "recompilations", "graph_breaks"} & {*record.facts}

"""Lightning's arithmetic, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fwcompare.launch import WarmPool
from fwcompare.record import RunRecord
from fwcompare.spec import Device
from fwcompare.testing import make_run, optimizer, small_data
from fwcompare_lightning import FRONT

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


def test_the_policy_is_recorded(warm: WarmPool, tmp_path: Path) -> None:
    facts = ran(warm, tmp_path, "lightning", precision="mixed_bfloat16").facts
    policy = facts["precision_policy"]
    assert (policy["compute"], policy["mechanism"]) == ("bfloat16", "torch.autocast")
    assert policy["tf32"] is False
    assert "loss_scale" not in facts


def test_float16_on_a_cpu_is_refused_by_name(tmp_path: Path) -> None:
    """Lightning would compute in bfloat16 and only warn."""
    data = small_data(tmp_path / "data", (6,), 3)
    options = {"optimizer": optimizer("sgd"), "precision": "mixed_float16"}
    spec, _ = make_run(tmp_path / "runs", "lightning", LAYERS, data, **options)
    assert "bfloat16" in (FRONT.supports(spec) or "")
    assert FRONT.supports(spec.but(device=Device("cuda", 1))) is None
    assert FRONT.supports(spec.but(precision="mixed_bfloat16")) is None
